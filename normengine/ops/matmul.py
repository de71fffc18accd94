"""Matrix products: ``matmul`` of two arrays of matrices, whose leading axes broadcast, and what PyTorch, NumPy and ONNX
make of it for vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Protocol, TypeVar

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .reduce import sum_to
from .rules import broadcast, only, real, require_float32
from .table import register

Grads = Sequence["Value | None"]


class Shaped(Protocol):
    """A value of a graph, or what stands for one."""

    @property
    def shape(self) -> tuple[int, ...]: ...


V = TypeVar("V", bound=Shaped)
Add = Callable[..., V]
"""Adds a node, ``add(op, *inputs, **attrs)``, and returns its output."""


def parts_of_batch(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many parts the leading extents ``a`` and ``b`` have: axes of one factor, of the other, or of both."""
    rank = max(len(a), len(b))
    kinds = [(n != 1, m != 1) for n, m in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True)]
    kinds = [kind for kind in kinds if any(kind)]
    return sum(i == 0 or kind != kinds[i - 1] for i, kind in enumerate(kinds))


def product(add: Add[V], a: V, b: V) -> V:
    """``a @ b`` as PyTorch's ``matmul``, NumPy's and ONNX's: vectors are a row on the left, a column on the right,
    which the result does not have; leading axes broadcast.

    Raises :class:`OperatorError` for scalars, and where the extents do not fit.
    """
    if not a.shape or not b.shape:
        raise OperatorError(f"a product of matrices needs at least 1 axis on both sides, got {a.shape} and {b.shape}")
    left = add("reshape", a, shape=(1, *a.shape)) if len(a.shape) == 1 else a
    right = add("reshape", b, shape=(*b.shape, 1)) if len(b.shape) == 1 else b
    if parts_of_batch(left.shape[:-2], right.shape[:-2]) > 2:
        batch = broadcast([left.shape[:-2], right.shape[:-2]])
        left = add("expand", left, shape=(*batch, *left.shape[-2:]))
        if parts_of_batch(batch, right.shape[:-2]) > 2:
            right = add("expand", right, shape=(*batch, *right.shape[-2:]))
    y = add("matmul", left, right, transpose_a=False, transpose_b=False)
    rows, columns = y.shape[-2:]
    shape = (*y.shape[:-2], *(rows,) * (len(a.shape) > 1), *(columns,) * (len(b.shape) > 1))
    return y if shape == y.shape else add("reshape", y, shape=shape)


def _matrix(shape: tuple[int, ...], flipped: bool) -> tuple[int, int]:
    rows, columns = shape[-2:]
    return (columns, rows) if flipped else (rows, columns)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    for name, layout, spec in zip(("left matrix", "right matrix"), ("(..., M, K)", "(..., K, N)"), specs, strict=True):
        require_float32(name, spec)
        if spec.rank < 2:
            raise OperatorError(f"{name} must be {layout}, got shape {spec.shape}")
    a, b = specs
    rows, inner = _matrix(a.shape, attrs["transpose_a"])
    given, columns = _matrix(b.shape, attrs["transpose_b"])
    if inner != given:
        flags = f"transpose_a={attrs['transpose_a']}, transpose_b={attrs['transpose_b']}"
        raise OperatorError(f"matrices {a.shape} and {b.shape} ({flags}) differ in the summed extent: {inner}, {given}")
    leading = a.shape[:-2], b.shape[:-2]
    if parts_of_batch(*leading) > 2:
        raise OperatorError(f"leading extents {leading[0]} and {leading[1]} alternate; expand one of them")
    return (Spec((*broadcast(leading), rows, columns)),)


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    a, b = map(real, arrays)
    a = a.swapaxes(-1, -2) if attrs["transpose_a"] else a
    return (a @ (b.swapaxes(-1, -2) if attrs["transpose_b"] else b),)


def _gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    g = only(grads)
    flip_a, flip_b = node.attrs["transpose_a"], node.attrs["transpose_b"]
    if flip_a:
        da = builder.add("matmul", b, g, transpose_a=flip_b, transpose_b=True)
    else:
        da = builder.add("matmul", g, b, transpose_a=False, transpose_b=not flip_b)
    one_matrix = not flip_a and prod(b.shape[:-2]) == 1  # for all rows: one product that sums over all of them
    if one_matrix:
        a, g = _rows(builder, a), _rows(builder, g)
    if flip_b:
        db = builder.add("matmul", g, a, transpose_a=True, transpose_b=flip_a)
    else:
        db = builder.add("matmul", a, g, transpose_a=not flip_a, transpose_b=False)
    da = sum_to(builder, da, node.inputs[0].shape)
    if one_matrix:
        return [da, db if db.shape == b.shape else builder.add("reshape", db, shape=b.shape)]
    return [da, sum_to(builder, db, b.shape)]


def _rows(builder: Builder, x: Value) -> Value:
    return x if len(x.shape) == 2 else builder.add("reshape", x, shape=(-1, x.shape[-1]))


def _products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(outputs[0]) * _matrix(inputs[0], attrs["transpose_a"])[1]


def _samples(node: Node) -> tuple[int, ...]:
    """Of arrays of matrices the leading axis, which an input has as a whole or not at all; of matrices the rows."""
    (y,) = node.outputs
    rank = len(y.shape)
    if rank == 2:
        return () if node.attrs["transpose_a"] else (0,)
    return tuple(i for i, v in enumerate(node.inputs) if len(v.shape) == rank and v.shape[0] == y.shape[0])


_SIZES = ((1, 1, 1), (3, 5, 7), (4, 16, 32), (2, 10, 257), (17, 33, 9), (64, 3, 2))
_BATCHES = (
    ((3,), (3,)),
    ((2, 3), (2, 3)),
    ((2, 1), (3,)),
    ((), (4,)),
    ((2, 3), ()),
    ((3, 1), (1, 2)),
    ((1, 3), (2, 1)),
)


def _case(m: int, n: int, k: int, flip_a: bool, flip_b: bool, a: tuple[int, ...] = (), b: tuple[int, ...] = ()) -> Case:
    shapes = ((*a, k, m) if flip_a else (*a, m, k), (*b, n, k) if flip_b else (*b, k, n))
    return Case(shapes, {"transpose_a": flip_a, "transpose_b": flip_b})


register(
    Op(
        "matmul",
        _infer,
        _reference,
        _gradient,
        cases=lambda: (
            *(_case(*size, flip_a, flip_b) for size in _SIZES for flip_a in (False, True) for flip_b in (False, True)),
            *(
                _case(5, 6, k, flip_a, flip_b, a, b)
                for a, b in _BATCHES
                for k in (3, 17)
                for flip_a in (False, True)
                for flip_b in (False, True)
            ),
        ),
        kind="linear",
        products=_products,
        samples=_samples,
    ),
)
