"""Windows that slide over the last two axes, as convolution and pooling share them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from .base import Attrs, OperatorError
from .rules import require_positive

Pair = tuple[int, int]
Index = tuple[Any, slice, slice]

MAX_WINDOW = 2**25
"""The most that kernel size, stride, dilation, padding and reach of a window may be along an axis."""

MAX_PIXELS = 2**31 - 1
"""The most pixels, H * W, of an image that windows slide over or make.

Kernels count them in 32 bits, and form products of pixels, ``MAX_WINDOW`` and the 64 bytes of a vector, which stay
below 2^62.
"""


MAX_TAPS = 2**37
"""The most taps inside the image that the windows of one plane may have in all: minutes of work."""


def check_window(attrs: Attrs, kernel: Pair) -> None:
    """Kernel, stride and dilation must be positive and padding ``(top, left, bottom, right)`` not negative; none of
    them, nor the window's reach ``dilation * (kernel - 1) + 1``, may be more than ``MAX_WINDOW``."""
    stride, dilation, padding = attrs["stride"], attrs.get("dilation", (1, 1)), attrs["padding"]
    require_positive("kernel size", kernel)
    require_positive("stride", stride)
    require_positive("dilation", dilation)
    if len(padding) != 4 or min(padding) < 0:
        raise OperatorError(f"padding must be four numbers (top, left, bottom, right) >= 0, got {padding}")
    reach = (_reach(kernel[0], dilation[0]), _reach(kernel[1], dilation[1]))
    if max(*reach, *stride, *dilation, *padding) > MAX_WINDOW:
        raise OperatorError(
            f"kernel, stride, dilation, padding and reach, dilation * (kernel - 1) + 1, of a window are at most "
            f"{MAX_WINDOW}, got kernel {kernel}, stride {stride}, dilation {dilation}, padding {padding} and reach "
            f"{reach}"
        )


def check_pixels(name: str, size: Pair) -> None:
    """An image ``(H, W)`` may have ``MAX_PIXELS`` pixels at most."""
    if size[0] * size[1] > MAX_PIXELS:
        raise OperatorError(f"{name} has {size[0]} x {size[1]} pixels, more than the {MAX_PIXELS} that windows take")


def _reach(kernel: int, dilation: int) -> int:
    return dilation * (kernel - 1) + 1


def output_size(size: Pair, attrs: Attrs, kernel: Pair) -> Pair:
    """Positions of a window over an image of ``size`` (H, W).

    ``floor((size + padding - dilation * (kernel - 1) - 1) / stride) + 1``, or with ``ceil_mode`` the ceiling, less one
    where the last window would start behind the image and its leading padding.
    """
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs.get("dilation", (1, 1))
    check_pixels("the input", size)
    result = []
    for axis in (0, 1):
        before, after = padding[axis], padding[axis + 2]
        reach = _reach(kernel[axis], dilation[axis])
        room = size[axis] + before + after - reach
        count = room // stride[axis] + 1
        if attrs.get("ceil_mode", False):
            count = -(-room // stride[axis]) + 1
            if (count - 1) * stride[axis] >= size[axis] + before:
                count -= 1
        if count < 1:
            raise OperatorError(
                f"kernel {kernel} with dilation {dilation} covers {reach} {('rows', 'columns')[axis]}, the input has "
                f"{size[axis]} (H, W = {size}) and padding {padding} (top, left, bottom, right)"
            )
        result.append(count)
    check_pixels("the output", (result[0], result[1]))
    taps = math.prod(n * min(k, s) for n, k, s in zip(result, kernel, size, strict=True))
    if taps > MAX_TAPS:
        raise OperatorError(
            f"{result[0]} x {result[1]} windows of {kernel} over an image of {size} have up to {taps} taps, more than "
            f"the {MAX_TAPS} that are computed; pool in several steps"
        )
    return result[0], result[1]


def taps(attrs: Attrs, kernel: Pair, size: Pair, positions: Pair) -> Iterator[tuple[int, int, Index, Index]]:
    """For each tap that reads inside the image of ``size`` for some of the ``positions``: its row and column in the
    kernel, the index of those positions, and the index of what it reads for them."""
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs.get("dilation", (1, 1))
    rows, columns = (
        list(_taps(kernel[axis], stride[axis], padding[axis], dilation[axis], size[axis], positions[axis]))
        for axis in (0, 1)
    )
    for row, made_rows, read_rows in rows:
        for column, made_columns, read_columns in columns:
            yield row, column, (..., made_rows, made_columns), (..., read_rows, read_columns)


def _taps(
    kernel: int, stride: int, before: int, dilation: int, size: int, positions: int
) -> Iterator[tuple[int, slice, slice]]:
    """The same along an axis."""
    some: Iterable[int] = range(kernel)
    if kernel > positions:  # most of them may read nothing but padding
        starts = (before - position * stride for position in range(positions))
        inside = (range(max(0, -(-at // dilation)), min(kernel, (at + size - 1) // dilation + 1)) for at in starts)
        some = sorted(set().union(*inside))
    for tap in some:
        at = tap * dilation - before
        first, end = max(0, -(at // stride)), min(positions, (size - 1 - at) // stride + 1)
        if first < end:
            yield tap, slice(first, end), slice(at + first * stride, at + (end - 1) * stride + 1, stride)
