"""Module: attributes, walks, modes and the way it prints."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest

from normengine import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2))
        self.scale = nn.Parameter(np.ones(2))
        self.register_buffer("offset", np.zeros(2))
        self.register_buffer("scratch", np.zeros(1), persistent=False)
        self.head = nn.Linear(2, 3)
        self.head_again = self.head
        self.name = "net"


def test_names_in_order_of_definition_shared_ones_once() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "scale", "features.0.weight", "features.1.weight", "features.1.bias", "head.weight", "head.bias",
    ]  # fmt: skip
    assert [name for name, _ in net.named_buffers()] == [
        "offset", "scratch", "features.1.running_mean", "features.1.running_var", "features.1.num_batches_tracked",
    ]  # fmt: skip
    assert [name for name, _ in net.named_modules()] == ["", "features", "features.0", "features.1", "head"]
    assert [name for name, _ in net.named_children()] == ["features", "head"]
    assert len(list(net.parameters())) == 6
    assert len(list(net.parameters(recurse=False))) == 1
    assert len(list(net.buffers())) == 5
    assert list(net.children()) == [net.features, net.head]
    assert len(list(net.modules())) == 5
    assert [n for n, _ in net.named_parameters(remove_duplicate=False)][-1] == "head_again.bias"
    assert next(iter(dict(net.named_parameters(prefix="m")))) == "m.scale"


def test_attributes_move_between_their_tables() -> None:
    net = Net()
    net.head = nn.Linear(2, 5)
    assert list(dict(net.named_children())) == ["features", "head", "head_again"]
    net.name = nn.Parameter(np.zeros(1))
    assert "name" in dict(net.named_parameters())
    net.scale = None
    assert "scale" not in dict(net.named_parameters())
    assert net.scale is None
    del net.offset
    assert not hasattr(net, "offset")
    net.scratch = np.arange(3.0)
    assert net.scratch.dtype == np.float32
    assert "scratch" in dir(net)


def test_buffers_keep_the_dtypes_that_graphs_have() -> None:
    module = nn.Module()
    for name, array in {
        "f": np.zeros(2), "i": np.zeros(2, np.int32), "u": np.zeros(2, np.uint8), "b": np.zeros(2, bool), "n": 3,
    }.items():  # fmt: skip
        module.register_buffer(name, array)
    assert [str(b.dtype) for b in module.buffers()] == ["float32", "int64", "uint8", "bool", "int64"]
    array = np.zeros(3, np.float32)
    module.register_buffer("same", array)
    array[1] = 5
    assert module.same.tolist() == [0, 5, 0]


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda m: m.missing, AttributeError, "'Net' object has no attribute 'missing'"),
        (lambda m: setattr(m, "scale", np.ones(2)), TypeError, "cannot assign ndarray to parameter 'scale'"),
        (lambda m: setattr(m, "head", 3), TypeError, "cannot assign int to module 'head'"),
        (lambda m: setattr(m, "offset", "text"), TypeError, "buffer 'offset' must be an array of numbers"),
        (lambda m: m.register_buffer("a.b", np.zeros(1)), KeyError, "non-empty string without '.', got 'a.b'"),
        (lambda m: m.register_buffer("name", np.zeros(1)), KeyError, "Net has an attribute 'name' already"),
        (lambda m: m.register_parameter("p", np.zeros(1)), TypeError, "takes a Parameter or None, got ndarray"),
        (lambda m: m.add_module("m", 3), TypeError, "takes a Module or None, got int"),
        (lambda m: m.train(1), ValueError, "train.. takes True or False, got 1"),
        (lambda m: m.get_submodule("features.7"), AttributeError, "Sequential has no module '7'"),
        (lambda m: m.get_parameter("features.bias"), AttributeError, "Net has no parameter 'features.bias'"),
        (lambda m: m.get_buffer("nothing"), AttributeError, "Net has no buffer 'nothing'"),
        (lambda m: m.to("cuda"), ValueError, "computes on the CPU, device 'cuda' is not there"),
        (lambda m: m.to(np.float64), ValueError, "computes in float32"),
        (lambda m: m(np.ones((1, 2))), NotImplementedError, r"Net has no forward\(\)"),
    ],
)
def test_errors(action, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    net = Net()
    before = list(net.state_dict())
    with pytest.raises(error, match=message):
        action(net)
    assert list(net.state_dict()) == before


def test_super_init_is_asked_for() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match=r"'layer' cannot be set on Forgetful: call super\(\).__init__\(\) first"):
        Forgetful()


def test_modules_with_a_train_of_their_own_see_to_what_is_below_them() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self[1].eval()
            return self

    frozen = Frozen(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    shared = nn.ReLU()
    model = nn.Sequential(shared, frozen, nn.Sequential(shared, nn.Dropout()))
    assert model.train() is model and [m.training for m in model.modules()] == [
        True,
        True,
        True,
        True,
        False,
        True,
        True,
    ]
    assert model.eval() is model and not any(m.training for m in model.modules())


def test_a_mode_is_set_as_a_whole() -> None:
    """No bytecode runs between the first module and the last, at which a signal handler could raise."""
    model = nn.Sequential(*(nn.ReLU() for _ in range(50)))
    seen: set[int] = set()

    def look(frame: Any, event: str, argument: Any) -> Any:
        seen.add(sum(module.training for module in modules))
        return look

    modules = list(model.modules())
    before = sys.gettrace()
    sys.settrace(look)
    try:
        model.eval()
    finally:
        sys.settrace(before)
    assert seen == {51, 0}


def test_modes_and_gradients_reach_everything_below() -> None:
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    visited: list[str] = []
    assert net.apply(lambda m: visited.append(type(m).__name__)) is net
    assert visited == ["Conv2d", "BatchNorm2d", "Sequential", "Linear", "Net"]


def test_harmless_calls_of_ported_scripts() -> None:
    net = Net()
    assert net.to("cpu") is net.to(np.float32) is net.cpu() is net.float() is net
    net.zero_grad()
    net.zero_grad(set_to_none=True)


def test_lookup_by_path() -> None:
    net = Net()
    assert net.get_submodule("features.1") is net.features[1]
    assert net.get_submodule("") is net
    assert net.get_parameter("head.bias") is net.head.bias
    assert net.get_buffer("features.1.running_var") is net.features[1].running_var


def test_repr() -> None:
    assert repr(Net()) == (
        "Net(\n"
        "  (features): Sequential(\n"
        "    (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), bias=False)\n"
        "    (1): BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)\n"
        "  )\n"
        "  (head): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (head_again): Linear(in_features=2, out_features=3, bias=True)\n"
        ")"
    )


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_share_nothing(clone) -> None:  # type: ignore[no-untyped-def]
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin = clone(net)
    assert repr(twin) == repr(net)
    for (name, array), (key, other) in zip(net.state_dict().items(), twin.state_dict().items(), strict=True):
        assert name == key
        assert np.array_equal(array, other)
        assert not np.shares_memory(array, other)


def test_what_other_devices_and_types_are_told() -> None:
    model = nn.Linear(2, 2)
    assert model.to("cpu").float().cpu() is model
    for call, message in [
        (lambda: model.cuda(), "computes on the CPU, device 'cuda' is not there"),
        (lambda: model.to("cuda:0"), "computes on the CPU, device 'cuda:0' is not there"),
        (lambda: model.half(), "computes in float32, got dtype float16"),
        (lambda: model.double(), "computes in float32, got dtype float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
