"""Softmax and its logarithm along one axis, computed after subtracting the maximum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .rules import all_inputs, only, real, require_axis, require_float32
from .table import register

Grads = Sequence["Value | None"]


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """``x - log(sum(exp(x)))`` along ``axis``."""
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_float32("input", x)
    require_axis("softmax axis", attrs["axis"], x)
    return (x,)


def _grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, y = specs
    require_float32("output gradient", dy)
    if dy.shape != y.shape:
        raise OperatorError(f"output gradient must have the output's shape {y.shape}, got {dy.shape}")
    return _infer([y], attrs)


@np.errstate(all="ignore")
def _softmax_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (softmax(real(arrays[0]), attrs["axis"]),)


@np.errstate(all="ignore")
def _log_softmax_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (log_softmax(real(arrays[0]), attrs["axis"]),)


@np.errstate(all="ignore")
def _softmax_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """``dx = y * (dy - sum(dy * y))``."""
    dy, y = map(real, arrays)
    return (y * (dy - (dy * y).sum(axis=attrs["axis"], keepdims=True)),)


@np.errstate(all="ignore")
def _log_softmax_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """``dx = dy - exp(y) * sum(dy)``."""
    dy, y = map(real, arrays)
    return (dy - np.exp(y) * dy.sum(axis=attrs["axis"], keepdims=True),)


def _gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add(f"{node.op}_grad", only(grads), node.outputs[0], axis=node.attrs["axis"])]


def _samples(node: Node) -> tuple[int, ...]:
    return all_inputs(node) if node.attrs["axis"] % len(node.inputs[0].shape) else ()


_KIND = "softmax and loss"
_PROBLEMS = (
    ((5,), 0),
    ((3, 10), 1),
    ((10, 3), 0),
    ((1, 1), 1),
    ((2, 7, 3, 4), 1),
    ((2, 3, 4, 5), 3),
    ((4, 1000), 1),
    ((2, 5, 33), 2),
)


def _draw_large(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [(100.0 * rng.standard_normal((6, 9))).astype(np.float32)]


def _grad_case(forward: Callable[[np.ndarray, int], np.ndarray], shape: tuple[int, ...], axis: int) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        dy, x = rng.standard_normal((2, *shape))
        return [dy.astype(np.float32), forward(x, axis).astype(np.float32)]

    return Case(attrs={"axis": axis}, draw=draw)


_CASES = (*(Case((shape,), {"axis": axis}) for shape, axis in _PROBLEMS), Case(attrs={"axis": 1}, draw=_draw_large))

register(
    Op(
        "softmax",
        _infer,
        _softmax_reference,
        _gradient,
        cases=lambda: _CASES,
        kind=_KIND,
        samples=_samples,
    ),
    Op(
        "log_softmax",
        _infer,
        _log_softmax_reference,
        _gradient,
        cases=lambda: _CASES,
        kind=_KIND,
        samples=_samples,
        evaluator_is_exact=False,
    ),
    Op(
        "softmax_grad",
        _grad_infer,
        _softmax_grad_reference,
        cases=lambda: tuple(_grad_case(softmax, shape, axis) for shape, axis in _PROBLEMS),
        kind=_KIND,
        samples=_samples,
    ),
    Op(
        "log_softmax_grad",
        _grad_infer,
        _log_softmax_grad_reference,
        cases=lambda: tuple(_grad_case(log_softmax, shape, axis) for shape, axis in _PROBLEMS),
        kind=_KIND,
        samples=_samples,
    ),
)
