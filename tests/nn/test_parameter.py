"""Parameters: float32 arrays with an identity."""

from __future__ import annotations

import numpy as np
import pytest

from normengine import nn


def test_an_array_of_its_own() -> None:
    given = np.arange(6).reshape(2, 3).T
    parameter = nn.Parameter(given)
    assert parameter.shape == (3, 2)
    assert parameter.dtype == np.float32
    assert parameter.data.flags.c_contiguous
    assert (parameter.ndim, parameter.dim(), parameter.numel(), len(parameter)) == (2, 2, 6, 3)
    assert parameter.size() == (3, 2)
    assert parameter.size(-1) == 2
    assert parameter.requires_grad
    assert parameter.grad is None
    assert type(parameter.numpy()) is np.ndarray
    assert np.shares_memory(parameter.numpy(), parameter.data)
    assert np.array_equal(np.asarray(parameter), given)
    assert np.asarray(parameter, dtype=np.float64).dtype == np.float64
    assert repr(nn.Parameter([1.5], requires_grad=False)) == "Parameter([1.5], requires_grad=False)"


def test_identity_is_equality() -> None:
    one, two = nn.Parameter([1.0]), nn.Parameter([1.0])
    assert one != two
    assert len({one, two, one}) == 2


def test_assigning_data_keeps_the_memory() -> None:
    parameter = nn.Parameter([1.0, 2.0])
    array = parameter.data
    parameter.data = np.array([3, 4])
    assert parameter.data is array
    assert array.tolist() == [3, 4]
    parameter.data *= 2
    assert parameter.data is array
    assert parameter.tolist() == [6, 8]
    parameter.data = np.zeros(3)
    assert parameter.shape == (3,)
    parameter.copy_([1, 2, 3])
    assert parameter.tolist() == [1, 2, 3]


def test_in_place_methods_of_initialization_code() -> None:
    data = nn.Parameter(np.zeros((50, 40))).data
    assert (data.fill_(2).mul_(3).add_(1).sub_(2).div_(5) == 1).all()
    assert not data.zero_().any()
    assert abs(data.normal_(1, 0.1).mean() - 1) < 0.01
    data.uniform_(-1, 1).clamp_(min=0)
    assert data.min() == 0
    assert 0.9 < data.max() <= 1


def test_outside_of_a_trace_it_is_its_array() -> None:
    parameter = nn.Parameter([[1.0, -4.0]])
    array = np.array([[1.0, 2.0]], np.float32)
    for result in (parameter + array, array + parameter, np.add(array, parameter), parameter + parameter + 1):
        assert isinstance(result, np.ndarray)
    assert (array - parameter).tolist() == [[0, 6]]
    assert (2 / parameter).tolist() == [[2, -0.5]]
    assert (-parameter).tolist() == [[-1, 4]]
    assert abs(parameter).tolist() == np.abs(parameter).tolist() == [[1, 4]]
    assert (parameter**2).tolist() == [[1, 16]]
    assert (parameter @ array.T).tolist() == [[-7]]
    assert parameter[0, 1] == -4
    assert parameter.mean() == -1.5
    assert parameter.sum(axis=0).tolist() == [1, -4]
    assert parameter.view(2, -1).shape == (2, 1)
    assert float(nn.Parameter(2.5)) == nn.Parameter([2.5]).item() == 2.5
    assert parameter.detach().cpu().numpy() is not None
    assert not np.shares_memory(parameter.clone(), parameter.data)
    assert parameter.requires_grad_(False) is parameter
    assert not parameter.requires_grad


def test_errors() -> None:
    with pytest.raises(TypeError, match="data must be numbers, got an array of <U1"):
        nn.Parameter(["a"])
    with pytest.raises(AttributeError, match="_private"):
        print(nn.Parameter([1.0])._private)
    with pytest.raises(AttributeError, match="nothing"):
        print(nn.Parameter([1.0]).nothing)
