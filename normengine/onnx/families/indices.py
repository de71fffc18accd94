"""Elements by index: what is gathered from known places, or scattered to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...graph import Value
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import evaluates, reads
from .arithmetic import CAST
from .shape import take

Shape = tuple[int, ...]
_COMBINED = {"mul": "mul", "max": "maximum", "min": "minimum"}
_IN_PLACE: dict[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _counted(indices: np.ndarray, extent: int, what: str) -> np.ndarray:
    """``indices`` of an axis from the front."""
    if indices.dtype.kind not in "iu":
        raise OnnxError(f"the indices must be integers, got {indices.dtype}")
    if not indices.size or indices.min() < -extent or indices.max() >= extent:
        raise OnnxError(f"indices {indices.reshape(-1)[:8].tolist()} are not all inside {what}")
    wide = indices.astype(np.int64)
    return np.where(wide < 0, wide + extent, wide)


def _strides(shape: Shape) -> Shape:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _along(call: ImportedNode, shape: Shape, indices: np.ndarray) -> np.ndarray:
    """For each element of ``indices`` the place in an array of ``shape`` that it names along the node's axis, the other
    coordinates being its own."""
    axis = call.axis(call.node.integer("axis", 0), len(shape))
    fits = indices.ndim == len(shape) and all(
        a == axis or n <= m for a, (n, m) in enumerate(zip(indices.shape, shape, strict=True))
    )
    if not fits:
        raise OnnxError(f"indices of shape {indices.shape} do not fit into shape {shape} beside axis {axis}")
    call.room(indices.shape)
    places = _counted(indices, shape[axis], f"axis {axis} of shape {shape}") * _strides(shape)[axis]
    for a, stride in enumerate(_strides(shape)):
        if a != axis:
            places += (np.arange(indices.shape[a]) * stride).reshape((-1, *(1,) * (indices.ndim - a - 1)))
    return places


def _rows(call: ImportedNode, shape: Shape, indices: np.ndarray, batch: int = 0) -> tuple[np.ndarray, Shape]:
    """The rows of an array of ``shape`` that the vectors of ``indices`` name, in ``batch`` leading axes each their own,
    and the extents of a row."""
    depth = batch + (indices.shape[-1] if indices.ndim else 0)
    if not batch < depth <= len(shape) or indices.shape[:batch] != shape[:batch] or batch >= indices.ndim:
        raise OnnxError(f"indices of shape {indices.shape} do not fit shape {shape} behind {batch} axes")
    call.room(indices.shape)
    strides, places = _strides(shape[:depth]), np.zeros(indices.shape[:-1], np.int64)
    for a in range(batch):
        places += (np.arange(shape[a]) * strides[a]).reshape((-1, *(1,) * (indices.ndim - a - 2)))
    for j, a in enumerate(range(batch, depth)):
        places += _counted(indices[..., j], shape[a], f"axis {a} of shape {shape}") * strides[a]
    return places, shape[depth:]


@reads("GatherND")
def read_gather_nd(call: ImportedNode) -> Value:
    x = call.value(0)
    places, rest = _rows(call, x.shape, call.array(1, "the indices"), call.node.integer("batch_dims", 0))
    rows = _shaped(call, x, (-1, *rest))
    return _shaped(call, take(call, rows, 0, places.reshape(-1)), (*places.shape, *rest))


@reads("ScatterElements", "Scatter")
def read_scatter_elements(call: ImportedNode) -> Value:
    x, updates = call.value(0), call.value(2)
    places = _along(call, x.shape, call.array(1, "the indices"))
    if updates.shape != places.shape:
        raise OnnxError(f"updates of shape {updates.shape} must have the shape of the indices, {places.shape}")
    made = _scattered(call, _flat(call, x), _flat(call, updates), places.reshape(-1))
    return _shaped(call, made, x.shape)


@reads("ScatterND")
def read_scatter_nd(call: ImportedNode) -> Value:
    x, updates = call.value(0), call.value(2)
    places, rest = _rows(call, x.shape, call.array(1, "the indices"))
    if updates.shape != (*places.shape, *rest):
        raise OnnxError(f"updates of shape {updates.shape} must have the shape {(*places.shape, *rest)}")
    size = math.prod(rest)
    rows = _shaped(call, x, (-1, size))
    made = _scattered(call, rows, _shaped(call, updates, (places.size, size)), places.reshape(-1))
    return _shaped(call, made, x.shape)


def _scattered(call: ImportedNode, x: Value, updates: Value, places: np.ndarray) -> Value:
    """``x`` with the rows of ``updates`` put at ``places``, or added, multiplied or compared there. Where some are the
    same the last is put."""
    reduction = call.node.text("reduction", "none")
    extent = x.shape[0]
    if reduction not in ("none", *_IN_PLACE):
        raise OnnxError(f"attribute 'reduction' must be none, {', '.join(_IN_PLACE)}, got {reduction!r}")
    if reduction == "add" and x.dtype == "float32":
        return call.add("add", x, call.add("gather_grad", updates, call.constant(places), axis=0, extent=extent))
    if reduction == "none":
        return _put(call, x, updates, places)
    for chosen in _rounds(call, places):
        now, own = places[chosen], take(call, updates, 0, chosen)
        x = _put(call, x, call.add(_COMBINED.get(reduction, reduction), take(call, x, 0, now), own), now)
    return x


def _put(call: ImportedNode, x: Value, updates: Value, places: np.ndarray) -> Value:
    (extent,) = call.room(x.shape[:1])
    order = np.arange(extent)
    order[places] = extent + np.arange(len(places))
    return take(call, call.add("concat", x, updates, axis=0), 0, order)


def _rounds(call: ImportedNode, places: np.ndarray) -> list[np.ndarray]:
    """Which of ``places`` are the first of their kind, which the second, and so on."""
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    call.pieces(int(rank.max()) + 1)
    return [np.sort(order[rank == turn]) for turn in range(int(rank.max()) + 1)]


def _flat(call: ImportedNode, x: Value) -> Value:
    return _shaped(call, x, (-1,))


def _shaped(call: ImportedNode, x: Value, shape: Shape) -> Value:
    return x if x.shape == shape else call.add("reshape", x, shape=shape)


@reads("Compress")
def read_compress(call: ImportedNode) -> Value:
    """The places of an axis, or of all elements, where a known condition holds."""
    x, places = call.value(0), np.flatnonzero(call.array(1, "the condition"))
    given = "axis" in call.node.attributes
    axis = call.axis(call.node.integer("axis"), x.spec.rank) if given else 0
    x = x if given else _flat(call, x)
    return take(call, x, axis, _counted(places, x.shape[axis], f"axis {axis} of shape {x.shape}"))


@reads("EyeLike")
def read_eye_like(call: ImportedNode) -> np.ndarray:
    """Ones on a diagonal, of the input's type where none is given."""
    shape, number = call.shape(0), call.node.integer("dtype", 0)
    if len(shape) != 2:
        raise OnnxError(f"the input must have 2 axes, got shape {shape}")
    if number and number not in CAST:
        raise OnnxError("attribute 'dtype' is an element type that is not supported")
    rows, columns = call.room(shape)
    shift = max(-rows, min(columns, call.node.integer("k", 0)))
    return np.eye(rows, columns, shift, CAST[number] if number else call.value(0).dtype)


