"""Windows that slide over the last axes, two of them or any number, as convolution and pooling share them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from types import EllipsisType

from .base import Attrs, OperatorError
from .rules import require_positive

Pair = tuple[int, int]
Extents = tuple[int, ...]
"""Of each axis that windows slide over."""
Index = tuple[EllipsisType | slice | int, ...]

MAX_WINDOW = 2**25
"""The most that kernel size, stride, dilation, padding and reach of a window may be along an axis."""

MAX_PIXELS = 2**31 - 1
"""The most pixels, H * W, of an image that windows slide over or make.

Kernels count them in 32 bits, and form products of pixels, ``MAX_WINDOW`` and the 64 bytes of a vector, which stay
below 2^62.
"""


MAX_TAPS = 2**37
"""The most taps inside the image that the windows of one plane may have in all: minutes of work."""


_AXES: dict[int, tuple[str, ...]] = {1: ("columns",), 2: ("rows", "columns"), 3: ("planes", "rows", "columns")}
_LETTERS = {1: "L", 2: "H, W", 3: "D, H, W"}
SIDES = {1: "left, right", 2: "top, left, bottom, right", 3: "front, top, left, back, bottom, right"}
_NUMBERS = {1: "two", 2: "four", 3: "six"}


def check_window(attrs: Attrs, kernel: Extents) -> None:
    """Kernel, stride and dilation must be positive and padding, in two dimensions ``(top, left, bottom, right)``, not
    negative; none of them, nor the window's reach ``dilation * (kernel - 1) + 1``, may be more than ``MAX_WINDOW``."""
    rank = len(kernel)
    stride, dilation, padding = attrs["stride"], attrs.get("dilation", (1,) * rank), attrs["padding"]
    require_positive("kernel size", kernel)
    require_positive("stride", stride)
    require_positive("dilation", dilation)
    if len(padding) != 2 * rank or min(padding) < 0:
        raise OperatorError(f"padding must be {_NUMBERS[rank]} numbers ({SIDES[rank]}) >= 0, got {padding}")
    if len(stride) != rank or len(dilation) != rank:
        raise OperatorError(f"stride and dilation must have {rank} numbers, got {stride} and {dilation}")
    reach = tuple(map(_reach, kernel, dilation))
    if max(*reach, *stride, *dilation, *padding) > MAX_WINDOW:
        raise OperatorError(
            f"kernel, stride, dilation, padding and reach, dilation * (kernel - 1) + 1, of a window are at most "
            f"{MAX_WINDOW}, got kernel {kernel}, stride {stride}, dilation {dilation}, padding {padding} and reach "
            f"{reach}"
        )


def check_pixels(name: str, size: Extents) -> None:
    """An image ``(H, W)`` may have ``MAX_PIXELS`` pixels at most."""
    if math.prod(size) > MAX_PIXELS:
        extents = " x ".join(map(str, size))
        raise OperatorError(f"{name} has {extents} pixels, more than the {MAX_PIXELS} that windows take")


def _reach(kernel: int, dilation: int) -> int:
    return dilation * (kernel - 1) + 1


def output_size(size: Pair, attrs: Attrs, kernel: Pair) -> Pair:
    """:func:`positions` over an image of ``size`` (H, W)."""
    height, width = positions(size, attrs, kernel)
    return height, width


def positions(size: Extents, attrs: Attrs, kernel: Extents) -> Extents:
    """Positions of a window over an image of ``size``, along each axis.

    ``floor((size + padding - dilation * (kernel - 1) - 1) / stride) + 1``, or with ``ceil_mode`` the ceiling, less one
    where the last window would start behind the image and its leading padding.
    """
    rank = len(size)
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs.get("dilation", (1,) * rank)
    check_pixels("the input", size)
    result = []
    for axis in range(rank):
        before, after = padding[axis], padding[axis + rank]
        reach = _reach(kernel[axis], dilation[axis])
        room = size[axis] + before + after - reach
        count = room // stride[axis] + 1
        if attrs.get("ceil_mode", False):
            count = -(-room // stride[axis]) + 1
            if (count - 1) * stride[axis] >= size[axis] + before:
                count -= 1
        if count < 1:
            raise OperatorError(
                f"kernel {kernel} with dilation {dilation} covers {reach} {_AXES[rank][axis]}, the input has "
                f"{size[axis]} ({_LETTERS[rank]} = {size}) and padding {padding} ({SIDES[rank]})"
            )
        result.append(count)
    check_pixels("the output", tuple(result))
    taken = math.prod(n * min(k, s) for n, k, s in zip(result, kernel, size, strict=True))
    if taken > MAX_TAPS:
        windows = " x ".join(map(str, result))
        raise OperatorError(
            f"{windows} windows of {kernel} over an image of {size} have up to {taken} taps, more than "
            f"the {MAX_TAPS} that are computed; pool in several steps"
        )
    return tuple(result)


def covering(size: Extents, attrs: Attrs, kernel: Extents) -> Extents:
    """The padding with which windows of an output rounded up end inside: ``ceil_mode`` made explicit."""
    rank, padding = len(size), tuple(attrs["padding"])
    if not attrs.get("ceil_mode", False):
        return padding
    dilation = attrs.get("dilation", (1,) * rank)
    found = zip(positions(size, attrs, kernel), attrs["stride"], kernel, dilation, size, padding, strict=False)
    reach = [(o - 1) * s + _reach(k, d) - n - before for o, s, k, d, n, before in found]
    return padding[:rank] + tuple(max(a, r) for a, r in zip(padding[rank:], reach, strict=True))


def taps(attrs: Attrs, kernel: Pair, size: Pair, positions: Pair) -> Iterator[tuple[int, int, Index, Index]]:
    """For each tap that reads inside the image of ``size`` for some of the ``positions``: its row and column in the
    kernel, the index of those positions, and the index of what it reads for them."""
    for (row, column), made, read in all_taps(attrs, kernel, size, positions):
        yield row, column, made, read


def all_taps(
    attrs: Attrs, kernel: Extents, size: Extents, positions: Extents
) -> Iterator[tuple[Extents, Index, Index]]:
    """The same for any number of axes: the place in the kernel, and both indices."""
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs.get("dilation", (1,) * len(kernel))
    axes: Sequence[list[tuple[int, slice, slice]]] = [
        list(axis_taps(*row)) for row in zip(kernel, stride, padding, dilation, size, positions, strict=False)
    ]
    for each in product(*axes):
        yield tuple(tap for tap, _, _ in each), along_last([m for _, m, _ in each]), along_last([r for _, _, r in each])


def along_last(places: Sequence[int | slice]) -> Index:
    """The index of ``places`` along the last axes, whatever axes are before them."""
    return (..., *places)


def axis_taps(
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
