"""Data movement: operators that move elements. Axes, extents and limits are attributes here and inputs in ONNX, at some
opsets."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ...graph import Node, Value
from ...ops.runs import Run, runs, take_run, take_runs
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes

TO_END = 2**63 - 1

SLICES = 16
"""Slices that are put together at most where a kernel could take the elements one by one."""


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
    """``x[..., start:stop:step, ...]`` along one axis, where the step of a single element is 1; ``stop`` may be -1
    where the step is negative."""
    places = range(start, stop, step)
    if not places:
        raise OnnxError(f"slice {start}:{stop}:{step} of axis {axis} with extent {x.shape[axis]} selects nothing")
    if len(places) == 1:
        stop, step = start + 1, 1
    elif step < 0:
        return take_run(call, x, axis, Run(start, step, len(places)))
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
        x = cut(call, x, axis, *limits.indices(x.shape[axis]))
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
    picked = take(call, x, axis, places)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return picked if picked.shape == shape else call.add("reshape", picked, shape=shape)


def take(call: ImportedNode, x: Value, axis: int, places: np.ndarray) -> Value:
    """The elements at ``places`` of an axis, by slices where these are few."""
    found: list[Run] = []
    for run in runs(places):
        if len(found) == SLICES and x.dtype == "float32":
            return call.add("gather", x, call.constant(places), axis=axis)
        call.pieces(len(found) + 1)
        found.append(run)
    return take_runs(call, x, axis, found)


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


@writes("flip")
def write_flip(writing: ExportContext, node: Node) -> None:
    """Slices backwards, or before opset 10, which has none, the last place first."""
    (x,), axes = node.inputs, node.attrs["axes"]
    if writing.opset >= 10:
        limits = ((-1,) * len(axes), (-TO_END,) * len(axes), axes, (-1,) * len(axes))
        writing.make(node, "Slice", x, *(writing.integers(numbers, "limits") for numbers in limits))
        return
    made: str | Value = x
    for axis in axes:
        places = writing.integers(tuple(reversed(range(x.shape[axis]))), "places")
        made = writing.step(node, "Gather", made, places, axis=axis)
    writing.make(node, "Identity", made)
