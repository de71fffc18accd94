"""Reductions, extremes and their places in ``forward``, held to NumPy in float64; gradients to finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.graph import Spec
from normengine.nn.trace import trace
from normengine.ops import Builder, OperatorError, evaluate
from normengine.passes import differentiate

X = np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype(np.float32)
WIDE = X.astype(np.float64)
INF = float("inf")


def compute(function: Callable[[Any], Any], x: np.ndarray = X) -> Any:
    """``function`` of a traced tensor, evaluated on ``x``."""
    traced = trace(function, [("x", Spec.of(x))], [])
    values = evaluate(traced.builder.graph(traced.outputs), dict.fromkeys(traced.builder.inputs, x))
    return traced.structure([values[v] for v in traced.outputs])


@pytest.mark.parametrize(
    ("ours", "wanted"),
    [
        (lambda x: x.prod(1), WIDE.prod(1)),
        (lambda x: x.prod(), WIDE.prod()),
        (lambda x: x.prod((0, -1), keepdim=True), WIDE.prod((0, 3), keepdims=True)),
        (lambda x: x.amax((1, 2)), WIDE.max((1, 2))),
        (lambda x: x.amax(()), WIDE.max()),
        (lambda x: x.amin(-1, True), WIDE.min(-1, keepdims=True)),
        (lambda x: x.max(), WIDE.max()),
        (lambda x: x.min(), WIDE.min()),
        (lambda x: x.max(1)[0], WIDE.max(1)),
        (lambda x: x.max(1).indices, WIDE.argmax(1)),
        (lambda x: x.min(-1, keepdim=True).values, WIDE.min(-1, keepdims=True)),
        (lambda x: x.min(dim=0)[1], WIDE.argmin(0)),
        (lambda x: x.max(x * 2), np.maximum(WIDE, 2 * WIDE)),
        (lambda x: x.min(-x), np.minimum(WIDE, -WIDE)),
        (lambda x: x.argmax(), WIDE.argmax()),
        (lambda x: x.argmin(2, True), WIDE.argmin(2, keepdims=True)),
        (lambda x: x.argmax(keepdim=True), WIDE.argmax().reshape(1, 1, 1, 1)),
        (lambda x: x.topk(3, 2).values, -np.sort(-WIDE, 2)[:, :, :3]),
        (lambda x: x.topk(2, largest=False)[1], np.argsort(WIDE, -1, kind="stable")[..., :2]),
        (lambda x: x.gather(1, x.argmax(1, True)), WIDE.max(1, keepdims=True)),
        (lambda x: x.index_select(1, np.array([2, 0, -1])), WIDE[:, [2, 0, -1]]),
        (lambda x: x.var(), WIDE.var(ddof=1)),
        (lambda x: x.var(False), WIDE.var()),
        (lambda x: x.var((1, 2), unbiased=False, keepdim=True), WIDE.var((1, 2), keepdims=True)),
        (lambda x: x.std(0), WIDE.std(0, ddof=1)),
        (lambda x: x.std(1, correction=2), WIDE.std(1, ddof=2)),
        (lambda x: x.logsumexp(1), np.log(np.exp(WIDE).sum(1))),
        (lambda x: (x + 1000).logsumexp((1, -1), True), 1000 + np.log(np.exp(WIDE).sum((1, 3), keepdims=True))),
        (lambda x: x.norm(), np.sqrt((WIDE * WIDE).sum())),
        (lambda x: x.norm(1, dim=1), abs(WIDE).sum(1)),
        (lambda x: x.norm(3, dim=(1, 2)), (abs(WIDE) ** 3).sum((1, 2)) ** (1 / 3)),
        (lambda x: x.norm(INF, 1, True), abs(WIDE).max(1, keepdims=True)),
        (lambda x: x.norm(-INF, 1), abs(WIDE).min(1)),
        (lambda x: ne.max(x, 1)[0] + ne.amax(x, 1) - ne.min(x, 1)[0] - ne.amin(x, 1), 2 * np.ptp(WIDE, 1)),
        (lambda x: ne.max(x, 2 * x) + ne.min(x, -x), np.maximum(WIDE, 2 * WIDE) - abs(WIDE)),
        (lambda x: ne.argmax(x, 1) - ne.argmin(x, 1), WIDE.argmax(1) - WIDE.argmin(1)),
        (lambda x: ne.topk(x, 1)[0] - ne.max(x, -1, True)[0], np.zeros((2, 4, 6, 1))),
        (lambda x: x @ x.transpose(-1, -2), WIDE @ WIDE.swapaxes(-1, -2)),
        (lambda x: x @ np.arange(5.0), WIDE @ np.arange(5.0)),
        (lambda x: np.ones((3, 2, 1, 1, 6)) @ x, np.ones((3, 2, 1, 1, 6)) @ WIDE),
        (lambda x: ne.einsum("bchw,bdhw->bcd", x, x), np.einsum("bchw,bdhw->bcd", WIDE, WIDE)),
        (lambda x: ne.bmm(x[0], x[1].transpose(1, 2)), WIDE[0] @ WIDE[1].swapaxes(1, 2)),
    ],
)
def test_as_numpy(ours: Callable[[Any], Any], wanted: np.ndarray) -> None:
    found = compute(ours)
    assert found.shape == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("prod", (1,)), ("amax", (1,)), ("amin", ((0, 1),)), ("var", (1,)), ("std", ((0, 2),)), ("logsumexp", (1,)),
        ("argmax", (1,)), ("argmin", ()), ("norm", (2, 1)),
    ],
)  # fmt: skip
def test_arrays_and_tensors_agree(name: str, args: tuple[Any, ...]) -> None:
    """The function on an array, and the method of a tensor."""
    found = getattr(ne, name)(X, *args)
    assert isinstance(found, np.ndarray | np.generic)
    np.testing.assert_allclose(found, compute(lambda x: getattr(x, name)(*args)), rtol=1e-5, atol=1e-6)


def test_the_larger_of_two_arrays() -> None:
    assert np.array_equal(ne.max(X, 2 * X), np.maximum(X, 2 * X))
    assert np.array_equal(ne.min(X, X[0]), np.minimum(X, X[0]))


def test_infinite_elements_of_a_logarithm_of_a_sum() -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 0], [-np.inf, 3]], np.float32)
    with np.errstate(divide="ignore"):
        assert compute(lambda x: x.logsumexp(1), x).tolist() == [-np.inf, np.inf, 3]


def test_places_are_outputs_of_a_model() -> None:
    class Best(nn.Module):
        def forward(self, x: ne.Tensor) -> tuple[Any, ...]:
            return x.argmax(1), ne.topk(x, 2, dim=1), {"least": x.min(1).indices}

    places, found, least = Best()(X)
    assert places.dtype == found.indices.dtype == np.int64
    assert np.array_equal(places, X.argmax(1))
    assert np.array_equal(found.indices, np.argsort(-X, 1, kind="stable")[:, :2])
    assert np.array_equal(found.values, -np.sort(-X, 1)[:, :2])
    assert np.array_equal(least["least"], X.argmin(1))


SLOPES: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: x.max(1)[0],
    "min": lambda x: x.min(2, keepdim=True).values,
    "topk": lambda x: x.topk(3, 1)[0],
    "prod": lambda x: x.prod((1, 2)),
    "norm": lambda x: x.norm(dim=1),
    "norm 3": lambda x: x.norm(3, dim=1),
    "std": lambda x: x.std(1),
    "logsumexp": lambda x: x.logsumexp((1, 2)),
    "gather": lambda x: x.gather(1, x.argmin(1, True)),
    "matmul": lambda x: x @ x.transpose(1, 2),
    "matmul of a vector": lambda x: x @ np.arange(5.0),
    "einsum": lambda x: ne.einsum("bij,bkj,bk->i", x, x, x[:, :, 0]),
}


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_are_central_differences(name: str) -> None:
    x = X[:, 0].astype(np.float64)
    rng = np.random.default_rng(1)
    traced = trace(lambda x: (SLOPES[name](x)).square().sum(), [("x", Spec(x.shape))], [])
    (loss,), (source,) = traced.outputs, traced.builder.inputs
    graph = traced.builder.graph([loss])
    builder = Builder.extending(graph)
    (grad,) = differentiate(builder, graph.outputs[0], [source])
    assert grad is not None
    slope = evaluate(builder.graph([grad]), {source: x})[grad]
    direction, h = rng.standard_normal(x.shape), 1e-6
    high, low = (evaluate(graph, {source: x + s * h * direction})[graph.outputs[0]] for s in (1, -1))
    difference = float((slope * direction).sum())
    assert abs((float(high) - float(low)) / (2 * h) - difference) < 2e-5 * max(1.0, float(np.abs(slope).sum()))


def test_gradients_where_all_is_zero() -> None:
    """Products with factors of 0, and norms of nothing but 0."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factors = nn.Parameter(np.array([2.0, 0.0, 3.0]))
            self.nothing = nn.Parameter(np.zeros(3))

        def forward(self, x: ne.Tensor) -> ne.Tensor:
            return (self.factors.prod() + self.nothing.norm()) * x.mean()

    model = Both()
    step = ne.TrainStep(model, lambda y, target: y * target.mean(), optim.SGD(model.parameters(), lr=1.0))
    step(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    assert model.factors.data.tolist() == [2, -6, 3]
    assert model.nothing.data.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda x: x.argmax(4), IndexError, "dim 4 is out of range"),
        (lambda x: x.topk(7, 2), OperatorError, "k must be 1 to 6, the extent of axis 2"),
        (lambda x: x.var(1, correction=4), OperatorError, r"var over dims \(1,\) .* divides by 0; give a correction"),
        (lambda x: x.norm(0), ValueError, "p must not be 0"),
        (lambda x: x.norm(-1), ValueError, "p must be a finite number of 0 or more"),
        (lambda x: x.gather(1, x), OperatorError, "indices must be int64, got float32"),
        (lambda x: x.gather(1, np.array([0])), OperatorError, "must have shape .* but for axis 1"),
        (lambda x: ne.bmm(x, x), ValueError, r"bmm takes \(B, M, K\) and \(B, K, N\)"),
        (lambda x: ne.einsum("ij->ji", x), OperatorError, "does not name the axes of an operand of rank 4"),
        (lambda x: ne.einsum("ij->ji"), ValueError, "einsum needs at least one operand"),
        (lambda x: x @ x.mean(), OperatorError, "needs at least 1 axis on both sides"),
    ],
)
def test_errors(action: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compute(action)
