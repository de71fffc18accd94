"""Every operator that is written out with others runs as its reference says, and so do its gradients."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec, Value
from normengine.ops import OPS, Builder, Case, evaluate
from normengine.passes import differentiate
from normengine.runtime import compile_graph

WRITTEN_OUT = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, op in OPS.items()
    if op.decompose is not None
    for number, case in enumerate(op.cases())
]
WINDOWS = [
    p for p in WRITTEN_OUT if OPS[p.values[0]].gradient is None and OPS[p.values[0]].kind in ("convolutions", "pooling")
]


def given(builder: Builder, case: Case, seed: int) -> dict[Value, np.ndarray]:
    arrays = case.arrays(np.random.default_rng(seed))
    return {builder.input(f"x{i}", Spec.of(a)): a for i, a in enumerate(arrays)}


@pytest.mark.parametrize(("name", "case"), WRITTEN_OUT)
def test_what_is_written_out_runs(name: str, case: Case, backend: str) -> None:
    builder = Builder()
    feeds = given(builder, case, 1)
    outputs = builder.add_multi(name, *feeds, **case.attrs)
    found = compile_graph(builder.graph(outputs)).run({v.name: a.copy() for v, a in feeds.items()})
    for value, wanted in zip(found, OPS[name].reference(list(feeds.values()), case.attrs), strict=True):
        assert value.shape == wanted.shape
        assert np.abs(value - wanted).max(initial=0) <= 2e-5 * max(1.0, np.abs(wanted).max(initial=0))


@pytest.mark.parametrize(("name", "case"), WINDOWS)
def test_gradients_of_windows_are_central_differences(name: str, case: Case) -> None:
    """Of operators that have no rule of their own, through what they are written out with."""
    builder = Builder()
    feeds = given(builder, case, 2)
    feeds = {v: a.astype(np.float64) for v, a in feeds.items()}
    y = builder.add(name, *feeds, **case.attrs)
    rng = np.random.default_rng(3)
    weights = rng.standard_normal(y.shape)
    loss = builder.add("mul", y, builder.constant(weights.astype(np.float32)))
    loss = builder.add("reduce_sum", loss, axes=tuple(range(len(y.shape))), keepdims=False)
    grads = differentiate(builder, loss, list(feeds))
    graph = builder.graph([g for g in grads if g is not None])
    computed = evaluate(graph, feeds)

    def moved(x: Value, direction: np.ndarray, h: float) -> float:
        arrays = [a + h * direction if v is x else a for v, a in feeds.items()]
        return float((weights.astype(np.float32) * OPS[name].reference(arrays, case.attrs)[0]).sum())

    for x, grad in zip(feeds, grads, strict=True):
        slope = np.zeros(x.shape) if grad is None else computed[grad]
        direction = rng.standard_normal(x.shape)
        difference = (moved(x, direction, 1e-6) - moved(x, direction, -1e-6)) / 2e-6
        assert abs(difference - float((slope * direction).sum())) < 2e-6 * max(1.0, np.abs(slope * direction).sum())
