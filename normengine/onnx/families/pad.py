"""Padding: a number around an array, or the array's own elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...graph import Node, Value
from ...ops.pad import MODES, padded_places, spread, surrounded
from ..export_context import ExportContext
from ..import_context import ImportedNode, Padding
from ..node import OnnxError
from ..table import reads, writes
from .shape import TO_END, cut


@reads("Pad")
def read_pad(call: ImportedNode) -> Value:
    """What is negative cuts off; the rest is a number, or the array's own elements by mode."""
    x, mode = call.value(0), padding_mode(call)
    pads = paddings(call, x.spec.rank)
    for axis, (b, a) in enumerate(pads):
        if b < 0 or a < 0:
            x = cut(call, x, axis, max(0, -b), x.shape[axis] + min(0, a))
    before, after = tuple(max(0, n) for n, _ in pads), tuple(max(0, n) for _, n in pads)
    if not any((*before, *after)):
        return x
    if mode != "constant":
        call.pieces(sum(_parts(n, b + a) for n, b, a in zip(x.shape, before, after, strict=True)))
        return call.add("pad", x, before=before, after=after, mode=mode, value=0.0)
    fill = _fill(call, x)
    if isinstance(fill, Value):
        call.room(tuple(n + b + a if b or a else 1 for n, b, a in zip(x.shape, before, after, strict=True)), 1)
        return surrounded(call, x, before, after, fill)
    whole = Padding(x, before, after, fill)
    return call.pad(_padded(call, whole), whole)


def _parts(extent: int, padded: int) -> int:
    """At most so many pieces become one axis."""
    return 3 + 2 * (padded // max(1, extent - 1)) if padded else 0


def padding_mode(call: ImportedNode) -> str:
    """How a ``Pad`` node fills what it adds."""
    mode = call.node.text("mode", "constant")
    if mode not in MODES:
        raise OnnxError(f"attribute 'mode' must be {', '.join(MODES)}, got {mode!r}")
    return mode


def _fill(call: ImportedNode, x: Value) -> float | Value:
    """The number to pad with; a value where it is computed, or is no float32."""
    if not call.given(2):
        number = call.node.number("value", 0.0)
        return number if x.dtype == "float32" else call.constant(np.zeros((), x.dtype))
    if call.known(2) is None:
        return call.add("reshape", call.value(2), shape=())
    number = call.scalar(2, "the fill value")
    if x.dtype == "float32":
        return number
    return call.constant(call.array(2, "the fill value").reshape(()).astype(x.dtype))


def paddings(call: ImportedNode, rank: int) -> list[tuple[int, int]]:
    """What a ``Pad`` node puts before and behind each axis; it cuts off where that is negative."""
    given = call.integers_anywhere("pads", 1) or ()
    axes = call.integers(3, "axes") if call.given(3) else tuple(range(rank))
    places = [call.axis(axis, rank) for axis in axes]
    if len(given) != 2 * len(places) or len(set(places)) < len(places):
        raise OnnxError(f"pads {given} must be two numbers for each of the axes {axes}")
    found = dict(zip(places, zip(given, given[len(places) :], strict=False), strict=True))
    return [found.get(axis, (0, 0)) for axis in range(rank)]


def _padded(call: ImportedNode, padding: Padding) -> Value:
    x, before, after, fill = padding
    if fill != 0:
        return call.add("pad", x, before=before, after=after, mode="constant", value=fill)
    return spread(call, x, before, after)


@writes("unslice")
def write_unslice(writing: ExportContext, node: Node) -> None:
    """Zeros around, which is all that a network's own padding needs; zeros between elements have no ONNX form."""
    (x,), attrs = node.inputs, node.attrs
    if any(step != 1 and n > 1 for step, n in zip(attrs["steps"], x.shape, strict=True)):
        raise OnnxError(f"'{writing.label(node)}': spreading elements apart has no form in ONNX")
    (y,) = node.outputs
    after = [total - start - n for total, start, n in zip(y.shape, attrs["starts"], x.shape, strict=True)]
    write_pad(writing, node, x, (*attrs["starts"], *after), y)


def write_pad(
    writing: ExportContext, node: Node, x: Value | str, pads: Sequence[int], result: Value | None = None
) -> str:
    """Zeros around ``x``; makes ``result``, or a step whose name is returned."""
    given = [writing.integers(pads, "pads")] if writing.opset >= 11 else []
    attributes = {} if given else {"pads": tuple(pads)}
    if result is None:
        return writing.step(node, "Pad", x, *given, **attributes)
    writing.make(node, "Pad", x, *given, result=result, **attributes)
    return writing.name(result)


@writes("pad")
def write_padding(writing: ExportContext, node: Node) -> None:
    """Mode "wrap" is one of opset 19 and later; before it, slices are put together."""
    (x,), attrs = node.inputs, node.attrs
    if attrs["mode"] != "wrap" or writing.opset >= 19:
        pads, value, mode = (*attrs["before"], *attrs["after"]), float(attrs["value"]), attrs["mode"]
        if writing.opset < 11:
            writing.make(node, "Pad", x, pads=pads, value=value, mode=mode)
            return
        fill = [writing.constant(value, "value")] if value else []
        writing.make(node, "Pad", x, writing.integers(pads, "pads"), *fill, mode=mode)
        return
    made: str | Value = x
    for axis, (before, after) in enumerate(zip(attrs["before"], attrs["after"], strict=True)):
        if max(before, after) > x.shape[axis] or writing.opset < 10:
            places = writing.integers(padded_places(x.shape[axis], before, after, "wrap").tolist(), "places")
            made = writing.step(node, "Gather", made, places, axis=axis)
        elif before or after:
            made = _around(writing, node, made, axis, before, after)
    writing.make(node, "Identity", made)


def _around(writing: ExportContext, node: Node, x: str | Value, axis: int, before: int, after: int) -> str:
    """``x`` between the last elements of an axis and its first, whatever its extent."""
    on, step = (writing.integers((n,), "limit") for n in (axis, 1))
    ends = [((-before, TO_END), before), ((0, after), after)]
    first, last = (
        [writing.step(node, "Slice", x, *(writing.integers((n,), "limit") for n in limits), on, step)] if count else []
        for limits, count in ends
    )
    return writing.step(node, "Concat", *first, x, *last, axis=axis)
