"""Transposed convolution."""

from __future__ import annotations

from ... import shapes
from ...typing import Ints
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

_KERNELS = {1: "k", 2: "kh, kw", 3: "kd, kh, kw"}


def _transposed(
    rank: int,
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Tensor:
    x, w = as_traced(input), as_traced(weight)
    rest = () if bias is None else (as_traced(bias),)
    if w.ndim != rank + 2:
        raise x._tracer.error(f"weight must be (C, O / groups, {_KERNELS[rank]}), got shape {w.shape}")
    strides, dilations = shapes.per_axis(stride, rank, "stride"), shapes.per_axis(dilation, rank, "dilation")
    more = shapes.per_axis(output_padding, rank, "output_padding")
    if any(not 0 <= m < max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise x._tracer.error(
            f"output_padding {more} must be smaller than stride {strides} or dilation {dilations}, and not negative"
        )
    return x._apply(
        f"conv_transpose{rank}d",
        w,
        *rest,
        stride=strides,
        padding=shapes.per_axis(padding, rank, "padding") * 2,
        dilation=dilations,
        groups=int(groups),
        output_padding=more,
    )


@function
def conv_transpose1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """Transposed 1-d convolution: :func:`conv_transpose2d` of signals.

    Args:
        input: (N, C, L) float32.
        weight: (C, O / groups, k) float32.
        bias: (O,) float32 or None.

    Returns: (N, O, L') float32.

    Raises: OperatorError, a ValueError, for shapes and numbers that do not fit each other.
    """
    return _transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function
def conv_transpose2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """Transposed 2-d convolution, the gradient of :func:`conv2d` with respect to its input.

    ``y[n, o, h*s + i*d - p, w*s + j*d - p] = bias[o] + sum over c, h, w, i, j of weight[c, o', i, j] * x[n, c, h, w]``
    with c in the group of o, and o' the place of o in it.

    Args:
        input: (N, C, H, W) float32.
        weight: (C, O / groups, kh, kw) float32.
        bias: (O,) float32 or None.
        padding: what is cut off at each side of the result: an int, or (height, width).
        output_padding: rows and columns more at the end, fewer than ``stride`` or ``dilation``.

    Returns: (N, O, H', W') float32, ``H' = (H - 1) * s - 2 * p + d * (kh - 1) + 1 + output_padding``.

    Raises: OperatorError, a ValueError, for shapes and numbers that do not fit each other.

    Source: Dumoulin and Visin, arXiv 1603.07285, chapter 4.
    """
    return _transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function
def conv_transpose3d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """Transposed 3-d convolution: :func:`conv_transpose2d` of volumes.

    Args:
        input: (N, C, D, H, W) float32.
        weight: (C, O / groups, kd, kh, kw) float32.
        bias: (O,) float32 or None.

    Returns: (N, O, D', H', W') float32.

    Raises: OperatorError, a ValueError, for shapes and numbers that do not fit each other.
    """
    return _transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
