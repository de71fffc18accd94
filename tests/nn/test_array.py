"""Arrays with PyTorch's methods, as constructors of ported models use them."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
from normengine import nn


def test_view_takes_a_shape_or_what_numpy_takes() -> None:
    array = ne.arange(6)
    assert array.view(2, -1).tolist() == array.view((2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(array.view(3, 2), array)
    assert array.view(np.int32).shape == (12,)
    assert type(array.view(np.ndarray)) is np.ndarray
    with pytest.raises(ValueError, match="cannot reshape array of size 6"):
        array.view(4, 2)


def test_methods_of_tensors() -> None:
    array = ne.arange(6).view(2, 3)
    assert (array.numel(), array.dim()) == (6, 2)
    assert array.float().dtype == np.float32
    assert array.float().long().dtype == np.int64
    assert array.unsqueeze(0).shape == (1, 2, 3)
    assert array.unsqueeze(-1).shape == (2, 3, 1)
    assert array.permute(1, 0).shape == (3, 2)
    assert ne.ones(1, 3).expand(2, -1).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert array.detach().cpu().contiguous() is array
    assert not np.shares_memory(array.clone(), array)
    assert type(array.numpy()) is np.ndarray
    assert [x.item() for x in ne.linspace(0, 1, 3)] == [0, 0.5, 1]


def test_buffers_and_inputs_made_of_them() -> None:
    class Normalize(nn.Module):
        def __init__(self, mean: list[float], std: list[float]) -> None:
            super().__init__()
            self.register_buffer("mean", ne.tensor(mean).view(1, -1, 1, 1))
            self.register_buffer("std", ne.tensor(std).view(1, -1, 1, 1))

        def forward(self, x: ne.Tensor) -> ne.Tensor:
            return (x - self.mean) / self.std * ne.ones(1, 1, 1, 1)

    model = Normalize([1.0, 2.0], [0.5, 0.25])
    assert {key: type(array) for key, array in model.state_dict().items()} == {"mean": np.ndarray, "std": np.ndarray}
    y = model(ne.ones(1, 2, 1, 1))
    assert type(y) is np.ndarray
    assert y.ravel().tolist() == [0, -4]
