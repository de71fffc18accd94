"""Groups, saving and errors, the same for every optimizer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.nn import Parameter

MAKERS: dict[str, Any] = {
    "SGD": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
    "Adam": lambda ps: optim.Adam(ps, lr=0.01, amsgrad=True),
    "AdamW": lambda ps: optim.AdamW(ps, lr=0.01),
}


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.standard_normal((8, 4)).astype(np.float32), rng.integers(0, 3, 8)


def model() -> nn.Sequential:
    ne.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("name", MAKERS)
def test_saved_state_goes_on_as_if_nothing_had_happened(name: str) -> None:
    one = model()
    optimizer = MAKERS[name](one.parameters())
    step = ne.TrainStep(one, nn.CrossEntropyLoss(), optimizer)
    for number in range(3):
        step(*batch(number))
    saved = copy.deepcopy((one.state_dict(), optimizer.state_dict()))
    losses = [step(*batch(number)) for number in (3, 4)]

    two = model()
    other = MAKERS[name](two.parameters())
    resumed = ne.TrainStep(two, nn.CrossEntropyLoss(), other)
    resumed(*batch(9))
    two.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    assert [resumed(*batch(number)) for number in (3, 4)] == losses
    for key, value in one.state_dict().items():
        assert np.array_equal(two.state_dict()[key], value)


@pytest.mark.parametrize("name", MAKERS)
def test_training_lowers_the_loss(name: str) -> None:
    net = model()
    step = ne.TrainStep(net, nn.CrossEntropyLoss(), MAKERS[name](net.parameters()))
    losses = [step(*batch(0)) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_state_dict_has_pytorchs_form() -> None:
    net = model()
    optimizer = optim.Adam([{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.5}])
    assert optimizer.state_dict()["state"] == {}
    ne.TrainStep(net, nn.CrossEntropyLoss(), optimizer)(*batch(0))
    state = optimizer.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [[0, 1], [2, 3]]
    assert [g["lr"] for g in state["param_groups"]] == [0.001, 0.5]
    assert sorted(state["state"]) == [0, 1, 2, 3]
    assert sorted(state["state"][2]) == ["exp_avg", "exp_avg_sq", "step"]
    assert state["state"][2]["step"] == 1
    assert state["state"][2]["exp_avg"].shape == (3, 6)


def test_loading_takes_settings_and_clears_what_was_not_saved() -> None:
    net = model()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    fresh = copy.deepcopy(optimizer.state_dict())
    fresh["param_groups"][0]["lr"] = 0.25
    ne.TrainStep(net, nn.CrossEntropyLoss(), optimizer)(*batch(0))
    buffer = optimizer.state[net[0].weight]["momentum_buffer"]
    assert buffer.any()
    optimizer.load_state_dict(fresh)
    assert not buffer.any()
    assert optimizer.state_dict()["state"] == {}
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0]["params"][0] is net[0].weight


def test_a_failed_load_changes_nothing() -> None:
    net = model()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    ne.TrainStep(net, nn.CrossEntropyLoss(), optimizer)(*batch(0))
    good = copy.deepcopy(optimizer.state_dict())

    def spoiled(change: Any) -> dict[str, Any]:
        state = copy.deepcopy(good)
        change(state)
        return state

    for change, message in [
        (lambda s: s["param_groups"][0]["params"].pop(), r"saved groups have \[3\] parameters, this optimizer's have"),
        (lambda s: s["param_groups"].append({"params": []}), r"saved groups have \[4, 0\] parameters"),
        (lambda s: s["param_groups"][0].update(lr=-1), "lr of group 0 must be a finite number of 0 or more, got -1"),
        (lambda s: s["state"].update({7: {}}), "saved state has parameter 7, which is in no saved group"),
        (lambda s: s["state"][1].update(momentum_buffer=np.ones(2)),
         r"saved momentum_buffer of parameter 1 has shape \(2,\), the parameter has shape \(6,\)"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(spoiled(change))
        with pytest.raises(ValueError, match="expected what state_dict.. of an optimizer gives, with 'state' and"):
            optimizer.load_state_dict({"model": good})
        now = optimizer.state_dict()
        assert now["param_groups"] == good["param_groups"]
        for number, entries in good["state"].items():
            assert np.array_equal(now["state"][number]["momentum_buffer"], entries["momentum_buffer"])


def test_structure_changes_with_what_is_compiled_only() -> None:
    net = model()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    before = optimizer.structure()
    optimizer.param_groups[0].update(lr=0.2, momentum=0.8)
    assert optimizer.structure() == before
    optimizer.param_groups[0]["nesterov"] = True
    assert optimizer.structure() != before
    nesterov = optimizer.structure()
    optimizer.add_param_group({"params": [Parameter(np.zeros(2))]})
    assert optimizer.structure() != nesterov


def test_harmless_and_explained_calls() -> None:
    optimizer = optim.SGD(model().parameters(), lr=0.1)
    optimizer.zero_grad()
    optimizer.zero_grad(set_to_none=True)
    with pytest.raises(RuntimeError, match=r"SGD.step\(\) does nothing by itself: call step\(x, y\) of ne.TrainStep"):
        optimizer.step()
    assert repr(optimizer) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.1\n    maximize: False\n    momentum: 0\n"
        "    nesterov: False\n    weight_decay: 0\n)"
    )


P = Parameter(np.zeros(2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([]), ValueError, "SGD: got no parameters"),
        (lambda: optim.SGD(P), TypeError, "must be an iterable of Parameters, got one Parameter"),
        (lambda: optim.SGD([np.zeros(2)]), TypeError, "can train Parameters only, got ndarray"),
        (lambda: optim.SGD([P, P]), ValueError, r"a parameter of shape \(2,\) is given twice"),
        (lambda: optim.SGD([{"params": [P]}, {"params": P}]), ValueError, "given twice"),
        (lambda: optim.SGD([{"lr": 1}]), TypeError, "a parameter group is a dict with 'params'"),
        (lambda: optim.SGD([P], lr=-1), ValueError, "SGD: lr of group 0 must be a finite number of 0 or more, got -1"),
        (
            lambda: optim.SGD([P], lr=float("nan")),
            ValueError,
            "lr of group 0 must be a finite number of 0 or more, got",
        ),
        (lambda: optim.SGD([P], momentum=-1), ValueError, "momentum of group 0 must be a finite number of 0 or more"),
        (lambda: optim.SGD([P], weight_decay=-1), ValueError, "weight_decay of group 0 must be a finite number of 0"),
        (lambda: optim.SGD([P], nesterov=True), ValueError, "nesterov needs momentum above 0 and dampening 0"),
        (lambda: optim.SGD([P], differentiable=True), ValueError, "leave differentiable False"),
        (lambda: optim.Adam([P], betas=(0.9, 1.0)), ValueError, r"betas of group 0 must be in \[0, 1\)"),
        (lambda: optim.AdamW([P], eps=-1), ValueError, "AdamW: eps of group 0 must be a finite number of 0 or more"),
        (lambda: optim.AdamW([P], capturable=True), ValueError, "leave differentiable and capturable False"),
    ],
)
def test_errors(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_state_with_read_only_arrays_is_not_half_loaded() -> None:
    model, step = trained()
    saved = copied(step.optimizer)
    step(*BATCH)
    kept = step.optimizer.state[model.weight]
    kept["exp_avg"].flags.writeable = False
    before = {name: np.copy(array) for name, array in kept.items()}
    with pytest.raises(ValueError, match="Adam: exp_avg of a parameter of shape .* is a read-only array"):
        step.optimizer.load_state_dict(saved)
    assert all(np.array_equal(kept[name], array) for name, array in before.items())


@pytest.mark.parametrize("cut", ["state", "step"])
def test_an_optimizer_goes_on_after_a_first_step_that_was_cut_off(cut: str) -> None:
    """As by a signal while its arrays are made."""
    model, step = trained()
    fresh = optim.Adam(model.parameters())
    fresh.state[model.weight] = {} if cut == "state" else {"exp_avg": np.zeros(model.weight.shape, np.float32)}
    assert fresh.steps_of(model.weight) == 0 and fresh.state_dict()["state"] == {}
    ne.TrainStep(model, nn.MSELoss(), fresh)(*BATCH)
    assert fresh.steps_of(model.weight) == 1
    fresh.load_state_dict(copied(step.optimizer))


BATCH = np.ones((2, 3), np.float32), np.zeros((2, 2), np.float32)


def trained() -> tuple[nn.Linear, ne.TrainStep]:
    """A layer, and the step that trained it once."""
    model = nn.Linear(3, 2)
    step = ne.TrainStep(model, nn.MSELoss(), optim.Adam(model.parameters()))
    step(*BATCH)
    return model, step


def copied(optimizer: optim.Optimizer) -> dict[str, Any]:
    state = optimizer.state_dict()
    return {**state, "state": {n: {k: np.copy(v) for k, v in s.items()} for n, s in state["state"].items()}}
