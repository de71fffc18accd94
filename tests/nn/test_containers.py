"""Sequential, ModuleList and ModuleDict."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

from normengine import nn


def kinds(modules) -> list[str]:  # type: ignore[no-untyped-def]
    return [type(m).__name__ for m in modules]


def test_sequential_is_a_sequence() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.SiLU())
    assert len(model) == 4
    assert isinstance(model[-1], nn.SiLU)
    assert model[1] in model
    assert nn.Tanh() not in model
    part = model[1:3]
    assert isinstance(part, nn.Sequential)
    assert list(dict(part.named_children())) == ["1", "2"]
    assert part[0] is model[1]
    model[0] = nn.GELU()
    assert kinds(model) == ["GELU", "Tanh", "Sigmoid", "SiLU"]
    del model[1]
    assert list(dict(model.named_children())) == ["0", "1", "2"]
    assert model.append(nn.ReLU()) is model
    model.insert(0, nn.Tanh()).extend([nn.ReLU6()])
    assert kinds(model) == ["Tanh", "GELU", "Sigmoid", "SiLU", "ReLU", "ReLU6"]
    assert isinstance(model.pop(1), nn.GELU)
    assert list(dict(model.named_children())) == ["0", "1", "2", "3", "4"]


def test_sequential_of_named_modules() -> None:
    model = nn.Sequential(OrderedDict([("first", nn.ReLU()), ("second", nn.Tanh())]))
    assert model.first is model[0]
    assert list(dict(model[1:].named_children())) == ["second"]
    model.add_module("third", nn.Sigmoid())
    del model[0]
    assert list(dict(model.named_children())) == ["second", "third"]


def test_sequential_runs_in_order(references: None) -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    model[0].weight.data = [[1, 0], [0, -1]]
    assert model(np.array([[1.0, 2.0], [-3.0, -4.0]])).tolist() == [[1, 0], [0, 4]]
    assert nn.Sequential()(np.ones((1, 2))).tolist() == [[1, 1]]


def test_module_list_and_dict() -> None:
    layers = nn.ModuleList(nn.Linear(2, n) for n in (3, 4))
    layers += [nn.ReLU()]
    assert kinds(layers[:2]) == ["Linear", "Linear"]
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    heads = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Tanh()})
    heads["c"] = nn.ReLU()
    del heads["b"]
    assert list(heads) == list(heads.keys()) == ["a", "c"]
    assert "a" in heads
    assert "b" not in heads
    assert len(heads) == 2
    assert kinds(heads.values()) == ["Linear", "ReLU"]
    assert [name for name, _ in heads.items()] == ["a", "c"]
    assert list(heads.state_dict()) == ["a.weight", "a.bias"]


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: nn.Sequential(nn.ReLU())[1], IndexError, "Sequential: index 1 is out of range for 1 modules"),
        (lambda: nn.Sequential(3), TypeError, "takes a Module or None, got int"),
        (lambda: nn.ModuleList([nn.ReLU()]).insert(3, nn.ReLU()), IndexError, "index 3 is out of range"),
        (lambda: nn.ModuleList([nn.ReLU()]).insert(0, 3), TypeError, "insert takes a Module, got int"),
        (lambda: nn.ModuleList([nn.ReLU()])(np.ones((1, 1))), NotImplementedError, "ModuleList has no forward"),
        (lambda: nn.ModuleDict({"a": nn.ReLU()})["b"], KeyError, "b"),
    ],
)
def test_errors(action, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        action()
