"""Windows that slide over the last two axes, as convolution and pooling share them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .base import Attrs, OperatorError
from .rules import require_positive

Pair = tuple[int, int]


def check_window(attrs: Attrs, kernel: Pair) -> None:
    """Kernel, stride and dilation must be positive and padding ``(top, left, bottom, right)`` not negative."""
    require_positive("kernel size", kernel)
    require_positive("stride", attrs["stride"])
    require_positive("dilation", attrs.get("dilation", (1, 1)))
    if len(attrs["padding"]) != 4 or min(attrs["padding"]) < 0:
        raise OperatorError(f"padding must be four numbers (top, left, bottom, right) >= 0, got {attrs['padding']}")


def output_size(size: Pair, attrs: Attrs, kernel: Pair) -> Pair:
    """Positions of a window over an image of ``size`` (H, W).

    ``floor((size + padding - dilation * (kernel - 1) - 1) / stride) + 1``, or with ``ceil_mode`` the ceiling, less one
    where the last window would start behind the image and its leading padding.
    """
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs.get("dilation", (1, 1))
    result = []
    for axis in (0, 1):
        before, after = padding[axis], padding[axis + 2]
        reach = dilation[axis] * (kernel[axis] - 1) + 1
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
    return result[0], result[1]


def pad(x: np.ndarray, attrs: Attrs, kernel: Pair, positions: Pair, value: float) -> np.ndarray:
    """``x`` surrounded by ``value`` so that every tap of every window reads inside; the image starts at (top, left)."""
    widths = [(0, 0)] * (x.ndim - 2)
    for axis in (0, 1):
        dilation = attrs.get("dilation", (1, 1))[axis]
        reach = (positions[axis] - 1) * attrs["stride"][axis] + dilation * (kernel[axis] - 1) + 1
        before = attrs["padding"][axis]
        widths.append((before, max(attrs["padding"][axis + 2], reach - before - x.shape[axis - 2])))
    return np.pad(x, widths, constant_values=value)


def unpad(padded: np.ndarray, attrs: Attrs, size: Pair) -> np.ndarray:
    """The image of ``size`` inside what :func:`pad` made."""
    top, left = attrs["padding"][:2]
    return np.ascontiguousarray(padded[..., top : top + size[0], left : left + size[1]])


def taps(attrs: Attrs, kernel: Pair, positions: Pair) -> Iterator[tuple[int, int, tuple[Any, slice, slice]]]:
    """Kernel row and column, and the index into the padded image that picks that tap of all windows."""
    stride, dilation = attrs["stride"], attrs.get("dilation", (1, 1))
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            ranges = [
                slice(start, start + (count - 1) * step + 1, step)
                for start, count, step in zip((row * dilation[0], column * dilation[1]), positions, stride, strict=True)
            ]
            yield row, column, (..., ranges[0], ranges[1])
