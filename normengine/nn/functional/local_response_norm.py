"""Local response normalization."""

from __future__ import annotations

from ...settings import finite, whole
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["local_response_norm"]


@function
def local_response_norm(input: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """``x[c] / (k + alpha / size * sum of x[j]^2)^beta`` over the ``size`` channels j around c.

    The window is ``c - size // 2`` to ``c + (size - 1) // 2``; channels that are not there count as zeros.

    Args:
        input: (N, C, ...) float32, of 3 dimensions or more.
        size: how many channels the window has.
        alpha, beta, k: numbers; ``alpha`` is divided by ``size``.

    Returns: float32 of the input's shape.

    Raises: OperatorError, a ValueError, for fewer dimensions; ValueError and TypeError for settings that make no sense.

    Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012, section 3.3.
    """
    x = as_traced(input)
    size = whole(size, "local_response_norm: size", 1)
    if x.ndim < 3:
        raise x._tracer.error(f"local_response_norm takes (N, C, ...) of 3 dimensions or more, got shape {x.shape}")
    return x._apply(
        "local_response_norm",
        size=size,
        before=size // 2,
        alpha=finite(alpha, "local_response_norm: alpha"),
        beta=finite(beta, "local_response_norm: beta"),
        k=finite(k, "local_response_norm: k"),
    )
