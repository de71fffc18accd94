"""Losses with kernels of their own: cross entropy of class labels, binary cross entropy of logits.

With ``logp = log_softmax(logits, axis=1)``, class weights ``w`` (1 if absent), label ``t``, smoothing ``s`` and C
classes, one position's cross entropy is ``-(1 - s) w[t] logp[t] - s / C sum_c w[c] logp[c]``, and 0 where
``t == ignore_index``; ``mean`` divides the sum by the sum of ``w[t]`` over the positions that are not ignored.
``at_label`` is ``x`` where a label is the class that stands there, else 0: of logarithms of probabilities, what the
negative log likelihood sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Node, Spec, Value
from .activation import sigmoid
from .base import Arrays, Attrs, Case, Op, OperatorError, Scalar
from .builder import Builder
from .reduce import sum_to
from .rules import (
    broadcast,
    elementwise_infer,
    elementwise_reference,
    only,
    real,
    require_dtype,
    require_float32,
    require_shape,
)
from .softmax import log_softmax
from .table import register

Grads = Sequence["Value | None"]


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    logits, target, *weight = specs
    if logits.rank < 2:
        raise OperatorError(f"logits must be (N, C) or (N, C, ...), got shape {logits.shape}")
    require_float32("logits", logits)
    require_dtype("target", target, "int64")
    positions = (logits.shape[0], *logits.shape[2:])
    if target.shape != positions:
        raise OperatorError(
            f"target must have shape {positions} for logits {logits.shape} (N, C, ...), got {target.shape}; "
            "it holds class indices, not one-hot rows"
        )
    for w in weight:
        require_float32("weight", w)
        require_shape("weight", w, logits.shape[1:2])
    if attrs["reduction"] not in ("none", "mean", "sum"):
        raise OperatorError(f'reduction must be "none", "mean" or "sum", got {attrs["reduction"]!r}')
    if not 0.0 <= attrs["label_smoothing"] <= 1.0:
        raise OperatorError(f"label_smoothing must be between 0 and 1, got {attrs['label_smoothing']}")
    if not -(2**63) <= attrs["ignore_index"] < 2**63:
        raise OperatorError(f"ignore_index must be a 64-bit integer, as labels are, got {attrs['ignore_index']}")
    return (Spec(positions if attrs["reduction"] == "none" else ()),)


def _labels(
    logits: np.ndarray, target: np.ndarray, weight: Sequence[np.ndarray], attrs: Attrs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which positions count (1 or 0), the one-hot labels, and the class weights as ``(C, 1, ...)``."""
    classes = logits.shape[1]
    kept = target != attrs["ignore_index"]
    wrong = target[kept & ((target < 0) | (target >= classes))]
    if wrong.size:
        raise OperatorError(f"target must hold class indices 0..{classes - 1}, got {wrong[0]}")
    column = (-1, *[1] * (logits.ndim - 2))
    onehot = (np.where(kept, target, 0)[:, None] == np.arange(classes).reshape(column)).astype(np.float64)
    w = real(weight[0]) if weight else np.ones(classes)
    return kept.astype(np.float64), onehot, w.reshape(column)


def _coefficients(kept: np.ndarray, onehot: np.ndarray, w: np.ndarray, attrs: Attrs) -> np.ndarray:
    """The factor of ``-logp`` at each position and class, before the reduction."""
    smoothing = attrs["label_smoothing"]
    return kept[:, None] * w * ((1.0 - smoothing) * onehot + smoothing / onehot.shape[1])


def _divisor(kept: np.ndarray, onehot: np.ndarray, w: np.ndarray, attrs: Attrs) -> Any:
    return (kept[:, None] * onehot * w).sum() if attrs["reduction"] == "mean" else 1.0


@np.errstate(all="ignore")
def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    logits, target, *weight = arrays
    labels = _labels(logits, target, weight, attrs)
    factors = _coefficients(*labels, attrs)
    logp = log_softmax(real(logits), 1)
    losses = np.where(factors == 0, 0.0, -factors * logp).sum(axis=1)
    if attrs["reduction"] == "none":
        return (losses,)
    return (np.asarray(losses.sum() / _divisor(*labels, attrs)),)


@np.errstate(all="ignore")
def _grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """``dlogits = dloss / divisor * (softmax * sum_c f - f)`` with the factors ``f`` of ``-logp``."""
    dloss, logits, target, *weight = arrays
    labels = _labels(logits, target, weight, attrs)
    factors = _coefficients(*labels, attrs)
    probability = np.exp(log_softmax(real(logits), 1))
    inner = probability * factors.sum(axis=1, keepdims=True) - factors
    flow = real(dloss)[:, None] if attrs["reduction"] == "none" else real(dloss)
    return (np.where(labels[0][:, None] > 0, flow * inner / _divisor(*labels, attrs), 0.0),)


def _gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    dlogits = builder.add("cross_entropy_grad", only(grads), *node.inputs, **node.attrs)
    return [dlogits, *[None] * (len(node.inputs) - 1)]


def _grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dloss, logits, *rest = specs
    (loss,) = _infer([logits, *rest], attrs)
    require_float32("loss gradient", dloss)
    require_shape("loss gradient", dloss, loss.shape)
    return (logits,)


def _with_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    if attrs["reduction"] not in ("mean", "sum"):
        raise OperatorError(f'reduction must be "mean" or "sum", got {attrs["reduction"]!r}')
    return (*_infer(specs, attrs), specs[0])


def _with_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """The loss, and its gradient to the logits."""
    return (*_reference(arrays, attrs), *_grad_reference((np.ones(()), *arrays), attrs))


