"""Local response normalization as a layer."""

from __future__ import annotations

from ..settings import finite, whole
from . import functional as F
from .module import Module
from .tensor import Tensor

__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(Module):
    """``x[c] / (k + alpha / size * sum of x[j]^2)^beta`` over the ``size`` channels j around c (Krizhevsky et al.,
    2012), for (N, C, ...) float32 of 3 dimensions or more.

    The window is ``c - size // 2`` to ``c + (size - 1) // 2``; channels that are not there count as zeros.
    Raises ValueError unless ``size`` is a positive integer and the others are finite numbers.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = whole(size, "LocalResponseNorm: size", 1)
        self.alpha = finite(alpha, "LocalResponseNorm: alpha")
        self.beta = finite(beta, "LocalResponseNorm: beta")
        self.k = finite(k, "LocalResponseNorm: k")

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.local_response_norm` with the layer's settings."""
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
