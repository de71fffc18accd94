"""Unpooling: values go back to where the maxima of windows were."""

from __future__ import annotations

from collections.abc import Sequence

from ... import shapes
from ...typing import Ints
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced
from .pooling import as_image, like_given

__all__ = ["max_unpool1d", "max_unpool2d"]

_LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)"}


def _unpooled(
    rank: int,
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    output_size: Sequence[int] | None,
) -> Tensor:
    x, places = as_traced(input), as_traced(indices)
    if x.ndim != rank + 2 or places.shape != x.shape:
        raise x._tracer.error(
            f"input and indices must be {_LAYOUTS[rank]} of one shape, got shapes {x.shape} and {places.shape}"
        )
    kernel, sides = shapes.per_axis(kernel_size, rank, "kernel_size"), shapes.per_axis(padding, rank, "padding")
    strides = kernel if stride is None or stride == () else shapes.per_axis(stride, rank, "stride")
    rows = zip(x.shape[2:], strides, sides, kernel, strict=True)
    size = tuple((n - 1) * s - 2 * p + k for n, s, p, k in rows)
    if output_size is not None:
        size = _chosen(x, shapes.numbers((tuple(output_size),)), size, strides)
    image = as_image(x)._apply(
        "max_unpool2d", as_image(places)._apply("cast", dtype="float32"), output_size=size if rank == 2 else (1, *size)
    )
    return like_given(image, x)


def _chosen(x: Tensor, given: tuple[int, ...], size: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """``output_size`` as given, which is less than a stride from ``size``."""
    wanted = given[2:] if len(given) == len(size) + 2 else given
    if len(wanted) != len(size) or any(abs(w - n) >= s for w, n, s in zip(wanted, size, strides, strict=True)):
        raise x._tracer.error(f"output_size {given} must be less than a stride {strides} from {size}")
    return wanted


@function
def max_unpool1d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """:func:`max_unpool2d` of signals: (N, C, L) to (N, C, L')."""
    return _unpooled(1, input, indices, kernel_size, stride, padding, output_size)


@function
def max_unpool2d(
    input: ArrayLike,
    indices: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Zeros but for the input's values, each where ``indices`` says: what :func:`max_pool2d` took its maxima from, as
    far as it is known.

    Args:
        input: (N, C, H, W) float32.
        indices: places in each plane, counted along its rows, of the input's shape: what ``max_pool2d`` returns with
            ``return_indices``. Those outside of the plane are left out; of values with one place the last stays.
        kernel_size, stride, padding: those of the pooling.
        output_size: (H', W'), or with N and C before it, where it is not the smallest that the windows fit.

    Returns: (N, C, H', W') float32, ``H' = (H - 1) * stride - 2 * padding + kernel_size`` by default.

    Raises: OperatorError, a ValueError, for shapes that do not fit each other.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", arXiv 1311.2901, section 2.1.
    """
    return _unpooled(2, input, indices, kernel_size, stride, padding, output_size)
