"""Circular and hyperbolic functions, their inverses, and powers, elementwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..graph import Node, Value
from .base import Case, OnnxMapping, Op, Scalar
from .builder import Builder
from .reduce import sum_to
from .rules import elementwise_infer, elementwise_reference, only
from .table import register

Grads = Sequence["Value | None"]
Derivative = Callable[[Builder, Value, Value, Value], Value]
"""Gives the input's gradient from the output's, the input and the output."""


def _one_and_square(builder: Builder, x: Value, op: str = "add") -> Value:
    """1 + x^2, or 1 - x^2 with ``op`` "sub"."""
    return builder.add(op, builder.constant(1.0), builder.add("mul", x, x))


def _sin_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("mul", dy, builder.add("cos", x))


def _cos_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("neg", builder.add("mul", dy, builder.add("sin", x)))


def _tan_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("mul", dy, _one_and_square(builder, y))


def _asin_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("mul", dy, builder.add("rsqrt", _one_and_square(builder, x, "sub")))


def _acos_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("neg", _asin_gradient(builder, dy, x, y))


def _atan_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("div", dy, _one_and_square(builder, x))


def _sinh_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("mul", dy, builder.add("cosh", x))


def _cosh_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("mul", dy, builder.add("sinh", x))


def _asinh_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("mul", dy, builder.add("rsqrt", _one_and_square(builder, x)))


def _acosh_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    square = builder.add("sub", builder.add("mul", x, x), builder.constant(1.0))
    return builder.add("mul", dy, builder.add("rsqrt", square))


def _atanh_gradient(builder: Builder, dy: Value, x: Value, y: Value) -> Value:
    return builder.add("div", dy, _one_and_square(builder, x, "sub"))


def _pow_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    """y x^(y - 1) for the base, x^y log(x) for the exponent, which at 0 is 0, as in PyTorch."""
    (x, y), (z,), dz = node.inputs, node.outputs, only(grads)
    zero, one = builder.constant(0.0), builder.constant(1.0)
    lower = builder.add("pow", x, builder.add("sub", y, one))
    slope = builder.add("mul", builder.add("mul", dz, y), lower)
    base = builder.add("where", builder.add("equal", y, zero), zero, slope)
    growth = builder.add("mul", builder.add("mul", dz, z), builder.add("log", x))
    exponent = builder.add("where", builder.add("equal", x, zero), zero, growth)
    return [sum_to(builder, base, x.shape), sum_to(builder, exponent, y.shape)]


def _draw_small(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.uniform(-0.9, 0.9, (3, 67)).astype(np.float32)]


def _draw_above_one(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.uniform(1.1, 9.0, (3, 67)).astype(np.float32)]


def _draw_powers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.uniform(0.1, 3.0, (4, 1, 6)).astype(np.float32), rng.uniform(-2, 2, (5, 1)).astype(np.float32)]


def _draw_power_of_some(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.uniform(0.1, 3.0, (2, 3, 4, 5)).astype(np.float32), np.array(1 / 3, np.float32)]


def _draw_whole_powers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.standard_normal((4, 7)).astype(np.float32), rng.integers(-3, 4, (7,)).astype(np.float32)]


_ANY = (Case(((),)), Case(((3, 17),)), Case(((2, 3, 5, 7),)))
_SMALL = (Case(draw=_draw_small),)


def _function(
    name: str,
    function: np.ufunc,
    derivative: Derivative,
    op_type: str,
    operations: int,
    cases: tuple[Case, ...] = _ANY,
) -> Op:
    def gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
        return [derivative(builder, only(grads), node.inputs[0], node.outputs[0])]

    return Op(
        name,
        elementwise_infer("input"),
        elementwise_reference(function),
        gradient,
        Scalar(name, operations=operations),
        onnx=OnnxMapping(op_type),
        cases=lambda: cases,
    )


register(
    _function("sin", np.sin, _sin_gradient, "Sin", 47),
    _function("cos", np.cos, _cos_gradient, "Cos", 49),
    _function("tan", np.tan, _tan_gradient, "Tan", 46, _SMALL),
    _function("asin", np.arcsin, _asin_gradient, "Asin", 35, _SMALL),
    _function("acos", np.arccos, _acos_gradient, "Acos", 35, _SMALL),
    _function("atan", np.arctan, _atan_gradient, "Atan", 29),
    _function("sinh", np.sinh, _sinh_gradient, "Sinh", 54),
    _function("cosh", np.cosh, _cosh_gradient, "Cosh", 39),
    _function("asinh", np.arcsinh, _asinh_gradient, "Asinh", 109),
    _function("acosh", np.arccosh, _acosh_gradient, "Acosh", 104, (Case(draw=_draw_above_one),)),
    _function("atanh", np.arctanh, _atanh_gradient, "Atanh", 61, _SMALL),
    Op(
        "pow",
        elementwise_infer("base", "exponent"),
        elementwise_reference(np.power),
        _pow_gradient,
        Scalar("pow", operations=132),
        onnx=OnnxMapping("Pow", inputs=0),
        cases=lambda: (
            Case(draw=_draw_powers),
            Case(draw=_draw_power_of_some),
            Case(draw=_draw_whole_powers, differentiable=False),
        ),
    ),
)
