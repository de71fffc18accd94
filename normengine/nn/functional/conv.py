"""Convolution and linear maps."""

from __future__ import annotations

from ... import shapes
from ...typing import Ints, Padding
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["conv1d", "conv2d", "conv3d", "linear"]

_KERNELS = {1: "k", 2: "kh, kw", 3: "kd, kh, kw"}


def padding_of(
    padding: Padding, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    """What is before along each axis, then what is after, of ``padding``: an int, one for each axis, ``"same"`` or
    ``"valid"``.

    ``"same"`` puts the odd one of ``dilation * (kernel - 1)`` zeros after the image and needs stride 1.
    """
    if padding == "valid":
        return (0,) * (2 * len(kernel))
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(f"padding 'same' needs stride 1, got stride {stride}; give the padding as numbers")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before = tuple(t // 2 for t in total)
        return (*before, *(t - b for t, b in zip(total, before, strict=True)))
    if isinstance(padding, str):
        raise ValueError(f"padding must be numbers, 'same' or 'valid', got {padding!r}")
    return shapes.per_axis(padding, len(kernel), "padding") * 2


def _convolution(
    rank: int,
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
) -> Tensor:
    x, w = as_traced(input), as_traced(weight)
    rest = () if bias is None else (as_traced(bias),)
    if w.ndim != rank + 2:
        raise x._tracer.error(f"weight must be (O, C / groups, {_KERNELS[rank]}), got shape {w.shape}")
    strides, dilations = shapes.per_axis(stride, rank, "stride"), shapes.per_axis(dilation, rank, "dilation")
    return x._apply(
        f"conv{rank}d",
        w,
        *rest,
        stride=strides,
        padding=padding_of(padding, w.shape[2:], strides, dilations),
        dilation=dilations,
        groups=int(groups),
    )


@function
def conv1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """1-d cross-correlation: :func:`conv2d` of signals.

    Args:
        input: (N, C, L) float32.
        weight: (O, C / groups, k) float32.
        bias: (O,) float32 or None.
        padding: zeros around the signal: an int, ``"same"`` or ``"valid"``.

    Returns: (N, O, L') float32.

    Raises: OperatorError, a ValueError, for shapes and numbers that do not fit each other.
    """
    return _convolution(1, input, weight, bias, stride, padding, dilation, groups)


@function
def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """2-d cross-correlation.

    ``y[n, o, h, w] = bias[o] + sum over c, i, j of weight[o, c, i, j] * x[n, c', h*s + i*d - p, w*s + j*d - p]`` with
    c' in the group of o.

    Args:
        input: (N, C, H, W) float32.
        weight: (O, C / groups, kh, kw) float32.
        bias: (O,) float32 or None.
        padding: zeros around the image: an int, (height, width), ``"same"`` or ``"valid"``.

    Returns: (N, O, H', W') float32.
    """
    return _convolution(2, input, weight, bias, stride, padding, dilation, groups)


@function
def conv3d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """3-d cross-correlation: :func:`conv2d` of volumes.

    Args:
        input: (N, C, D, H, W) float32.
        weight: (O, C / groups, kd, kh, kw) float32.
        bias: (O,) float32 or None.
        padding: zeros around the volume: an int, (depth, height, width), ``"same"`` or ``"valid"``.

    Returns: (N, O, D', H', W') float32.

    Raises: OperatorError, a ValueError, for shapes and numbers that do not fit each other.
    """
    return _convolution(3, input, weight, bias, stride, padding, dilation, groups)


@function
def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Tensor:
    """``y = x weight^T + bias`` over the last axis: x (..., I), weight (O, I), bias (O,) or None, y (..., O)."""
    x, w = as_traced(input), as_traced(weight)
    rest = () if bias is None else (as_traced(bias),)
    if w.ndim != 2 or not x.ndim:
        raise x._tracer.error(f"linear takes input (..., I) and weight (O, I), got shapes {x.shape} and {w.shape}")
    if x.shape[-1] != w.shape[1]:
        raise x._tracer.error(
            f"input has {x.shape[-1]} features (shape {x.shape}), weight expects {w.shape[1]} (weight shape {w.shape})"
        )
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    return rows._apply("linear", w, *rest).reshape(*x.shape[:-1], w.shape[0])
