"""A step whose loss is finite is refused where what it would store is not, and leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.runtime import set_num_threads

OPTIMIZERS: dict[str, Callable[[Iterable[Any]], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, lr=1e-3),
    "amsgrad": lambda p: optim.AdamW(p, lr=1e-3, amsgrad=True),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Root(nn.Module):
    """The root of each feature's square, whose slope at 0 is 0 times infinity."""

    def forward(self, x: Any) -> Any:
        return (x * x).sqrt()


def step_of(
    make: Callable[[Iterable[Any]], optim.Optimizer], *last: nn.Module, loss: Callable[[Any, Any], Any] | None = None
) -> ne.TrainStep:
    ne.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3), *last
    )
    return ne.TrainStep(model, loss or nn.MSELoss(), make(model.parameters()), seed=0)


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((6, 2, 4, 4), np.float32), rng.standard_normal((6, 3), np.float32)


def kept(step: ne.TrainStep) -> dict[Any, bytes]:
    """All that a step may change."""
    state = {name: array.tobytes() for name, array in step.model.state_dict().items()}
    for number, entries in step.optimizer.state_dict()["state"].items():
        state |= {(number, what): np.asarray(value).tobytes() for what, value in entries.items()}
    return {**state, "steps": bytes(step.steps)}


def check_refusal(step: ne.TrainStep, x: np.ndarray, y: np.ndarray, message: str) -> None:
    before, number = kept(step), step.steps + 1
    with pytest.raises(
        FloatingPointError, match=rf"the loss is [\d.e+-]+ at step {number}; {message}; .*; nothing was updated$"
    ):
        step(x, y)
    assert kept(step) == before


@pytest.mark.usefixtures("backend")
@every_optimizer
def test_statistics_of_a_huge_pixel(make: Callable[..., optim.Optimizer]) -> None:
    """The steps around the refused one are what they would be without it."""
    x, y = batch()
    huge = x.copy()
    huge[1, 0, 2, 2] = 1e30
    step, other = step_of(make), step_of(make)
    step(x, y)
    check_refusal(step, huge, y, "the new '1.running_var' of BatchNorm2d is not finite")
    step(x, y)
    for _ in range(2):
        other(x, y)
    assert kept(step) == kept(other)


@pytest.mark.usefixtures("backend")
@every_optimizer
def test_the_slope_of_a_root_at_zero(make: Callable[..., optim.Optimizer]) -> None:
    step = step_of(make, Root())
    weight, bias = (p.data for p in step.model[4].parameters())
    weight[1], bias[1] = 0, 0
    check_refusal(step, *batch(), "the gradient of '4.bias' of Linear is not finite")
    bias[1] = 1
    assert np.isfinite(step(*batch()))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_gradient_whose_square_is_not_finite(threads: int) -> None:
    """Adam's second moment would be infinite for ever; other optimizers keep no squares."""

    def loss(scores: Any, y: Any) -> Any:
        return 1e22 * ((scores - y) ** 2).mean()

    set_num_threads(threads)
    message = "all gradients are finite, but the new 'optimizer.exp_avg_sq.0.weight' is not"
    check_refusal(step_of(OPTIMIZERS["adam"], loss=loss), *batch(), message)
    assert np.isfinite(step_of(OPTIMIZERS["sgd"], loss=loss)(*batch()))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("setting", [{"lr": 3e38}, {"lr": 1e10, "weight_decay": 1e30}])
def test_an_update_that_is_too_large(setting: dict[str, float]) -> None:
    step = step_of(lambda p: optim.SGD(p, lr=0.01))
    x, y = batch()
    step(x, y)
    before = dict(step.optimizer.param_groups[0])
    step.optimizer.param_groups[0].update(setting)
    check_refusal(step, x, y * 100, r"all gradients are finite, but the new '\S+' of \w+ is not")
    step.optimizer.param_groups[0].update(before)
    assert np.isfinite(step(x, y))


def test_numbers_of_adam_without_eps() -> None:
    """0 / 0 where a weight has had no gradient yet."""
    step = step_of(lambda p: optim.Adam(p, eps=0))
    x, y = batch()
    x[:, 1] = 0
    check_refusal(step, x, y, "all gradients are finite, but the new '0.weight' of Conv2d is not")


def scores_and(last: list[nn.Module], loss: Any) -> ne.TrainStep:
    ne.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), *last)
    return ne.TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize(
    ("step", "labels", "reason"),
    [
        (scores_and([], nn.CrossEntropyLoss()), -100, "all 6 labels are ignore_index -100"),
        (scores_and([], nn.CrossEntropyLoss(ignore_index=2)), 2, "all 6 labels are ignore_index 2"),
        (scores_and([nn.LogSoftmax(1)], nn.NLLLoss(ignore_index=2)), 2, "all 6 labels are ignore_index 2"),
        (scores_and([], lambda out, y: F.cross_entropy(out, y[:, 0])), [[-100]], "all 6 labels are ignore_index -100"),
        (scores_and([], nn.CrossEntropyLoss(weight=[0, 1, 1])), 0, "the class weights of all labels are 0"),
        (scores_and([nn.LogSoftmax(1)], nn.NLLLoss(weight=[0, 1, 1])), 0, "the class weights of all labels are 0"),
    ],
)
def test_a_mean_over_no_labels(step: ne.TrainStep, labels: Any, reason: str) -> None:
    """It is 0 / 0, which no learning rate helps."""
    x, y = np.ones((6, 4), np.float32), np.zeros((6, *np.shape(labels)[1:]), np.int64) + labels
    with pytest.raises(FloatingPointError, match=f"{reason}, which leaves nothing to take the mean of; leave") as error:
        step(x, y)
    assert "learning rate" not in str(error.value) and str(error.value).endswith("nothing was updated")
    y[0] = 1
    assert np.isfinite(step(x, y))


def test_a_division_by_zero() -> None:
    step = scores_and([], lambda out, y: out.sum() / y.sum())
    with pytest.raises(FloatingPointError, match="come out of div; it divides by 0; add a small number"):
        step(np.ones((6, 4), np.float32), np.zeros((6, 3), np.float32))


def test_labels_that_are_ignored_are_not_blamed_for_what_a_layer_makes() -> None:
    step = scores_and([Root()], nn.CrossEntropyLoss())
    step.model[0].weight.data[...] = 3e38
    with pytest.raises(FloatingPointError, match="come out of Linear '0'; a lower learning rate may help"):
        step(np.ones((6, 4), np.float32), np.full(6, -100))
