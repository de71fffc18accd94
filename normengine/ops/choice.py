"""Comparison, logic, and the choice between two values that follows them, elementwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, OnnxMapping, Op, OperatorError, Scalar
from .builder import Builder
from .inference import Infer
from .reduce import sum_to
from .rules import Reference, broadcast, only, real
from .table import register

COMPARED = ("float32", "int64")
"""Element types that have an order here."""


def _alike(names: Sequence[str], specs: Sequence[Spec], allowed: Sequence[str]) -> str:
    """The one element type of all ``specs``, which must be among ``allowed``."""
    for name, spec in zip(names, specs, strict=True):
        if spec.dtype not in allowed:
            raise OperatorError(f"{name} must be {' or '.join(allowed)}, got {spec.dtype}; convert it")
        if spec.dtype != specs[0].dtype:
            raise OperatorError(f"{name} is {spec.dtype}, {names[0]} is {specs[0].dtype}; convert one of them")
    return specs[0].dtype


def _compare_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    _alike(("left operand", "right operand"), specs, COMPARED)
    return (Spec(broadcast([s.shape for s in specs]), "bool"),)


def _equal_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    _alike(("left operand", "right operand"), specs, (*COMPARED, "bool"))
    return (Spec(broadcast([s.shape for s in specs]), "bool"),)


def _logic_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    for spec in specs:
        if spec.dtype != "bool":
            raise OperatorError(f"operands must be bool, got {spec.dtype}; compare them with a number")
    return (Spec(broadcast([s.shape for s in specs]), "bool"),)


def _exact(function: np.ufunc) -> Reference:
    """``function`` on the arrays as they are: float64 has every float32, and comparing rounds nothing."""

    def reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
        return (np.asarray(function(*arrays)),)

    return reference


def _where_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    condition, *chosen = specs
    if condition.dtype != "bool":
        raise OperatorError(f"condition must be bool, got {condition.dtype}")
    dtype = _alike(("first choice", "second choice"), chosen, (*COMPARED, "bool"))
    return (Spec(broadcast([s.shape for s in specs]), dtype),)


def _where_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    condition, *chosen = arrays
    x, y = (real(a) if a.dtype.kind == "f" else a for a in chosen)
    return (np.where(condition, x, y),)


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


def _draw_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(-2, 3, (3, 1, 17)), rng.integers(-2, 3, (4, 1))]


def _draw_large_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    """Neighbours that float32, and float64, cannot tell apart."""
    return [2**53 + rng.integers(0, 3, (3, 17)), 2**53 + rng.integers(0, 3, (17,))]


def _draw_truths(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.random((3, 1, 17)) < 0.5, rng.random((4, 1)) < 0.5]


def _draw_truth(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.random((3, 17)) < 0.5]


def _draw_chosen_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.random((4, 1)) < 0.5, rng.integers(-(2**60), 2**60, (3, 1, 5)), np.array(2**60 + 1)]


def _draw_chosen_truths(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.random((4, 5)) < 0.5, rng.random((3, 1, 5)) < 0.5, np.array(True)]


def _choice(condition: tuple[int, ...], x: tuple[int, ...], y: tuple[int, ...]) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        chosen = [rng.standard_normal(shape).astype(np.float32) for shape in (x, y)]
        return [rng.random(condition) < 0.5, *chosen]

    return Case(draw=draw)


_COMPARISONS = (
    Case(((3, 17), (3, 17)), differentiable=False),
    Case(((2, 3, 4, 5), (3, 1, 1)), differentiable=False),
    Case(draw=_draw_ties, differentiable=False),
    Case(draw=_draw_integers, differentiable=False),
    Case(draw=_draw_large_integers, differentiable=False),
)


def _comparison(name: str, function: np.ufunc, op_type: str | None, infer: Infer = _compare_infer) -> Op:
    return Op(
        name,
        infer,
        _exact(function),
        scalar=Scalar(name),
        onnx=None if op_type is None else OnnxMapping(op_type, inputs=2),
        cases=lambda: _COMPARISONS,
        tolerance=0.0,
        integers="all",
    )


def _logic(name: str, function: np.ufunc, scalar: str, op_type: str, inputs: int = 2) -> Op:
    draw = _draw_truths if inputs == 2 else _draw_truth
    return Op(
        name,
        _logic_infer,
        _exact(function),
        scalar=Scalar(scalar),
        onnx=OnnxMapping(op_type, inputs=inputs),
        cases=lambda: (Case(draw=draw, differentiable=False),),
        tolerance=0.0,
        integers="any",
    )


register(
    _comparison("greater", np.greater, "Greater"),
    _comparison("greater_equal", np.greater_equal, None),
    _comparison("equal", np.equal, "Equal", _equal_infer),
    _logic("logical_and", np.logical_and, "both", "And"),
    _logic("logical_or", np.logical_or, "either", "Or"),
    _logic("logical_xor", np.logical_xor, "differ", "Xor"),
    _logic("logical_not", np.logical_not, "opposite", "Not", 1),
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
            Case(draw=_draw_chosen_integers, differentiable=False),
            Case(draw=_draw_chosen_truths, differentiable=False),
        ),
        tolerance=0.0,
        integers="any",
    ),
)
