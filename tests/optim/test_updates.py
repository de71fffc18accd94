"""Updates against the published formulas, in float64, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from normengine import optim
from normengine.graph import Spec
from normengine.nn import Parameter
from normengine.ops import Builder, evaluate
from normengine.optim import Optimizer, Update

SHAPES = ((3, 4), (5,))
STEPS = 6


def run_step(optimizer: Optimizer, parameters: Sequence[Parameter], grads: Sequence[np.ndarray]) -> Update:
    """One update by the references of the operators that ``emit`` adds."""
    builder = Builder()
    entries, feeds = [], {}
    for index, (parameter, grad) in enumerate(zip(parameters, grads, strict=True)):
        value = builder.state_value(f"p{index}", Spec.of(parameter.data))
        slope = builder.input(f"g{index}", Spec.of(grad))
        feeds |= {value: parameter.data, slope: grad}
        entries.append((f"p{index}", parameter, value, slope))
    update = optimizer.emit(builder, entries)
    arrays = {f"p{i}": p.data for i, p in enumerate(parameters)} | update.state
    update.refresh()
    scalars = update.scalars
    graph = builder.graph([])
    feeds |= {v: scalars[v.name] for v in graph.inputs if v.name in scalars}
    feeds |= {v: arrays[v.name] for v in graph.state}
    values = evaluate(graph, feeds)
    for old, new in graph.updates:
        arrays[old.name][...] = values[new]
    for counter in update.counters:
        counter += 1
    return update


def draws() -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    rng = np.random.default_rng(0)
    return (
        [rng.standard_normal(s).astype(np.float32) for s in SHAPES],
        [[rng.standard_normal(s).astype(np.float32) for s in SHAPES] for _ in range(STEPS)],
    )


def follow(
    make: Callable[[list[Parameter]], Optimizer],
    expected: Callable[[np.ndarray, np.ndarray, dict[str, Any], int, float], np.ndarray],
    rates: Sequence[float] = (0.1,) * STEPS,
) -> None:
    """``expected(p, g, memory, t, lr)`` is the parameter after step t = 1, 2, ..."""
    start, grads = draws()
    parameters = [Parameter(a) for a in start]
    optimizer = make(parameters)
    truth = [a.astype(np.float64) for a in start]
    memory: list[dict[str, Any]] = [{} for _ in start]
    for t, (rate, slopes) in enumerate(zip(rates, grads, strict=True), 1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        run_step(optimizer, parameters, slopes)
        for index, slope in enumerate(slopes):
            truth[index] = expected(truth[index], slope.astype(np.float64), memory[index], t, rate)
            np.testing.assert_allclose(parameters[index].numpy(), truth[index], rtol=3e-6, atol=3e-6)


def sgd(
    momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False, sign: int = 1
) -> Any:
    def step(p: np.ndarray, g: np.ndarray, memory: dict[str, Any], t: int, lr: float) -> np.ndarray:
        g = sign * g + weight_decay * p
        if momentum:
            memory["b"] = g if t == 1 else momentum * memory["b"] + (1 - dampening) * g
            g = g + momentum * memory["b"] if nesterov else memory["b"]
        return p - lr * g

    return step


def adam(
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0, decoupled: bool = False,
    amsgrad: bool = False,
) -> Any:  # fmt: skip
    def step(p: np.ndarray, g: np.ndarray, memory: dict[str, Any], t: int, lr: float) -> np.ndarray:
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        memory["m"] = betas[0] * memory.get("m", 0) + (1 - betas[0]) * g
        memory["v"] = betas[1] * memory.get("v", 0) + (1 - betas[1]) * g * g
        memory["top"] = np.maximum(memory.get("top", 0), memory["v"])
        v = memory["top"] if amsgrad else memory["v"]
        root = np.sqrt(v) / math.sqrt(1 - betas[1] ** t)
        return p - lr / (1 - betas[0] ** t) * memory["m"] / (root + eps)

    return step


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 0.05, "nesterov": True},
        {"momentum": 0.8, "dampening": 0.3},
        {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1},
    ],
    ids=str,
)
def test_sgd(settings: dict[str, Any]) -> None:
    falling = [0.1 / (i + 1) for i in range(STEPS)]
    follow(lambda ps: optim.SGD(ps, **settings), sgd(**settings), falling)
    follow(lambda ps: optim.SGD(ps, maximize=True, **settings), sgd(sign=-1, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"betas": (0.5, 0.9), "eps": 1e-3},
        {"weight_decay": 0.1},
        {"amsgrad": True},
    ],
    ids=str,
)
def test_adam_and_adamw(settings: dict[str, Any]) -> None:
    falling = [0.1 / (i + 1) for i in range(STEPS)]
    follow(lambda ps: optim.Adam(ps, **settings), adam(**settings), falling)
    follow(
        lambda ps: optim.AdamW(ps, **{"weight_decay": 0.02, **settings}),
        adam(**{"weight_decay": 0.02, **settings}, decoupled=True),
        falling,
    )


def test_groups_have_settings_of_their_own() -> None:
    start, grads = draws()
    parameters = [Parameter(a) for a in start]
    groups = [{"params": parameters[:1]}, {"params": parameters[1], "lr": 0.01, "weight_decay": 0.3, "momentum": 0}]
    optimizer = optim.SGD(groups, lr=0.1, momentum=0.9)
    rules = sgd(momentum=0.9), sgd(weight_decay=0.3)
    truth, memory = [a.astype(np.float64) for a in start], ({}, {})
    for t, slopes in enumerate(grads, 1):
        update = run_step(optimizer, parameters, slopes)
        truth = [r(p, g, m, t, lr) for r, p, g, m, lr in zip(rules, truth, slopes, memory, (0.1, 0.01))]  # type: ignore[arg-type]
    for parameter, array in zip(parameters, truth):
        np.testing.assert_allclose(parameter.numpy(), array, rtol=3e-6, atol=3e-6)
    assert set(update.scalars) == {
        "optimizer.0.lr",
        "optimizer.0.momentum",
        "optimizer.1.lr",
        "optimizer.1.weight_decay",
    }
    assert list(update.state) == ["optimizer.momentum_buffer.p0"]


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda ps: optim.Adam(ps, lr=0.1), adam()),
        (lambda ps: optim.SGD(ps, lr=0.1, momentum=0.8, dampening=0.5), sgd(momentum=0.8, dampening=0.5)),
    ],
    ids=["adam", "dampened"],
)
def test_a_parameter_that_joins_later_has_its_own_count(make: Any, rule: Any) -> None:
    start, grads = draws()
    parameters = [Parameter(a) for a in start]
    optimizer = make(parameters)
    truth, memory, counts = [a.astype(np.float64) for a in start], ({}, {}), [0, 0]
    structures = set()
    for number, slopes in enumerate(grads):
        active = (0,) if number < 2 else (0, 1)
        structures.add(optimizer.structure())
        run_step(optimizer, [parameters[i] for i in active], [slopes[i] for i in active])
        for i in active:
            counts[i] += 1
            truth[i] = rule(truth[i], slopes[i].astype(np.float64), memory[i], counts[i], 0.1)
            np.testing.assert_allclose(parameters[i].numpy(), truth[i], rtol=3e-6, atol=3e-6)
    assert [optimizer.steps_of(p) for p in parameters] == [6, 4]
    assert len(structures) <= 2
