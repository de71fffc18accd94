"""The larger and the smaller of two values, elementwise: what clipping is made of. NaN goes through."""

from __future__ import annotations

import numpy as np

from .base import Case, OnnxMapping, Op, Scalar
from .rules import elementwise_infer, elementwise_reference
from .table import register

_SHAPES = (((3, 17), (3, 17)), ((2, 3, 4, 5), ()), ((2, 3, 4, 5), (3, 1, 1)), ((4, 1, 6), (5, 1)))
_CASES = tuple(Case(shapes, differentiable=False) for shapes in _SHAPES)
_infer = elementwise_infer("left operand", "right operand")

register(
    Op(
        "maximum",
        _infer,
        elementwise_reference(np.maximum),
        scalar=Scalar("maximum", operations=4),
        onnx=OnnxMapping("Max", inputs=0),
        cases=lambda: _CASES,
    ),
    Op(
        "minimum",
        _infer,
        elementwise_reference(np.minimum),
        scalar=Scalar("minimum", operations=4),
        onnx=OnnxMapping("Min", inputs=0),
        cases=lambda: _CASES,
    ),
)
