"""state_dict: PyTorch's keys, live arrays; loading is all or nothing."""

from __future__ import annotations

import numpy as np
import pytest

from normengine import nn


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_keys_dtypes_and_round_trip() -> None:
    one, two = network(), network()
    state = one.state_dict()
    assert list(state) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
        "3.weight", "3.bias",
    ]  # fmt: skip
    assert state["1.num_batches_tracked"].dtype == np.int64
    assert state["1.num_batches_tracked"].shape == ()
    assert all(type(v) is np.ndarray for v in state.values())
    missing, unexpected = two.load_state_dict(state)
    assert missing == unexpected == []
    for key, value in two.state_dict().items():
        assert np.array_equal(value, state[key])
        assert not np.shares_memory(value, state[key])


def test_arrays_are_live_and_loading_keeps_them() -> None:
    model = network()
    weight, array = model[0].weight, model.state_dict()["0.weight"]
    model.load_state_dict({**model.state_dict(), "0.weight": np.full(array.shape, 2.0)})
    assert model[0].weight is weight
    assert (array == 2).all()
    array[...] = 3
    assert (weight.numpy() == 3).all()


def test_prefix_and_non_persistent_buffers() -> None:
    module = nn.Module()
    module.register_buffer("kept", np.zeros(1))
    module.register_buffer("scratch", np.zeros(1), persistent=False)
    module.register_buffer("none", None)
    assert list(module.state_dict()) == ["kept"]
    assert list(module.state_dict(prefix="a.b.")) == ["a.b.kept"]


def test_a_shared_module_has_both_keys() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model.append(model[0])
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(list(model.parameters())) == 2


def test_one_error_names_everything_and_nothing_changes() -> None:
    model = network()
    before = {k: v.copy() for k, v in model.state_dict().items()}
    state = {k: np.ones_like(v) for k, v in before.items()}
    del state["0.bias"], state["1.running_var"]
    state["3.weight"] = np.ones((3, 9))
    state["3.bias"] = np.array(["a", "b", "c"])
    state["extra"] = np.ones(1)
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict of Sequential: missing keys: 0.bias, 1.running_var; unexpected keys: extra; other shapes or "
        "dtypes: 3.weight has shape (3, 9), the model needs (3, 8), 3.bias holds <U1, the model needs float32; "
        "nothing was loaded"
    )
    assert isinstance(error.value, ValueError)
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())


def test_not_strict_returns_what_was_left_out() -> None:
    model = network()
    result = model.load_state_dict({"0.bias": [5, 6], "extra": 1}, strict=False)
    assert result.unexpected_keys == ["extra"]
    assert "0.bias" not in result.missing_keys
    assert len(result.missing_keys) == 7
    assert model[0].bias.numpy().tolist() == [5, 6]
    with pytest.raises(RuntimeError, match=r"other shapes or dtypes: 0.bias has shape \(3,\), the model needs \(2,\)"):
        model.load_state_dict({"0.bias": np.zeros(3)}, strict=False)


def test_what_is_no_mapping() -> None:
    with pytest.raises(TypeError, match="takes a mapping of names to arrays, got list"):
        network().load_state_dict([1, 2])


def test_a_model_with_arrays_that_are_read_only_is_not_half_loaded():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = {name: array + 1 for name, array in model.state_dict().items()}
    before = {name: array.copy() for name, array in model.state_dict().items()}
    model[1].running_var.flags.writeable = False
    with pytest.raises(RuntimeError, match="arrays of the model that are read-only: 1.running_var; nothing was loaded"):
        model.load_state_dict(state)
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
