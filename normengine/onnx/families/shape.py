"""Data movement: operators that move elements. Axes, extents and limits are attributes here and inputs in ONNX, at some
opsets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode, Padding
from ..node import OnnxError
from ..table import reads, writes

TO_END = 2**63 - 1


@reads("Identity")
def read_identity(call: ImportedNode) -> Value:
    return call.value(0)


@reads("Shape")
def read_shape(call: ImportedNode) -> np.ndarray:
    shape = call.shape(0)
    start, end = call.node.integer("start", 0), call.node.integer("end", len(shape))
    return np.array(shape[slice(start, end)], np.int64)


@reads("Size")
def read_size(call: ImportedNode) -> np.ndarray:
    return np.array(math.prod(call.shape(0)), np.int64)


@reads("Reshape")
def read_reshape(call: ImportedNode) -> Value:
    target = call.integers(1, "the shape") if call.given(1) else call.node.integers("shape")
    if call.node.integer("allowzero", 0) and 0 in target:
        raise OnnxError(f"reshaping to {target} with extents of zero is not supported")
    x = call.value(0)
    y, before = call.add("reshape", x, shape=target), call.producer(x)
    back = before is not None and before.op == "reshape" and before.inputs[0].shape == y.shape
    return before.inputs[0] if before is not None and back else y


@reads("Flatten")
def read_flatten(call: ImportedNode) -> Value:
    x, axis = call.value(0), call.node.integer("axis", 1)
    axis = axis if axis == x.spec.rank else call.axis(axis, x.spec.rank)
    return call.add("reshape", x, shape=(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@reads("Squeeze")
def read_squeeze(call: ImportedNode) -> Value:
    x, given = call.value(0), call.integers_anywhere("axes", 1)
    axes = call.axes(given, x.spec.rank) if given else [a for a, n in enumerate(x.shape) if n == 1]
    if any(x.shape[a] != 1 for a in axes):
        raise OnnxError(f"axes {tuple(axes)} of shape {x.shape} must have extent 1")
    return call.add("reshape", x, shape=tuple(n for a, n in enumerate(x.shape) if a not in axes))


@reads("Unsqueeze")
def read_unsqueeze(call: ImportedNode) -> Value:
    x = call.value(0)
    return call.add("reshape", x, shape=unsqueezed(call, x.shape))


def unsqueezed(call: ImportedNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with the extents of 1 that an ``Unsqueeze`` node puts in."""
    given = call.integers_anywhere("axes", 1) or ()
    rank = len(shape) + len(given)
    axes, extents = set(call.axes(given, rank)), iter(shape)
    if len(axes) != len(given):
        raise OnnxError(f"axes {given} name an axis twice")
    return tuple(1 if a in axes else next(extents) for a in range(rank))


@reads("Transpose")
def read_transpose(call: ImportedNode) -> Value:
    x = call.value(0)
    return call.add("permute", x, axes=call.node.integers("perm", tuple(reversed(range(x.spec.rank)))))


@reads("Concat")
def read_concat(call: ImportedNode) -> Value:
    values = call.values()
    call.pieces(len(values))
    return call.add("concat", *values, axis=call.axis(call.node.integer("axis"), values[0].spec.rank))


@reads("Split")
def read_split(call: ImportedNode) -> list[Value]:
    x = call.value(0)
    axis, ranges = split_ranges(call, x.shape)
    return [cut(call, x, axis, start, stop) for start, stop in ranges]


