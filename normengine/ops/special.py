"""Special functions, elementwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..graph import Node, Value
from .base import Case, OnnxMapping, Op, Scalar
from .builder import Builder
from .rules import elementwise_infer, elementwise_reference, only
from .table import register

erf: Callable[[np.ndarray], np.ndarray] = np.vectorize(math.erf, otypes=[np.float64])
"""The error function."""


def _erf_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    (x,) = node.inputs
    density = builder.add("exp", builder.add("neg", builder.add("mul", x, x)))
    return [builder.add("mul", only(grads), builder.add("mul", density, builder.constant(2 / math.sqrt(math.pi))))]


def _softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


def _softplus_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    return [builder.add("mul", only(grads), builder.add("sigmoid", *node.inputs))]


def _draw_far(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [np.array([-1e4, -90.0, -20.0, -1e-6, 0.0, 1e-6, 20.0, 90.0, 1e4], np.float32)]


register(
    Op(
        "softplus",
        elementwise_infer("input"),
        elementwise_reference(_softplus),
        _softplus_gradient,
        Scalar("softplus", operations=86),
        onnx=OnnxMapping("Softplus"),
        cases=lambda: (
            Case(((),)),
            Case(((3, 17),)),
            Case(((2, 3, 5, 7),)),
            Case(draw=_draw_far, differentiable=False),
        ),
    ),
    Op(
        "erf",
        elementwise_infer("input"),
        elementwise_reference(erf),
        _erf_gradient,
        Scalar("erf", operations=56),
        onnx=OnnxMapping("Erf"),
        cases=lambda: (Case(((),)), Case(((3, 17),)), Case(((2, 3, 5, 7),))),
    ),
)
