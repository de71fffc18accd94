"""Signs, rounding, and what division leaves, elementwise; nothing flows back through what has steps alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, OnnxMapping, Op, Scalar
from .builder import Builder
from .reduce import sum_to
from .rules import broadcast, elementwise_infer, elementwise_reference, only, require_dtype
from .table import register

Grads = Sequence["Value | None"]

_unary = elementwise_infer("input")


def _no_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [None] * len(node.inputs)


def _fmod_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    """x - y n has the slopes 1 and -n, n the quotient of which it is what is left."""
    (x, y), (z,), dz = node.inputs, node.outputs, only(grads)
    quotient = builder.add("round", builder.add("div", builder.add("sub", x, z), y))
    return [
        sum_to(builder, dz, x.shape),
        builder.add("neg", sum_to(builder, builder.add("mul", dz, quotient), y.shape)),
    ]


def _integers(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    for name, spec in zip(("dividend", "divisor"), specs, strict=True):
        require_dtype(name, spec, "int64")
    return (Spec(broadcast([spec.shape for spec in specs]), "int64"),)


@np.errstate(all="ignore")
def _integer_div_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """The quotient towards 0; 0 by 0."""
    a, b = arrays
    quotient = np.floor_divide(a, b)
    toward_zero = quotient + ((quotient < 0) & (quotient * b != a))
    return (np.where(b == 0, 0, toward_zero),)


@np.errstate(all="ignore")
def _integer_remainder_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """What is left, with the sign of the divisor; 0 by 0."""
    a, b = arrays
    return (np.where(b == 0, 0, np.mod(a, b)),)


def _draw_near_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    halves = np.arange(-6, 6.5, 0.5, dtype=np.float32)
    whole = np.array([-0.0, 2**22 + 0.5, 2**23 - 0.5, 2**23, -(2.0**30)], np.float32)
    return [np.concatenate([halves, whole, np.nextafter(whole, 0), rng.standard_normal(40).astype(np.float32) * 9])]


def _draw_quotients(rng: np.random.Generator) -> Sequence[np.ndarray]:
    sign = rng.choice([-1.0, 1.0], (2, 1, 5))
    return [
        (9 * rng.standard_normal((3, 5))).astype(np.float32),
        (sign * rng.uniform(0.5, 2.0, (2, 1, 5))).astype(np.float32),
    ]


def _draw_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(-(2**40), 2**40, (3, 1, 5)), rng.choice([-7, -3, -1, 1, 2, 10**9], (4, 1))]


_STEPS = (Case(((),)), Case(((2, 3, 5, 7),)), Case(draw=_draw_near_integers, differentiable=False))

register(
    Op(
        "sign",
        _unary,
        elementwise_reference(np.sign),
        _no_gradient,
        Scalar("sign", operations=4),
        onnx=OnnxMapping("Sign"),
        cases=lambda: _STEPS,
        tolerance=0.0,
    ),
    Op(
        "ceil",
        _unary,
        elementwise_reference(np.ceil),
        _no_gradient,
        Scalar("ceil", operations=19),
        onnx=OnnxMapping("Ceil"),
        cases=lambda: _STEPS,
        tolerance=0.0,
    ),
    Op(
        "round",
        _unary,
        elementwise_reference(np.round),
        _no_gradient,
        Scalar("round_even", operations=11),
        onnx=OnnxMapping("Round"),
        cases=lambda: _STEPS,
        tolerance=0.0,
    ),
    Op(
        "fmod",
        elementwise_infer("dividend", "divisor"),
        elementwise_reference(np.fmod),
        _fmod_gradient,
        Scalar("fmod", operations=33),
        cases=lambda: (Case(draw=_draw_quotients),),
    ),
    Op(
        "integer_div",
        _integers,
        _integer_div_reference,
        scalar=Scalar("integer_div", operations=17),
        cases=lambda: (Case(draw=_draw_integers, differentiable=False),),
        tolerance=0.0,
        integers="all",
    ),
    Op(
        "integer_remainder",
        _integers,
        _integer_remainder_reference,
        scalar=Scalar("integer_remainder", operations=7),
        cases=lambda: (Case(draw=_draw_integers, differentiable=False),),
        tolerance=0.0,
        integers="all",
    ),
)
