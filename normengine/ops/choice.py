"""Comparison, and the choice between two values that follows it, elementwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, OnnxMapping, Op, OperatorError, Scalar
from .builder import Builder
from .reduce import sum_to
from .rules import broadcast, only, real, require_float32
from .table import register


def _greater_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    for name, spec in zip(("left operand", "right operand"), specs, strict=True):
        require_float32(name, spec)
    return (Spec(broadcast([s.shape for s in specs]), "bool"),)


def _greater_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    a, b = map(real, arrays)
    return (np.asarray(a > b),)


def _where_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    condition, *chosen = specs
    if condition.dtype != "bool":
        raise OperatorError(f"condition must be bool, got {condition.dtype}")
    for name, spec in zip(("first choice", "second choice"), chosen, strict=True):
        require_float32(name, spec)
    return (Spec(broadcast([s.shape for s in specs])),)


def _where_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    condition, x, y = arrays
    return (np.where(condition, real(x), real(y)),)


def _where_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    (condition, x, y), dz, zero = node.inputs, only(grads), builder.constant(0.0)
    return [
        None,
        sum_to(builder, builder.add("where", condition, dz, zero), x.shape),
        sum_to(builder, builder.add("where", condition, zero, dz), y.shape),
    ]


def _draw_ties(rng: np.random.Generator) -> Sequence[np.ndarray]:
    a = rng.integers(-2, 3, (3, 17)).astype(np.float32)
    a[0, :3] = np.nan, np.inf, -np.inf
    return [a, np.array([0.0], np.float32)]


def _choice(condition: tuple[int, ...], x: tuple[int, ...], y: tuple[int, ...]) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        chosen = [rng.standard_normal(shape).astype(np.float32) for shape in (x, y)]
        return [rng.random(condition) < 0.5, *chosen]

    return Case(draw=draw)


register(
    Op(
        "greater",
        _greater_infer,
        _greater_reference,
        scalar=Scalar("greater"),
        onnx=OnnxMapping("Greater", inputs=2),
        cases=lambda: (
            Case(((3, 17), (3, 17)), differentiable=False),
            Case(((2, 3, 4, 5), (3, 1, 1)), differentiable=False),
            Case(draw=_draw_ties, differentiable=False),
        ),
        tolerance=0.0,
    ),
    Op(
        "where",
        _where_infer,
        _where_reference,
        _where_gradient,
        Scalar("where"),
        onnx=OnnxMapping("Where", inputs=3),
        cases=lambda: (
            _choice((3, 17), (3, 17), (3, 17)),
            _choice((3, 1), (), (3, 5)),
            _choice((2, 3, 4, 5), (3, 1, 1), (2, 1, 4, 5)),
        ),
        tolerance=0.0,
        integers="any",
    ),
)
