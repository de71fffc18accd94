"""Matrix products: the linear layer ``y = x w^T + b`` and ``matmul`` of two matrices.

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


def _matmul_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    a, b = specs
    require_layout("left matrix", a, "(M, K)")
    require_layout("right matrix", b, "(K, N)")
    rows, inner = a.shape[::-1] if attrs["transpose_a"] else a.shape
    given, columns = b.shape[::-1] if attrs["transpose_b"] else b.shape
    if inner != given:
        flags = f"transpose_a={attrs['transpose_a']}, transpose_b={attrs['transpose_b']}"
        raise OperatorError(f"matrices {a.shape} and {b.shape} ({flags}) differ in the summed extent: {inner}, {given}")
    return (Spec((rows, columns)),)


def _matmul_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    a, b = map(real, arrays)
    return ((a.T if attrs["transpose_a"] else a) @ (b.T if attrs["transpose_b"] else b),)


def _matmul_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    g = only(grads)
    flip_a, flip_b = node.attrs["transpose_a"], node.attrs["transpose_b"]
    if flip_a:
        da = builder.add("matmul", b, g, transpose_a=flip_b, transpose_b=True)
    else:
        da = builder.add("matmul", g, b, transpose_a=False, transpose_b=not flip_b)
    if flip_b:
        db = builder.add("matmul", g, a, transpose_a=True, transpose_b=flip_a)
    else:
        db = builder.add("matmul", a, g, transpose_a=not flip_a, transpose_b=False)
    return [da, db]


def _linear_products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(outputs[0]) * inputs[0][1]


def _matmul_products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(outputs[0]) * inputs[0][0 if attrs["transpose_a"] else 1]


def _matmul_samples(node: Node) -> tuple[int, ...]:
    return () if node.attrs["transpose_a"] else (0,)


_SIZES = ((1, 1, 1), (3, 5, 7), (4, 16, 32), (2, 10, 257), (17, 33, 9), (64, 3, 2))


def _matmul_case(m: int, n: int, k: int, flip_a: bool, flip_b: bool) -> Case:
    shapes = ((k, m) if flip_a else (m, k), (n, k) if flip_b else (k, n))
    return Case(shapes, {"transpose_a": flip_a, "transpose_b": flip_b})


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
    Op(
        "matmul",
        _matmul_infer,
        _matmul_reference,
        _matmul_gradient,
        cases=lambda: tuple(
            _matmul_case(m, n, k, flip_a, flip_b)
            for m, n, k in _SIZES
            for flip_a in (False, True)
            for flip_b in (False, True)
        ),
        kind="linear",
        products=_matmul_products,
        samples=_matmul_samples,
    ),
)
