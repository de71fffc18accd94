"""Places of maxima, and unpooling: ONNX counts places in the whole array, as integers, where ours are those of a plane,
as float32 numbers."""

from __future__ import annotations

from math import prod

import numpy as np

from ...graph import Value
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads
from .windows import Extents, explicit_padding, image, per_axis


def _of_height_one(call: ImportedNode, x: Value) -> Value:
    """A signal as an image; an image as it is."""
    return x if x.spec.rank == 4 else call.add("reshape", x, shape=(0, 0, 1, x.shape[2]))


def _two(numbers: Extents, other: int) -> Extents:
    """Numbers of images, of which those of signals have ``other`` along the height."""
    return numbers if len(numbers) == 2 else (other, *numbers)


def _first_pixels(call: ImportedNode, planes: Extents, pixels: int) -> Value:
    """Where each of the planes ``(N, C)`` begins in the whole array."""
    call.room((*planes, 1, 1))
    return call.constant(np.arange(prod(planes), dtype=np.int64).reshape(*planes, 1, 1) * pixels)


def read_places(
    call: ImportedNode, x: Value, kernel: Extents, stride: Extents, dilation: Extents, padding: Extents, ceil_mode: bool
) -> Value:
    """Where the maxima of a signal or an image lie, counted along rows or, as ``storage_order`` says, columns."""
    rank, pixels = len(kernel), prod(x.shape[2:])
    places = call.add(
        "max_pool2d_places",
        _of_height_one(call, x),
        kernel_size=_two(kernel, 1),
        stride=_two(stride, 1),
        dilation=_two(dilation, 1),
        padding=(*_two(padding[:rank], 0), *_two(padding[rank:], 0)),
        ceil_mode=ceil_mode,
        column_major=bool(call.node.integer("storage_order", 0)),
    )
    whole = call.add("cast", places, dtype="int64")
    whole = call.add("add", whole, _first_pixels(call, x.shape[:2], pixels))
    return whole if rank == 2 else call.add("reshape", whole, shape=(0, 0, whole.shape[3]))


@reads("MaxUnpool")
def read_max_unpool(call: ImportedNode) -> Value:
    """Values at their places in an array of the size that the windows cover, zeros behind it for ``output_shape``."""
    x, places = image(call), call.value(1)
    rank = x.spec.rank - 2
    if rank == 3:
        raise OnnxError(f"unpooling of volumes is not supported, its input has shape {x.shape}")
    if places.shape != x.shape:
        raise OnnxError(f"the indices must have the input's shape {x.shape}, got {places.shape}")
    kernel, stride = per_axis(call, "kernel_shape", rank, True), per_axis(call, "strides", rank)
    padding = explicit_padding(call, rank)
    rows = zip(x.shape[2:], stride, kernel, padding[:rank], padding[rank:], strict=True)
    size = tuple((n - 1) * s + k - before - after for n, s, k, before, after in rows)
    wanted = call.integers(2, "output_shape") if call.given(2) else (*x.shape[:2], *size)
    if (
        wanted[:2] != x.shape[:2]
        or len(wanted) != rank + 2
        or any(w < s for w, s in zip(wanted[2:], size, strict=True))
    ):
        raise OnnxError(f"output_shape must be {x.shape[:2]} and extents of {size} or more, got {wanted}")
    own = call.add("sub", _of_height_one(call, places), _first_pixels(call, x.shape[:2], prod(size)))
    made = call.add(
        "max_unpool2d",
        _of_height_one(call, x),
        call.add("cast", own, dtype="float32"),
        output_size=_two(size, 1),
    )
    if rank == 1:
        made = call.add("reshape", made, shape=(0, 0, size[0]))
    if wanted[2:] == size:
        return made
    zeros, ones = (0,) * (rank + 2), (1,) * (rank + 2)
    return call.add("unslice", made, starts=zeros, steps=ones, shape=(-1, -1, *call.bounded(wanted)[2:]))
