"""Every operator on each of its cases: shapes, decomposition, and gradients against central differences."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec, Value
from normengine.ops import FAMILIES, OPS, Builder, Case, evaluate

CASES = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, op in OPS.items()
    for number, case in enumerate(op.cases())
]
DIFFERENTIABLE = [
    pytest.param(*p.values, id=p.id)
    for p in CASES
    if OPS[p.values[0]].gradient is not None and p.values[1].differentiable
]
CONSTANT_INPUTS = {"batch_norm": (3, 4), "cross_entropy": (2,)}
"""Inputs that count as constants although the output depends on them smoothly, as in PyTorch."""


def _node(name: str, case: Case) -> tuple[Builder, list[np.ndarray], list[Value]]:
    arrays = case.arrays(np.random.default_rng(0))
    builder = Builder()
    inputs = [builder.input(f"x{i}", Spec.of(a)) for i, a in enumerate(arrays)]
    builder.add_multi(name, *inputs, **case.attrs)
    return builder, arrays, inputs


def _run(builder: Builder, outputs: list[Value], feeds: dict[Value, np.ndarray]) -> list[np.ndarray]:
    values = evaluate(builder.graph(outputs), feeds)
    return [values[v] for v in outputs]


@pytest.mark.parametrize("name", sorted(OPS))
def test_op_has_cases(name: str) -> None:
    assert OPS[name].cases()


@pytest.mark.parametrize(("name", "case"), CASES)
def test_reference_has_the_inferred_shapes(name: str, case: Case) -> None:
    hash(tuple(sorted(case.attrs.items())))
    builder, arrays, _ = _node(name, case)
    kept = [a.copy() for a in arrays]
    results = OPS[name].reference(arrays, case.attrs)
    outputs = builder.nodes[0].outputs
    assert len(results) == len(outputs)
    for result, output in zip(results, outputs, strict=True):
        assert result.shape == output.shape
        assert result.dtype.name == ("float64" if output.dtype.startswith("float") else output.dtype)
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("name", "case"), [pytest.param(*p.values, id=p.id) for p in CASES if OPS[p.values[0]].decompose is not None]
)
def test_decomposition_is_the_same_function(name: str, case: Case) -> None:
    builder, arrays, inputs = _node(name, case)
    decompose = OPS[name].decompose
    assert decompose is not None
    outputs = list(decompose(builder, builder.nodes[0]))
    assert [v.spec for v in outputs] == [v.spec for v in builder.nodes[0].outputs]
    expected = OPS[name].reference(arrays, case.attrs)
    graph = builder.graph(outputs)
    assert all(node.op != name for node in graph.nodes)
    for value, array in zip(_run(builder, outputs, dict(zip(inputs, arrays, strict=True))), expected, strict=True):
        np.testing.assert_allclose(value, array, rtol=1e-6, atol=1e-6 * max(1.0, np.abs(array).max()))


@pytest.mark.parametrize(("name", "case"), DIFFERENTIABLE)
def test_gradient_is_the_central_difference(name: str, case: Case) -> None:
    builder, arrays, inputs = _node(name, case)
    rng = np.random.default_rng(1)
    node = builder.nodes[0]
    real = [i for i, a in enumerate(arrays) if a.dtype.kind == "f" and i not in CONSTANT_INPUTS.get(name, ())]
    feeds = {v: a.astype(np.float64) if a.dtype.kind == "f" else a for v, a in zip(inputs, arrays, strict=True)}
    weights = {v: rng.standard_normal(v.shape) for v in node.outputs if v.dtype.startswith("float")}

    def loss(shift: dict[int, np.ndarray], h: float) -> float:
        moved = [feeds[v] + h * shift[i] if i in shift else feeds[v] for i, v in enumerate(inputs)]
        results = OPS[name].reference(moved, case.attrs)
        return sum(float((weights[v] * r).sum()) for v, r in zip(node.outputs, results, strict=True) if v in weights)

    cotangents = [builder.input(f"g_{v.name}", v.spec) if v in weights else None for v in node.outputs]
    feeds |= {g: weights[v] for g, v in zip(cotangents, node.outputs, strict=True) if g is not None}
    gradient = OPS[name].gradient
    assert gradient is not None
    grads = list(gradient(builder, node, cotangents))
    assert len(grads) == len(inputs)
    for x, grad in zip(inputs, grads, strict=True):
        assert grad is None or grad.spec == x.spec
    computed = evaluate(builder.graph([g for g in grads if g is not None]), feeds)
    h = 1e-6
    for i in real:
        grad = grads[i]
        slope = np.zeros(arrays[i].shape) if grad is None else computed[grad]
        for _ in range(3):
            direction = rng.standard_normal(arrays[i].shape)
            difference = (loss({i: direction}, h) - loss({i: direction}, -h)) / (2 * h)
            scale = max(1.0, float(np.abs(slope * direction).sum()))
            assert abs(difference - float((slope * direction).sum())) < 2e-6 * scale


def test_every_operator_belongs_to_the_file_that_registered_it() -> None:
    for name, op in OPS.items():
        assert name == op.name
        assert op.scalar is None or op.decompose is None
        files = {
            f.__module__
            for f in (op.infer, op.reference, op.gradient, op.decompose)
            if f is not None and not f.__module__.endswith(".rules")
        }
        assert len(files) <= 1, f"{name} is spread over {sorted(files)}"
        assert files <= {family.__name__ for family in FAMILIES}


def test_derivatives_live_with_their_operators() -> None:
    for name in OPS:
        base = name.removesuffix("_grad")
        if base != name and base in OPS:
            assert OPS[name].infer.__module__ in (OPS[base].infer.__module__, "normengine.ops.rules")
            assert OPS[base].gradient is not None
