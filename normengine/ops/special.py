"""Special functions, elementwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Node, Value
from .base import Case, OnnxMapping, Op, Scalar
from .builder import Builder
from .rules import elementwise_infer, elementwise_reference, only
from .table import register

_erf: Any = np.vectorize(math.erf, otypes=[np.float64])


def _erf_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    (x,) = node.inputs
    density = builder.add("exp", builder.add("neg", builder.add("mul", x, x)))
    return [builder.add("mul", only(grads), builder.add("mul", density, builder.constant(2 / math.sqrt(math.pi))))]


register(
    Op(
        "erf",
        elementwise_infer("input"),
        elementwise_reference(_erf),
        _erf_gradient,
        Scalar("erf", operations=56),
        onnx=OnnxMapping("Erf"),
        cases=(Case(((),)), Case(((3, 17),)), Case(((2, 3, 5, 7),))),
    ),
)
