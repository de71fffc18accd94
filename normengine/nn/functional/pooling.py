"""Pooling over windows of an image."""

from __future__ import annotations

from typing import Any

from ... import shapes
from ...typing import Ints
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"]


def _window(x: Tensor, kernel_size: Ints, stride: Ints | None, padding: Ints) -> dict[str, Any]:
    kernel = shapes.pair(kernel_size, "kernel_size")
    height, width = shapes.pair(padding, "padding")
    if not (0 <= 2 * height <= kernel[0] and 0 <= 2 * width <= kernel[1]):
        raise x._tracer.error(f"padding {height, width} must be at most half of kernel_size {kernel}")
    return {
        "kernel_size": kernel,
        "stride": kernel if stride is None or stride == () else shapes.pair(stride, "stride"),
        "padding": (height, width, height, width),
    }


@function
def max_pool2d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest value of each window: (N, C, H, W) to (N, C, H', W'); ``stride`` is the window's size by default."""
    x = as_traced(input)
    if return_indices:
        raise x._tracer.error("max_pool2d cannot return indices; leave return_indices False")
    window = _window(x, kernel_size, stride, padding)
    dilations = shapes.pair(dilation, "dilation")
    return x._apply("max_pool2d", **window, dilation=dilations, ceil_mode=bool(ceil_mode))


@function
def avg_pool2d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window: (N, C, H, W) to (N, C, H', W'); padding counts as zeros if ``count_include_pad``."""
    x = as_traced(input)
    if divisor_override is not None:
        raise x._tracer.error("avg_pool2d has no divisor_override; multiply its result instead")
    window = _window(x, kernel_size, stride, padding)
    return x._apply("avg_pool2d", **window, ceil_mode=bool(ceil_mode), count_include_pad=bool(count_include_pad))


@function
def adaptive_avg_pool2d(input: ArrayLike, output_size: Ints) -> Tensor:
    """Means of ``output_size`` nearly equal windows: an int or (height, width), where None keeps the extent."""
    x = as_traced(input)
    if x.ndim != 4:
        raise x._tracer.error(f"input must be (N, C, H, W), got shape {x.shape}")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    size = shapes.pair(tuple(n if s is None else s for s, n in zip(sizes, x.shape[2:])), "output_size")
    return x if size == x.shape[2:] else x._apply("adaptive_avg_pool2d", output_size=size)
