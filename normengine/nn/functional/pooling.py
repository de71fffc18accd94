"""Pooling over windows of signals, images and volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ... import shapes
from ...ops import OperatorError
from ...ops.window import covering
from ...settings import finite, whole
from ...typing import Ints
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Sizes = int | None | Sequence[int | None]
"""Of an output: one number for all axes, or one for each, where None keeps the input's extent."""
_LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


def _window(x: Tensor, rank: int, kernel_size: Ints, stride: Ints | None, padding: Ints) -> dict[str, tuple[int, ...]]:
    kernel = shapes.per_axis(kernel_size, rank, "kernel_size")
    sides = shapes.per_axis(padding, rank, "padding")
    if not all(0 <= 2 * side <= k for side, k in zip(sides, kernel, strict=True)):
        raise x._tracer.error(f"padding {sides} must be at most half of kernel_size {kernel}")
    return {
        "kernel_size": kernel,
        "stride": kernel if stride is None or stride == () else shapes.per_axis(stride, rank, "stride"),
        "padding": sides * 2,
    }


def _max(
    rank: int,
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    return_indices: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    x = as_traced(input)
    if return_indices and rank == 3:
        raise x._tracer.error("max_pool3d cannot return indices; leave return_indices False")
    window = _window(x, rank, kernel_size, stride, padding)
    window["dilation"] = shapes.per_axis(dilation, rank, "dilation")
    y = x._apply(f"max_pool{rank}d", **window, ceil_mode=bool(ceil_mode))
    return (y, _places(x, window, bool(ceil_mode))) if return_indices else y


def _places(x: Tensor, window: dict[str, tuple[int, ...]], ceil_mode: bool) -> Tensor:
    """The places of the maxima in their signal or plane, int64."""
    image = as_image(x)
    if image is not x:
        (left, right), other = window["padding"], {"padding": 0, "kernel_size": 1, "stride": 1, "dilation": 1}
        window = {name: (other[name], *numbers) for name, numbers in window.items()}
        window["padding"] = (0, left, 0, right)
    places = image._apply("max_pool2d_places", **window, ceil_mode=ceil_mode, column_major=False)
    return like_given(places._apply("cast", dtype="int64"), x)


def as_image(x: Tensor) -> Tensor:
    """(N, C, L) as (N, C, 1, L), others as they are."""
    return x.reshape(*x.shape[:2], 1, x.shape[2]) if x.ndim == 3 else x


def like_given(y: Tensor, x: Tensor) -> Tensor:
    """(N, C, 1, L) as (N, C, L) where ``x`` is a signal."""
    return y.reshape(*y.shape[:2], y.shape[3]) if x.ndim == 3 else y


@function
def max_pool1d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of each window: (N, C, L) to (N, C, L'); ``stride`` is the window's size by default.

    With ``return_indices`` also where these lie, int64, counted along the rows of each plane: what
    :func:`max_unpool1d` takes.
    """
    return _max(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@function
def max_pool2d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of each window: (N, C, H, W) to (N, C, H', W'); ``stride`` is the window's size by default.

    With ``return_indices`` also where these lie, int64, counted along the rows of each plane: what
    :func:`max_unpool2d` takes.
    """
    return _max(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@function
def max_pool3d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of each window: (N, C, D, H, W) to (N, C, D', H', W'); ``stride`` is the window's size by
    default."""
    return _max(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg(
    rank: int,
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:
    x = as_traced(input)
    window = _window(x, rank, kernel_size, stride, padding)
    settings = {"ceil_mode": bool(ceil_mode), "count_include_pad": bool(count_include_pad)}
    if divisor_override is None:
        return x._apply(f"avg_pool{rank}d", **window, **settings)
    divisor = whole(divisor_override, f"avg_pool{rank}d: divisor_override", low=None)
    if not divisor:
        raise ValueError(f"avg_pool{rank}d: divisor_override must not be 0")
    if x.ndim != rank + 2:
        raise x._tracer.error(f"input must be {_LAYOUTS[rank]}, got shape {x.shape}")
    try:
        window["padding"] = covering(x.shape[2:], {**window, **settings}, window["kernel_size"])
    except OperatorError as error:
        raise x._tracer.error(str(error)) from None
    mean = x._apply(f"avg_pool{rank}d", **window, ceil_mode=False, count_include_pad=True)
    return mean * x._tracer.constant(math.prod(window["kernel_size"]) / divisor)


@function
def avg_pool1d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window: (N, C, L) to (N, C, L'); padding counts as zeros if ``count_include_pad``."""
    return _avg(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


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
    """The mean of each window: (N, C, H, W) to (N, C, H', W'); padding counts as zeros if ``count_include_pad``.

    ``divisor_override`` is what sums are divided by in place of the number of values.
    """
    return _avg(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@function
def avg_pool3d(
    input: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window: (N, C, D, H, W) to (N, C, D', H', W'); padding counts as zeros if
    ``count_include_pad``. ``divisor_override`` is what sums are divided by in place of the number of values."""
    return _avg(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _output_size(x: Tensor, rank: int, output_size: Sizes) -> tuple[int, ...]:
    if x.ndim != rank + 2:
        raise x._tracer.error(f"input must be {_LAYOUTS[rank]}, got shape {x.shape}")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    return shapes.per_axis(tuple(n if s is None else s for s, n in zip(sizes, x.shape[2:])), rank, "output_size")


def _adaptive_avg(rank: int, input: ArrayLike, output_size: Sizes) -> Tensor:
    x = as_traced(input)
    size = _output_size(x, rank, output_size)
    return x if size == x.shape[2:] else x._apply(f"adaptive_avg_pool{rank}d", output_size=size)


@function
def adaptive_avg_pool1d(input: ArrayLike, output_size: Sizes) -> Tensor:
    """Means of ``output_size`` nearly equal windows of (N, C, L)."""
    return _adaptive_avg(1, input, output_size)


@function
def adaptive_avg_pool2d(input: ArrayLike, output_size: Sizes) -> Tensor:
    """Means of ``output_size`` nearly equal windows: an int or (height, width), where None keeps the extent."""
    return _adaptive_avg(2, input, output_size)


@function
def adaptive_avg_pool3d(input: ArrayLike, output_size: Sizes) -> Tensor:
    """Means of ``output_size`` nearly equal windows: an int or (depth, height, width), where None keeps the extent."""
    return _adaptive_avg(3, input, output_size)


def _adaptive_max(rank: int, input: ArrayLike, output_size: Sizes, return_indices: bool) -> Tensor:
    x = as_traced(input)
    if return_indices:
        raise x._tracer.error(f"adaptive_max_pool{rank}d cannot return indices; leave return_indices False")
    size, extents = _output_size(x, rank, output_size), x.shape[2:]
    if size == extents:
        return x
    if min(size) < 1 or any(n % s for n, s in zip(extents, size, strict=True)):
        return x._apply("adaptive_max_pool", output_size=size)
    kernel, dilation = tuple(n // s for n, s in zip(extents, size, strict=True)), (1,) * rank
    window = {"kernel_size": kernel, "stride": kernel, "padding": (0,) * (2 * rank), "dilation": dilation}
    return x._apply(f"max_pool{rank}d", **window, ceil_mode=False)


@function
def adaptive_max_pool1d(input: ArrayLike, output_size: Sizes, return_indices: bool = False) -> Tensor:
    """The largest values of ``output_size`` nearly equal windows of (N, C, L)."""
    return _adaptive_max(1, input, output_size, return_indices)


@function
def adaptive_max_pool2d(input: ArrayLike, output_size: Sizes, return_indices: bool = False) -> Tensor:
    """The largest values of ``output_size`` nearly equal windows: an int or (height, width), where None keeps the
    extent."""
    return _adaptive_max(2, input, output_size, return_indices)


@function
def adaptive_max_pool3d(input: ArrayLike, output_size: Sizes, return_indices: bool = False) -> Tensor:
    """The largest values of ``output_size`` nearly equal windows: an int or (depth, height, width), where None keeps
    the extent."""
    return _adaptive_max(3, input, output_size, return_indices)


def _lp(
    rank: int, input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None, ceil_mode: bool
) -> Tensor:
    x = as_traced(input)
    norm = finite(norm_type, f"lp_pool{rank}d: norm_type", low=1)
    if norm != int(norm) or norm > 64:
        raise x._tracer.error(f"norm_type must be an integer from 1 to 64, got {norm_type}")
    window = _window(x, rank, kernel_size, stride, 0)
    mean = x.pow(int(norm))._apply(f"avg_pool{rank}d", **window, ceil_mode=bool(ceil_mode), count_include_pad=True)
    return root(mean * float(math.prod(window["kernel_size"])), norm)


def root(x: Tensor, degree: float) -> Tensor:
    """``x ** (1 / degree)``."""
    if degree == 1:
        return x
    return x.sqrt() if degree == 2 else (x.log() * (1.0 / degree)).exp()


@function
def lp_pool1d(
    input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """:func:`lp_pool2d` of signals: (N, C, L) to (N, C, L')."""
    return _lp(1, input, norm_type, kernel_size, stride, ceil_mode)


@function
def lp_pool2d(
    input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """``(sum of x^p over each window)^(1/p)`` with ``p = norm_type``, an integer: (N, C, H, W) to (N, C, H', W').

    The sum is the mean of what of the window is inside the image times the window's size, as in PyTorch: with
    ``ceil_mode`` the last windows, of which parts are outside, count as if they were whole.
    """
    return _lp(2, input, norm_type, kernel_size, stride, ceil_mode)


@function
def lp_pool3d(
    input: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """:func:`lp_pool2d` of volumes: (N, C, D, H, W) to (N, C, D', H', W')."""
    return _lp(3, input, norm_type, kernel_size, stride, ceil_mode)
