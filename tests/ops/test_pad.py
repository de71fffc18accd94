"""Padding: places as few runs, and gradients, which are sums of what was repeated."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Builder, OperatorError, evaluate
from normengine.ops.runs import Run, runs, take_runs
from normengine.passes import differentiate


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0, 1, 2, 3], [Run(0, 1, 4)]),
        ([2, 1, 0, 1, 2], [Run(2, -1, 3), Run(1, 1, 2)]),
        ([0, 0, 0, 1, 2], [Run(0, 0, 3), Run(1, 1, 2)]),
        ([4], [Run(4, 1, 1)]),
        ([9, 6, 3, 0, 5], [Run(9, -3, 4), Run(5, 1, 1)]),
        ([], []),
    ],
)
def test_places_in_equal_steps_are_one_run(places: list[int], expected: list[Run]) -> None:
    assert list(runs(np.array(places, np.int64))) == expected


def test_runs_are_the_places_that_they_were_made_of() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 3))
    for length in range(1, 12):
        places = rng.integers(0, 7, length)
        builder = Builder()
        value = builder.input("x", Spec(x.shape))
        taken = take_runs(builder, value, 1, list(runs(places)))
        taken = builder.add("reshape", taken, shape=taken.shape)
        assert np.array_equal(evaluate(builder.graph([taken]), {value: x})[taken], x[:, places])


@pytest.mark.parametrize("name", ["pad", "depth_to_space", "space_to_depth", "cumsum"])
def test_gradients_are_the_adjoints(name: str) -> None:
    """<A x - A 0, g> = <x, A' g> for what is written out and differentiated."""
    rng = np.random.default_rng(1)
    for case in OPS[name].cases():
        if not case.differentiable:
            continue
        (x,) = (a.astype(np.float64) for a in case.arrays(rng))
        builder = Builder()
        value = builder.input("x", Spec(x.shape))
        y = builder.add(name, value, **case.attrs)
        weights = builder.input("g", y.spec)
        loss = builder.add("mul", y, weights)
        loss = builder.add("reduce_sum", loss, axes=tuple(range(len(y.shape))), keepdims=False)
        (grad,) = differentiate(builder, loss, [value])
        g = rng.standard_normal(y.shape)
        forward, zero = (OPS[name].reference([a], case.attrs)[0] for a in (x, np.zeros_like(x)))
        slope = 0.0 if grad is None else evaluate(builder.graph([grad]), {value: x, weights: g})[grad]
        assert np.sum((forward - zero) * g) == pytest.approx(np.sum(x * slope))


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((3, 1), {"before": (0, 1), "after": (0, 0), "mode": "reflect"}, r"axis 1 of shape \(3, 1\) has too few"),
        ((3, 4), {"before": (0,), "after": (0,), "mode": "edge"}, "are a number, 0 or more, an axis"),
        ((3, 4), {"before": (0, -1), "after": (0, 0), "mode": "edge"}, "are a number, 0 or more, an axis"),
        ((3, 4), {"before": (0, 1), "after": (0, 0), "mode": "mirror"}, "mode must be constant, reflect, edge, wrap"),
    ],
)
def test_errors(shape: tuple[int, ...], settings: dict[str, object], message: str) -> None:
    builder = Builder()
    with pytest.raises(OperatorError, match=message):
        builder.add("pad", builder.input("x", Spec(shape)), value=0.0, **settings)
