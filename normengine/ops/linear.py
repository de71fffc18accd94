"""The linear layer ``y = x w^T + b``.

What follows a linear layer may become part of it: with the attribute ``clamp = (low, high)`` y is limited to that
range.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .rules import first_input, only, real, require_float32, require_layout, require_shape
from .table import register

Grads = Sequence["Value | None"]


def _linear_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, w, *bias = specs
    require_layout("input", x, "(N, features)")
    require_layout("weight", w, "(out features, in features)")
    if x.shape[1] != w.shape[1]:
        raise OperatorError(f"input has {x.shape[1]} features, weight expects {w.shape[1]} (weight shape {w.shape})")
    for b in bias:
        require_float32("bias", b)
        require_shape("bias", b, w.shape[:1])
    return (Spec((x.shape[0], w.shape[0])),)


def _linear_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, *bias = map(real, arrays)
    y = x @ w.T
    y = y + bias[0] if bias else y
    return (np.clip(y, *attrs["clamp"]) if "clamp" in attrs else y,)


def _linear_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    x, w, *bias = node.inputs
    assert "clamp" not in node.attrs, "a linear layer is fused with what follows after differentiation"
    g = only(grads)
    parts: list[Value | None] = [
        builder.add("matmul", g, w, transpose_a=False, transpose_b=False),
        builder.add("matmul", g, x, transpose_a=True, transpose_b=False),
    ]
    if bias:
        parts.append(builder.add("reduce_sum", g, axes=(0,), keepdims=False))
    return parts


def _linear_products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(outputs[0]) * inputs[0][1]


_SIZES = ((1, 1, 1), (3, 5, 7), (4, 16, 32), (2, 10, 257), (17, 33, 9), (64, 3, 2))


register(
    Op(
        "linear",
        _linear_infer,
        _linear_reference,
        _linear_gradient,
        cases=lambda: (
            *(Case(((m, k), (n, k))) for m, n, k in _SIZES),
            *(Case(((m, k), (n, k), (n,))) for m, n, k in _SIZES),
        ),
        kind="linear",
        products=_linear_products,
        samples=first_input,
        weight=1,
        epilogue=("clamp",),
        folds_norms=True,
    ),
)
