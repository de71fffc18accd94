"""Layers that multiply by random noise of mean 1 in training mode, and do nothing in ``eval`` mode.

The noise is a function of (seed, step, layer, element): the same for any number of threads.
"""

from __future__ import annotations

from ..settings import finite
from . import functional as F
from .module import Module
from .tensor import Tensor

__all__ = ["Dropout", "Dropout2d", "GaussianDropout", "UniformDropout"]


class _Rate(Module):
    """What layers with a probability ``p`` share."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        finite(p, f"{type(self).__name__}: p", 0, 1)
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Rate):
    """Each element becomes 0 with probability ``p``, else x / (1 - p) (Srivastava et al., 2014)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.dropout` with the layer's settings."""
        return F.dropout(x, self.p, self.training, self.inplace)


class Dropout2d(_Rate):
    """Each channel of (N, C, H, W) becomes 0 as a whole with probability ``p`` (Tompson et al., 2015)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.dropout2d` with the layer's settings."""
        return F.dropout2d(x, self.p, self.training, self.inplace)


class GaussianDropout(Module):
    """Times N(1, p / (1 - p)) (Srivastava et al., 2014, section 10); ``p`` in [0, 1)."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        finite(p, "GaussianDropout: p", 0, 1, below=True)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.gaussian_dropout` with the layer's settings."""
        return F.gaussian_dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"p={self.p}"


class UniformDropout(Module):
    """Times 1 + r with r uniform in [-beta, beta] ("Uout"; Li et al., CVPR 2019)."""

    def __init__(self, beta: float = 0.1) -> None:
        super().__init__()
        finite(beta, "UniformDropout: beta", low=0)
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.uniform_dropout` with the layer's settings."""
        return F.uniform_dropout(x, self.beta, self.training)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"beta={self.beta}"