def split_ranges(call: ImportedNode, shape: tuple[int, ...]) -> tuple[int, list[tuple[int, int]]]:
    """The axis that a ``Split`` node cuts, and where each part starts and stops."""
    axis = call.axis(call.node.integer("axis", 0), len(shape))
    parts = len(call.node.outputs)
    call.pieces(parts)
    sizes = call.integers_anywhere("split", 1, most=parts)
    if sizes is None:
        step = -(-shape[axis] // parts)
        sizes = tuple(min(step, shape[axis] - i * step) for i in range(parts))
    if len(sizes) != parts or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise OnnxError(f"cannot split axis {axis} of shape {shape} into {parts} parts of {sizes}")
    return axis, list(itertools.pairwise(np.cumsum((0, *sizes)).tolist()))


def cut(call: ImportedNode, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    """``x[..., start:stop:step, ...]`` along one axis, where the step of a single element is 1."""
    if len(range(start, stop, step)) == 1:
        stop, step = start + 1, 1
    if (start, step) == (0, 1) and stop >= x.shape[axis]:
        return x
    rank = x.spec.rank
    return call.add(
        "slice",
        x,
        starts=tuple(start if a == axis else 0 for a in range(rank)),
        stops=tuple(stop if a == axis else n for a, n in enumerate(x.shape)),
        steps=tuple(step if a == axis else 1 for a in range(rank)),
    )


@reads("Slice")
def read_slice(call: ImportedNode) -> Value:
    x = call.value(0)
    for axis, limits in slices(call, x.shape):
        start, stop, step = limits.indices(x.shape[axis])
        if step < 1:
            raise OnnxError("slicing backwards (negative steps) is not supported")
        x = cut(call, x, axis, start, stop, step)
    return x


def slices(call: ImportedNode, shape: tuple[int, ...]) -> list[tuple[int, slice]]:
    """The axes that a ``Slice`` node cuts and the ranges it keeps."""
    starts, ends = call.integers_anywhere("starts", 1), call.integers_anywhere("ends", 2)
    if starts is None or ends is None:
        raise OnnxError("starts and ends are missing")
    axes = call.integers_anywhere("axes", 3) or tuple(range(len(starts)))
    steps = call.integers(4, "steps") if call.given(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise OnnxError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit each other")
    places = [call.axis(a, len(shape)) for a in axes]
    if len(set(places)) < len(places):
        raise OnnxError(f"axes {axes} name an axis twice")
    # an end before the first element, with a negative step, is what slice() calls None
    return [
        (a, slice(s, None if t < 0 and e < -shape[a] else e, t))
        for a, s, e, t in zip(places, starts, ends, steps, strict=True)
    ]


@reads("Gather")
def read_gather(call: ImportedNode) -> Value:
    """Known places along one axis, as few slices of equal steps as there are, put together; or those that the network
    computes."""
    x, indices = call.value(0), call.known(1)
    axis = call.axis(call.node.integer("axis", 0), x.spec.rank)
    if indices is None:
        return call.add("gather", x, call.value(1), axis=axis)
    extent = x.shape[axis]
    call.room(indices.shape)
    if not indices.size or indices.min() < -extent or indices.max() >= extent:
        raise OnnxError(f"indices {indices.reshape(-1)[:8].tolist()} are not all inside axis {axis} of shape {x.shape}")
    places = np.where(indices < 0, indices.astype(np.int64) + extent, indices).reshape(-1)
    runs = _runs(call, places)
    parts = [cut(call, x, axis, start, stop, step) for start, stop, step in runs]
    picked = parts[0] if len(parts) == 1 else call.add("concat", *parts, axis=axis)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return picked if picked.shape == shape else call.add("reshape", picked, shape=shape)


def _runs(call: ImportedNode, places: np.ndarray) -> list[tuple[int, int, int]]:
    """``places`` as ranges (start, stop, step) one behind the other; each goes on as far as its steps are equal."""
    steps = np.diff(places)
    changes = np.flatnonzero(steps[1:] != steps[:-1]) + 1  # where a place is not one step behind the last
    runs: list[tuple[int, int, int]] = []
    first, last = 0, len(places) - 1
    while first <= last:
        call.pieces(len(runs) + 1)
        end = first
        if first < last and steps[first] > 0:
            i = int(np.searchsorted(changes, first, side="right"))
            end = int(changes[i]) if i < len(changes) else last
        step = int(steps[first]) if end > first else 1
        runs.append((int(places[first]), int(places[end]) + 1, step))
        first = end + 1
    return runs


@reads("Pad")
def read_pad(call: ImportedNode) -> Value:
    x = call.value(0)
    fill = call.scalar(2, "the fill value") if call.given(2) else call.node.number("value", 0.0)
    pads = paddings(call, x.spec.rank)
    for axis, (before, after) in enumerate(pads):
        if before < 0 or after < 0:
            x = cut(call, x, axis, max(0, -before), x.shape[axis] + min(0, after))
    whole = Padding(x, tuple(max(0, n) for n, _ in pads), tuple(max(0, n) for _, n in pads), fill)
    return call.pad(_padded(call, whole), whole) if any(map(any, pads)) else x


def paddings(call: ImportedNode, rank: int) -> list[tuple[int, int]]:
    """What a ``Pad`` node puts before and behind each axis; it cuts off where that is negative."""
    if call.node.text("mode", "constant") != "constant":
        raise OnnxError(f"padding mode {call.node.text('mode')!r} is not supported, only constant")
    given = call.integers_anywhere("pads", 1) or ()
    axes = call.integers(3, "axes") if call.given(3) else tuple(range(rank))
    places = [call.axis(axis, rank) for axis in axes]
    if len(given) != 2 * len(places) or len(set(places)) < len(places):
        raise OnnxError(f"pads {given} must be two numbers for each of the axes {axes}")
    found = dict(zip(places, zip(given, given[len(places) :], strict=False), strict=True))
    return [found.get(axis, (0, 0)) for axis in range(rank)]


def _padded(call: ImportedNode, padding: Padding) -> Value:
    x = padding.source
    if padding.fill == 0:
        shape = tuple(b + n + a for b, n, a in zip(padding.before, x.shape, padding.after, strict=True))
        return (
            x
            if shape == x.shape
            else call.add("unslice", x, starts=padding.before, steps=(1,) * len(shape), shape=shape)
        )
    for axis, (before, after) in enumerate(zip(padding.before, padding.after, strict=True)):
        parts = [_block(call, x, axis, before, padding.fill), x, _block(call, x, axis, after, padding.fill)]
        present = [p for p in parts if p is not None]
        x = call.add("concat", *present, axis=axis) if len(present) > 1 else x
    return x


def _block(call: ImportedNode, x: Value, axis: int, extent: int, fill: float) -> Value | None:
    """``extent`` times ``fill`` along ``axis``, otherwise shaped like ``x``; None where nothing is to be added."""
    if extent == 0:
        return None
    return call.add("expand", call.constant(fill), shape=(*x.shape[:axis], extent, *x.shape[axis + 1 :]))


@writes("reshape")
def write_reshape(writing: ExportContext, node: Node) -> None:
    writing.make(node, "Reshape", *node.inputs, writing.integers(node.attrs["shape"], "shape"))


@writes("slice")
def write_slice(writing: ExportContext, node: Node) -> None:
    (x,), attrs = node.inputs, node.attrs
    every = zip(range(x.spec.rank), x.shape, attrs["starts"], attrs["stops"], attrs["steps"], strict=True)
    rows = [row for row in every if row[2:] != (0, row[1], 1) and row[2:] != (0, TO_END, 1)]
    if not rows:
        writing.make(node, "Identity", x)
        return
    axes, _, starts, stops, steps = zip(*rows, strict=True)
    if writing.opset < 10:
        if any(step != 1 for step in steps):
            raise OnnxError(f"'{writing.label(node)}' takes every other element, which ONNX has since opset 10")
        writing.make(node, "Slice", x, axes=axes, starts=starts, ends=stops)
        return
    limits = [writing.integers(numbers, "limits") for numbers in (starts, stops, axes, steps)]
    writing.make(node, "Slice", x, *limits)


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