def bce_with_logits(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``-y log(sigmoid(x)) - (1 - y) log(1 - sigmoid(x))`` as ``max(x, 0) - x y + log(1 + exp(-|x|))``."""
    return np.maximum(x, 0.0) - x * y + np.log1p(np.exp(-np.abs(x)))


def bce_with_logits_grad(dy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return dy * (sigmoid(x) - y)


def _bce_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    x, y = node.inputs
    g = only(grads)
    return [
        sum_to(builder, builder.add("bce_with_logits_grad", g, x, y), x.shape),
        sum_to(builder, builder.add("neg", builder.add("mul", g, x)), y.shape),
    ]


def _at_label_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, target, classes = specs
    require_float32("input", x)
    require_dtype("target", target, "int64")
    require_dtype("classes", classes, "int64")
    return (Spec(broadcast([x.shape, target.shape, classes.shape])),)


def _at_label(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, target, classes = arrays
    return (np.where(target == classes, real(x), 0.0),)


def _at_label_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    x, target, classes = node.inputs
    through = builder.add("at_label", only(grads), target, classes, **node.attrs)
    return [sum_to(builder, through, x.shape), None, None]


def _at_label_case(x: tuple[int, ...], classes: int) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        target = rng.integers(-1, classes, (3, 1, *x[2:]))
        return [rng.standard_normal(x).astype(np.float32), target, np.arange(classes).reshape(-1, *[1] * (len(x) - 2))]

    return Case(attrs={"ignore_index": -100}, draw=draw)


_PROBLEMS: tuple[tuple[tuple[int, ...], bool, float, int, str], ...] = (
    ((4, 10), False, 0.0, -100, "mean"),
    ((4, 10), False, 0.0, -100, "sum"),
    ((4, 10), False, 0.0, -100, "none"),
    ((1, 1), False, 0.0, -100, "mean"),
    ((33, 5), False, 0.1, -100, "mean"),
    ((9, 4), True, 0.0, -100, "mean"),
    ((9, 4), True, 0.2, 1, "mean"),
    ((9, 4), True, 0.2, 1, "none"),
    ((9, 4), False, 0.3, 2, "sum"),
    ((2, 3, 4, 5), False, 0.0, 0, "mean"),
    ((2, 3, 4, 5), True, 0.1, -100, "none"),
    ((6, 1000), False, 0.1, -100, "mean"),
    ((131, 3), True, 0.0, -100, "sum"),
    ((3, 7, 9, 11), True, 0.1, 2, "mean"),
)


def _entropy_case(
    shape: tuple[int, ...], weighted: bool, smoothing: float, ignored: int, reduction: str, grad: bool
) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        positions = (shape[0], *shape[2:])
        target = rng.integers(0, shape[1], positions)
        if ignored < 0:
            target[rng.random(positions) < 0.2] = ignored
            target.flat[0] = 0
        arrays = [2.0 * rng.standard_normal(shape), target]
        if weighted:
            arrays.append(rng.uniform(0.2, 2.0, shape[1]))
        if grad:
            arrays.insert(0, rng.standard_normal(positions if reduction == "none" else ()))
        return [np.asarray(a, dtype=np.int64 if a is target else np.float32) for a in arrays]

    return Case(attrs={"label_smoothing": smoothing, "ignore_index": ignored, "reduction": reduction}, draw=draw)


def _bce_case(shapes: Sequence[tuple[int, ...]], grad: bool) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        arrays = [4.0 * rng.standard_normal(shapes[0]), rng.random(shapes[1])]
        if grad:
            arrays.insert(0, rng.standard_normal(np.broadcast_shapes(*shapes)))
        return [np.asarray(a, np.float32) for a in arrays]

    return Case(draw=draw)


_KIND = "softmax and loss"
_BCE = (((), ()), ((7,), (7,)), ((3, 4, 5), (3, 4, 5)), ((3, 4), (4,)))

register(
    Op(
        "cross_entropy",
        _infer,
        _reference,
        _gradient,
        cases=lambda: tuple(_entropy_case(*problem, grad=False) for problem in _PROBLEMS),
        kind=_KIND,
        joint=("cross_entropy_grad", "cross_entropy_with_grad"),
        integers="any",
        evaluator_is_exact=False,
    ),
    Op(
        "cross_entropy_grad",
        _grad_infer,
        _grad_reference,
        cases=lambda: tuple(_entropy_case(*problem, grad=True) for problem in _PROBLEMS),
        kind=_KIND,
    ),
    Op(
        "cross_entropy_with_grad",
        _with_grad_infer,
        _with_grad_reference,
        cases=lambda: tuple(_entropy_case(*problem, grad=False) for problem in _PROBLEMS if problem[-1] != "none"),
        kind=_KIND,
    ),
    Op(
        "at_label",
        _at_label_infer,
        _at_label,
        _at_label_gradient,
        Scalar("at_label", operations=2),
        cases=lambda: (_at_label_case((3, 5), 5), _at_label_case((3, 17, 4, 5), 17), _at_label_case((1, 1), 1)),
        integers="any",
    ),
    Op(
        "bce_with_logits",
        elementwise_infer("input", "target"),
        elementwise_reference(bce_with_logits),
        _bce_gradient,
        Scalar("bce_with_logits", operations=88),
        cases=lambda: tuple(_bce_case(shapes, grad=False) for shapes in _BCE),
    ),
    Op(
        "bce_with_logits_grad",
        elementwise_infer("output gradient", "input", "target"),
        elementwise_reference(bce_with_logits_grad),
        scalar=Scalar("bce_with_logits_grad", operations=37),
        cases=lambda: tuple(_bce_case(shapes, grad=True) for shapes in _BCE),
    ),
)
