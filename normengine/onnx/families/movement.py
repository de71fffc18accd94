"""Data movement in patterns: blocks of pixels, repetition, triangles, running sums, and one of many."""

from __future__ import annotations

import numpy as np

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes


@reads("DepthToSpace", "SpaceToDepth")
def read_blocks(call: ImportedNode) -> Value:
    op = "depth_to_space" if call.node.op_type == "DepthToSpace" else "space_to_depth"
    return call.add(op, call.value(0), block=call.node.integer("blocksize"), mode=call.node.text("mode", "DCR"))


@reads("Tile")
def read_tile(call: ImportedNode) -> Value:
    """Each axis repeated as a whole: an axis of the repeats before it, put together."""
    x = call.value(0)
    repeats = tile_repeats(call, x.shape)
    shape = call.bounded([n * times for n, times in zip(x.shape, repeats, strict=True)])
    if shape == x.shape:
        return x
    apart = [k for n in x.shape for k in (1, n)]
    spread = [k for n, times in zip(x.shape, repeats, strict=True) for k in (times, n)]
    kept = [i for i, k in enumerate(spread) if k != 1]  # fewer axes, as few as there are extents
    split = call.add("reshape", x, shape=tuple(apart[i] for i in kept))
    return call.add("reshape", call.add("expand", split, shape=tuple(spread[i] for i in kept)), shape=shape)


def tile_repeats(call: ImportedNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """How often a ``Tile`` node repeats each axis."""
    repeats = call.integers(1, "the repeats")
    if len(repeats) != len(shape) or any(n < 0 for n in repeats):
        raise OnnxError(f"repeats {repeats} must be one number for each axis of shape {shape}, 0 or more")
    return repeats


@reads("Trilu")
def read_trilu(call: ImportedNode) -> Value:
    """The upper or lower triangle, 0 elsewhere."""
    x = call.value(0)
    return call.add("where", call.constant(triangle(call, x.shape)), x, call.constant(np.zeros((), x.dtype)))


def triangle(call: ImportedNode, shape: tuple[int, ...]) -> np.ndarray:
    """Where a ``Trilu`` node keeps what it reads."""
    if len(shape) < 2:
        raise OnnxError(f"the input must have 2 axes or more, got shape {shape}")
    shift = call.integers(1, "the diagonal", most=1) if call.given(1) else (0,)
    if len(shift) != 1:
        raise OnnxError(f"the diagonal must be one number, got {shift}")
    rows, columns = call.room(shape[-2:], 1)
    distance = max(-rows, min(columns, shift[0]))  # beyond these nothing changes
    places = np.arange(columns) - np.arange(rows)[:, np.newaxis]
    return places >= distance if call.node.integer("upper", 1) else places <= distance


@reads("CumSum")
def read_cumsum(call: ImportedNode) -> Value:
    x = call.value(0)
    given = call.integers(1, "the axis", most=1)
    if len(given) != 1:
        raise OnnxError(f"the axis must be one number, got {given}")
    settings = {name: bool(call.node.integer(name, 0)) for name in ("exclusive", "reverse")}
    return call.add("cumsum", x, axis=call.axis(given[0], x.spec.rank), **settings)


@reads("OneHot")
def read_one_hot(call: ImportedNode) -> Value:
    """Along a new axis of extent ``depth`` the second value where the index is, the first elsewhere."""
    indices = call.value(0)
    given = call.scalar(1, "the depth")
    if not 1 <= given < 2**53 or not given.is_integer():
        raise OnnxError(f"the depth must be an integer of 1 or more, got {given}")
    (depth,) = call.room((int(given),))
    rank = indices.spec.rank + 1
    axis = call.axis(call.node.integer("axis", -1), rank)
    whole = indices if indices.dtype == "int64" else call.add("cast", indices, dtype="int64")
    spread = call.add("reshape", whole, shape=(*indices.shape[:axis], 1, *indices.shape[axis:]))
    inside = call.add("where", call.add("greater", _whole(call, 0), spread), _beyond(call, spread, depth), spread)
    places = call.constant(np.arange(depth).reshape(tuple(depth if a == axis else 1 for a in range(rank))))
    off, on = (_element(call, call.value(2), i) for i in (0, 1))
    return call.add("where", call.add("equal", inside, places), on, off)


def _whole(call: ImportedNode, number: int) -> Value:
    return call.constant(np.array(number, np.int64))


def _beyond(call: ImportedNode, x: Value, extent: int) -> Value:
    """Negative places, which count from the end."""
    return call.add("add", x, _whole(call, extent))


def _element(call: ImportedNode, x: Value, place: int) -> Value:
    if x.shape != (2,):
        raise OnnxError(f"the values must be two, got shape {x.shape}")
    one = call.add("slice", x, starts=(place,), stops=(place + 1,), steps=(1,))
    return call.add("reshape", one, shape=())


@writes("depth_to_space")
def write_depth_to_space(writing: ExportContext, node: Node) -> None:
    """Before opset 11, which puts the places of a block first alone, the other order is that of the channels before."""
    (x,), block, mode = node.inputs, node.attrs["block"], node.attrs["mode"]
    if writing.opset >= 11:
        writing.make(node, "DepthToSpace", x, blocksize=block, mode=mode)
        return
    ordered: str | Value = x
    if mode == "CRD":
        ordered = writing.step(node, "Gather", x, _turned(writing, x.shape[1] // block**2, block**2), axis=1)
    writing.make(node, "DepthToSpace", ordered, blocksize=block)


def _turned(writing: ExportContext, rows: int, columns: int) -> str:
    """Where the elements of a matrix in rows are, in the order of its columns."""
    return writing.integers(np.arange(rows * columns).reshape(rows, columns).T.reshape(-1).tolist(), "channels")


@writes("interleave")
def write_interleave(writing: ExportContext, node: Node) -> None:
    deep = writing.step(node, "Concat", *node.inputs, axis=1) if len(node.inputs) > 1 else node.inputs[0]
    writing.make(node, "DepthToSpace", deep, blocksize=node.attrs["block"])


@writes("space_to_depth")
def write_space_to_depth(writing: ExportContext, node: Node) -> None:
    """ONNX's puts the places of a block before the channels; the other order is one of the channels behind it."""
    (x,), block = node.inputs, node.attrs["block"]
    if node.attrs["mode"] == "DCR":
        writing.make(node, "SpaceToDepth", x, blocksize=block)
        return
    deep = writing.step(node, "SpaceToDepth", x, blocksize=block)
    writing.make(node, "Gather", deep, _turned(writing, block**2, x.shape[1]), axis=1)


@writes("cumsum")
def write_cumsum(writing: ExportContext, node: Node) -> None:
    if writing.opset < 11:
        raise OnnxError(f"'{writing.label(node)}': running sums have no form in ONNX before opset 11")
    attrs = node.attrs
    axis = writing.constant(np.array(attrs["axis"]), "axis")
    exclusive, reverse = int(attrs["exclusive"]), int(attrs["reverse"])
    writing.make(node, "CumSum", *node.inputs, axis, exclusive=exclusive, reverse=reverse)
