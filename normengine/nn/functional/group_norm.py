"""Normalization of each sample by itself: group, layer and instance normalization."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ...settings import finite, whole
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced
from .norm import batch_norm, update_running, with_running

__all__ = ["group_norm", "instance_norm", "layer_norm"]


@function
def group_norm(
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with mean and biased variance of each group of neighbouring
    channels of each sample (Wu and He, arXiv 1803.08494).

    Args:
        input: (N, C) or (N, C, ...) float32.
        num_groups: a divisor of C.
        weight, bias: (C,) float32, or None for ones and zeros.

    Raises: OperatorError, a ValueError, for groups that do not divide the channels, or shapes that do not fit.
    """
    x = as_traced(input)
    groups = whole(num_groups, "group_norm: num_groups", low=1)
    eps = finite(eps, "group_norm: eps", low=0)
    if x.ndim >= 2 and math.prod(x.shape[1:]) == groups:
        raise x._tracer.error(
            f"expected more than 1 value in each of the {groups} groups, got input shape {x.shape}; use fewer groups"
        )
    return x._apply("group_norm", *affine_of(x, weight, bias, x.shape[1:2]), groups=groups, eps=eps)


def affine_of(x: Tensor, weight: ArrayLike | None, bias: ArrayLike | None, shape: tuple[int, ...]) -> list[Tensor]:
    """Both, where one is given."""
    if weight is None and bias is None:
        return []
    gamma = x._tracer.array(np.ones(shape, np.float32)) if weight is None else as_traced(weight)
    beta = x._tracer.array(np.zeros(shape, np.float32)) if bias is None else as_traced(bias)
    return [gamma, beta]


@function
def layer_norm(
    input: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with mean and biased variance over the last axes (Ba, Kiros and
    Hinton, arXiv 1607.06450).

    Args:
        input: float32 whose last extents are ``normalized_shape``.
        normalized_shape: the extents of the axes that are normalized together; an int is that of the last one.
        weight, bias: float32 of ``normalized_shape``, or None for ones and zeros.

    Raises: OperatorError, a ValueError, for shapes that do not fit.
    """
    x = as_traced(input)
    shape = extents(normalized_shape, "layer_norm: normalized_shape")
    eps = finite(eps, "layer_norm: eps", low=0)
    if x.shape[-len(shape) :] != shape:
        raise x._tracer.error(f"normalized_shape is {shape}, but the input's shape {x.shape} does not end with it")
    return x._apply("layer_norm", *affine_of(x, weight, bias, shape), axis=x.ndim - len(shape), eps=eps)


def extents(shape: int | Sequence[int], what: str) -> tuple[int, ...]:
    """``shape`` as a tuple of positive integers, of which there is one at least."""
    given = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    if not given:
        raise ValueError(f"{what} must have an extent at least, got {shape}")
    return tuple(whole(extent, what, low=1) for extent in given)


def instance_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with mean and biased variance of each channel of each sample
    (Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022).

    Args:
        input: (N, C, ...) float32 with more than one value behind each channel.
        running_mean, running_var: (C,) float32, or both None. Used as mean and var unless ``use_input_stats``; then
            ``running = (1 - momentum) * running + momentum * batch`` is stored in place, where ``batch`` is the mean
            over the samples of their means and of their unbiased variances.
        weight, bias: (C,) float32, or None for ones and zeros.

    Raises: OperatorError, a ValueError, for one value per channel, or shapes that do not fit.
    """

    def body(x: ArrayLike, w: ArrayLike | None, b: ArrayLike | None) -> Tensor:
        return _instance_norm(x, running_mean, running_var, w, b, use_input_stats, momentum, eps)

    return with_running(body, (input, weight, bias), running_mean, running_var, "instance_norm")


def _instance_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    x = as_traced(input)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    eps = finite(eps, "instance_norm: eps", low=0)
    momentum = finite(momentum, "instance_norm: momentum", 0, 1)
    if x.ndim < 3:
        raise x._tracer.error(f"input must be (N, C, L) or (N, C, ...), got shape {x.shape}")
    n, channels, *space = x.shape
    count = math.prod(space)
    if count == 1:
        raise x._tracer.error(f"expected more than 1 value in each channel of an image, got input shape {x.shape}")
    affine = affine_of(x, weight, bias, (channels,))
    if running_mean is None or running_var is None:
        return x._apply("group_norm", *affine, groups=channels, eps=eps)
    images = x if x.ndim == 4 else x.reshape(n, channels, 1, count)
    mean, var = x._tracer.add_multi("moments", images)
    means, unbiased = mean.mean((0, 2, 3)), var.mean((0, 2, 3)) * x._tracer.constant(count / (count - 1))
    update_running(running_mean, running_var, means, unbiased, momentum)
    return images._apply("normalize", mean, var, *affine, eps=eps).reshape(x.shape)