@evaluates("NonZero")
def nonzero(call: ImportedNode) -> Sequence[np.ndarray]:
    x = call.array(0, "the input")
    call.room((x.ndim, *x.shape))
    return [np.array(np.nonzero(x), np.int64)]


@evaluates("GatherElements")
def gather_elements(call: ImportedNode) -> Sequence[np.ndarray]:
    x = call.array(0, "the input")
    places = _along(call, x.shape, call.array(1, "the indices"))
    call.room(x.shape, x.itemsize)
    return [x.reshape(-1)[places]]


@evaluates("GatherND")
def gather_nd(call: ImportedNode) -> Sequence[np.ndarray]:
    x = call.array(0, "the input")
    places, rest = _rows(call, x.shape, call.array(1, "the indices"), call.node.integer("batch_dims", 0))
    call.room(x.shape, x.itemsize)
    call.room((*places.shape, *rest), x.itemsize)
    return [x.reshape(-1, *rest)[places]]


@evaluates("ScatterElements", "Scatter")
def scatter_elements(call: ImportedNode) -> Sequence[np.ndarray]:
    x, updates = call.array(0, "the input"), call.array(2, "the updates")
    places = _along(call, x.shape, call.array(1, "the indices"))
    if updates.shape != places.shape:
        raise OnnxError(f"updates of shape {updates.shape} must have the shape of the indices, {places.shape}")
    call.room(x.shape, x.itemsize)
    reduction, result = call.node.text("reduction", "none"), x.flatten()
    if reduction == "none":
        result[places] = updates
    elif reduction in _IN_PLACE:
        _IN_PLACE[reduction].at(result, places, updates)
    else:
        raise OnnxError(f"attribute 'reduction' must be none, {', '.join(_IN_PLACE)}, got {reduction!r}")
    return [result.reshape(x.shape)]
