"""Sums of all elements up to each one along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .rules import real, require_axis
from .table import register


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    if x.dtype not in ("float32", "int64"):
        raise OperatorError(f"input must be float32 or int64, got {x.dtype}; convert it")
    require_axis("axis", attrs["axis"], x)
    return (x,)


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, axis = arrays[0], attrs["axis"]
    x = real(x) if x.dtype.kind == "f" else x
    x = np.flip(x, axis) if attrs["reverse"] else x
    if attrs["exclusive"]:
        x = np.insert(np.delete(x, -1, axis), 0, 0, axis)
    total = np.cumsum(x, axis)
    return (np.ascontiguousarray(np.flip(total, axis) if attrs["reverse"] else total),)


def _decompose(builder: Builder, node: Node) -> Sequence[Value]:
    """Sums of 1, 2, 4, ... neighbours, each added to the one so far behind (Hillis and Steele, 1986): about as many
    roundings as a tree has."""
    (x,), axis, reverse = node.inputs, node.attrs["axis"], node.attrs["reverse"]
    extent, total = x.shape[axis], x
    if node.attrs["exclusive"]:
        zero = builder.constant(np.zeros((), x.dtype))
        total = _shifted(builder, x, axis, 1, reverse) if extent > 1 else builder.add("expand", zero, shape=x.shape)
    step = 1
    while step < extent:
        total = builder.add("add", total, _shifted(builder, total, axis, step, reverse))
        step *= 2
    return [builder.add("reshape", x, shape=x.shape) if total is x else total]


def _shifted(builder: Builder, x: Value, axis: int, by: int, back: bool) -> Value:
    """``x`` moved along ``axis`` by so many places, 0 where nothing was before."""
    rank = x.spec.rank
    kept = x.shape[axis] - by
    start = by if back else 0
    ones = (1,) * rank
    part = builder.add(
        "slice",
        x,
        starts=tuple(start if a == axis else 0 for a in range(rank)),
        stops=tuple(start + kept if a == axis else n for a, n in enumerate(x.shape)),
        steps=ones,
    )
    starts = tuple(by - start if a == axis else 0 for a in range(rank))
    return builder.add("unslice", part, starts=starts, steps=ones, shape=x.shape)


def _samples(node: Node) -> tuple[int, ...]:
    return (0,) if node.attrs["axis"] else ()


def _draw_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(-(2**50), 2**50, (3, 6))]


def _along(shape: tuple[int, ...], axis: int, exclusive: bool = False, reverse: bool = False) -> Case:
    return Case((shape,), {"axis": axis, "exclusive": exclusive, "reverse": reverse})


register(
    Op(
        "cumsum",
        _infer,
        _reference,
        decompose=_decompose,
        cases=lambda: (
            _along((11,), 0),
            _along((2, 3, 5), 1),
            _along((2, 3, 5), 2, exclusive=True),
            _along((2, 4, 8), 0, reverse=True),
            _along((2, 4, 8), 2, exclusive=True, reverse=True),
            _along((3, 1), 1, exclusive=True),
            _along((3, 1), 1),
            Case(draw=_draw_integers, attrs={"axis": 1, "exclusive": False, "reverse": False}, differentiable=False),
        ),
        samples=_samples,
        integers="any",
    ),
)
