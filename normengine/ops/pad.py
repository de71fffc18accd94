"""Padding with a number, or with the array itself: reflected at its edges, or with these or all of it repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .rules import real
from .runs import Adds, runs, take_runs
from .table import register

MODES = ("constant", "reflect", "edge", "wrap")
"""``value`` is the number of the first, and 0 for the others."""

_LEAST = {"constant": 0, "reflect": 2, "edge": 1, "wrap": 1}
"""Elements that an axis must have."""


def padded_places(extent: int, before: int, after: int, mode: str) -> np.ndarray:
    """Which place of an axis each place of the padded one repeats."""
    return np.pad(np.arange(extent), (before, after), mode=mode)  # type: ignore[call-overload]


def spread(builder: Adds, x: Value, before: Sequence[int], after: Sequence[int]) -> Value:
    """``x`` with so many zeros before and behind each axis."""
    shape = tuple(n + b + a for n, b, a in zip(x.shape, before, after, strict=True))
    return builder.add("unslice", x, starts=tuple(before), steps=(1,) * len(shape), shape=shape)


def surrounded(builder: Adds, x: Value, before: Sequence[int], after: Sequence[int], fill: Value) -> Value:
    """``x`` with so many times ``fill``, a value of no axes, before and behind each axis."""
    rows = list(zip(x.shape, before, after, strict=True))
    inside = np.zeros([n + b + a if b or a else 1 for n, b, a in rows], bool)
    inside[tuple(slice(b, b + n) if b or a else slice(None) for n, b, a in rows)] = True
    return builder.add("where", builder.constant(inside), spread(builder, x, before, after), fill)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    before, after, mode = attrs["before"], attrs["after"], attrs["mode"]
    if mode not in MODES:
        raise OperatorError(f"mode must be {', '.join(MODES)}, got {mode!r}")
    if not len(before) == len(after) == x.rank or min((*before, *after), default=0) < 0:
        raise OperatorError(f"pads of shape {x.shape} are a number, 0 or more, an axis, got {before} and {after}")
    for axis, (n, b, a) in enumerate(zip(x.shape, before, after, strict=True)):
        if (b or a) and n < _LEAST[mode]:
            raise OperatorError(f"axis {axis} of shape {x.shape} has too few elements to be padded by mode {mode!r}")
    return (Spec(tuple(n + b + a for n, b, a in zip(x.shape, before, after, strict=True)), x.dtype),)


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    x = real(x) if x.dtype.kind == "f" else x
    around = list(zip(attrs["before"], attrs["after"], strict=True))
    if attrs["mode"] == "constant":
        return (np.pad(x, around, constant_values=attrs["value"]),)
    return (np.pad(x, around, mode=attrs["mode"]),)


def _decompose(builder: Builder, node: Node) -> Sequence[Value]:
    """Slices, some of them read backwards, one behind the other, an axis after the other."""
    (x,), attrs = node.inputs, node.attrs
    if attrs["mode"] == "constant" and attrs["value"] == 0:
        return [spread(builder, x, attrs["before"], attrs["after"])]
    if attrs["mode"] == "constant":
        fill = builder.constant(np.array(attrs["value"], x.dtype))
        return [surrounded(builder, x, attrs["before"], attrs["after"], fill)]
    for axis, (before, after) in enumerate(zip(attrs["before"], attrs["after"], strict=True)):
        if before or after:
            places = padded_places(x.shape[axis], before, after, attrs["mode"])
            x = take_runs(builder, x, axis, list(runs(places)))
    return [builder.add("reshape", x, shape=x.shape) if x is node.inputs[0] else x]


def _samples(node: Node) -> tuple[int, ...]:
    return (0,) if (*node.attrs["before"][:1], *node.attrs["after"][:1]) == (0, 0) else ()


def _cases() -> tuple[Case, ...]:
    images = [((0, 0, 1, 2), (0, 0, 3, 0)), ((0, 0, 0, 3), (0, 0, 0, 1)), ((0, 1, 0, 0), (0, 2, 0, 0))]
    rows = [Case(((2, 3, 5, 4),), {"before": b, "after": a, "mode": m, "value": 0.0}) for m in MODES for b, a in images]
    far = [Case(((3, 2),), {"before": (0, 4), "after": (1, 5), "mode": mode, "value": 0.0}) for mode in MODES]
    zeros = {"before": (0, 2), "after": (1, 0), "mode": "constant", "value": 0.0}
    some = {"before": (0, 2), "after": (1, 0), "mode": "constant", "value": -1.5}
    return (
        *rows,
        *far,
        Case(((3, 4),), some),
        Case(((3, 4),), zeros),
        Case(((4,),), {"before": (0,), "after": (0,), "mode": "edge", "value": 0.0}),
    )


register(
    Op(
        "pad",
        _infer,
        _reference,
        decompose=_decompose,
        cases=_cases,
        tolerance=0.0,
        samples=_samples,
        integers="any",
    ),
)
