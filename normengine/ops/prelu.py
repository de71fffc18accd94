"""The rectifier whose slope below 0 is learned (He et al., 2015): ``prelu(x, slope)``, the slope broadcast to x."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Attrs, Case, OnnxMapping, Op, OperatorError, Scalar
from .builder import Builder
from .reduce import sum_to
from .rules import broadcast, elementwise_infer, elementwise_reference, only, require_float32
from .table import register


def _prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """x where x > 0, else slope * x."""
    return np.where(x > 0, x, slope * x)


def _prelu_grad(dy: np.ndarray, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.where(x > 0, dy, slope * dy)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, slope = specs
    require_float32("input", x)
    require_float32("slope", slope)
    if broadcast([x.shape, slope.shape]) != x.shape:
        raise OperatorError(f"slope of shape {slope.shape} does not broadcast to the input's shape {x.shape}")
    return (x,)


def _gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    (x, slope), dy = node.inputs, only(grads)
    below = builder.add("minimum", x, builder.constant(0.0))
    return [builder.add("prelu_grad", dy, x, slope), sum_to(builder, builder.add("mul", dy, below), slope.shape)]


def _draw_grad(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 4, 5), (2, 3, 4, 5), (3, 1, 1))]


register(
    Op(
        "prelu",
        _infer,
        elementwise_reference(_prelu),
        _gradient,
        Scalar("prelu", operations=3, cheap=True),
        onnx=OnnxMapping("PRelu", inputs=2),
        cases=lambda: (
            Case(((3, 17), (17,))),
            Case(((2, 3, 4, 5), (3, 1, 1))),
            Case(((2, 3, 4, 5), ())),
            Case(((2, 3), (2, 3))),
        ),
    ),
    Op(
        "prelu_grad",
        elementwise_infer("output gradient", "input", "slope"),
        elementwise_reference(_prelu_grad),
        scalar=Scalar("prelu_grad", operations=3, cheap=True),
        cases=lambda: (Case(draw=_draw_grad),),
    ),
)
