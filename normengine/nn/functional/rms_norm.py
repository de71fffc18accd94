"""Root mean square normalization."""

from __future__ import annotations

import numpy as np

from ...settings import finite
from ...typing import Ints
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced
from .group_norm import extents

__all__ = ["rms_norm"]

EPS = float(np.finfo(np.float32).eps)
"""PyTorch's where none is given."""


@function
def rms_norm(
    input: ArrayLike, normalized_shape: Ints, weight: ArrayLike | None = None, eps: float | None = None
) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight``, the mean over the last axes, which have ``normalized_shape``.

    Args:
        input: (..., *normalized_shape) float32.
        normalized_shape: an extent or several.
        weight: float32 of ``normalized_shape``, or None for ones.
        eps: a number of 0 or more; None for the spacing of float32 at 1, 1.19e-07.

    Returns: float32 of the input's shape.

    Raises: OperatorError, a ValueError, for shapes that do not fit.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv 1910.07467.
    """
    x = as_traced(input)
    shape = extents(normalized_shape, "rms_norm: normalized_shape")
    if x.shape[-len(shape) :] != shape:
        raise x._tracer.error(f"normalized_shape is {shape}, but the input's shape {x.shape} does not end with it")
    axes = range(x.ndim - len(shape), x.ndim)
    mean = (x * x).mean(tuple(axes), keepdim=True)
    y = x * (mean + x._tracer.constant(EPS if eps is None else finite(eps, "rms_norm: eps", low=0))).rsqrt()
    if weight is None:
        return y
    scale = as_traced(weight)
    if scale.shape != shape:
        raise x._tracer.error(f"rms_norm: weight must have shape {shape}, got {scale.shape}")
    return y * scale
