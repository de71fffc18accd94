"""Layers that drop, scale or add at random in training mode, and do nothing in ``eval`` mode.

The noise is a function of (seed, step, layer, element): the same for any number of threads.
"""

from __future__ import annotations

from ..settings import finite, whole
from . import functional as F
from .functional.dropout import stochastic_depth_mode
from .module import Module
from .tensor import Tensor

__all__ = [
    "AlphaDropout",
    "DropBlock2d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "StochasticDepth",
    "UniformDropout",
]


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


class Dropout1d(_Rate):
    """Each channel of (N, C, L) becomes 0 as a whole with probability ``p``, else x / (1 - p)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.dropout1d` with the layer's settings."""
        return F.dropout1d(x, self.p, self.training, self.inplace)


class Dropout2d(_Rate):
    """Each channel of (N, C, H, W) becomes 0 as a whole with probability ``p`` (Tompson et al., 2015)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.dropout2d` with the layer's settings."""
        return F.dropout2d(x, self.p, self.training, self.inplace)


class Dropout3d(_Rate):
    """Each channel of (N, C, D, H, W) becomes 0 as a whole with probability ``p``, else x / (1 - p)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.dropout3d` with the layer's settings."""
        return F.dropout3d(x, self.p, self.training, self.inplace)


class AlphaDropout(_Rate):
    """Dropout that keeps mean 0 and variance 1, for networks of SELU (Klambauer et al., 2017).

    An element becomes ``-a * alpha' * (1 - p)`` with probability ``p``, else ``a * (x + alpha' * p)``; see
    :func:`~normengine.nn.functional.alpha_dropout`. As PyTorch's, the layer leaves its input as it is even with
    ``inplace``; the function does not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.alpha_dropout` with the layer's settings."""
        return F.alpha_dropout(x, self.p, self.training)


class FeatureAlphaDropout(_Rate):
    """:class:`AlphaDropout` of whole channels (n, c) of (N, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.feature_alpha_dropout` with the layer's settings."""
        return F.feature_alpha_dropout(x, self.p, self.training)


class DropBlock2d(Module):
    """Squares of ``block_size`` pixels of a channel of (N, C, H, W) become 0, about the share ``p`` of all pixels.

    What remains is scaled so that the mean of the mask over the batch is 1 (Ghiasi et al., 2018); see
    :func:`~normengine.nn.functional.drop_block2d`. Squares larger than the image are cut to it.

    Raises:
        ValueError: ``p`` is not in [0, 1], ``block_size`` not 1 or more, or ``eps`` below 0.
    """

    def __init__(self, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06) -> None:
        super().__init__()
        finite(p, "DropBlock2d: p", 0, 1)
        whole(block_size, "DropBlock2d: block_size", 1)
        finite(eps, "DropBlock2d: eps", low=0)
        self.p = p
        self.block_size = block_size
        self.inplace = inplace
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.drop_block2d` with the layer's settings."""
        return F.drop_block2d(x, self.p, self.block_size, self.inplace, self.eps, self.training)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"p={self.p}, block_size={self.block_size}, inplace={self.inplace}"


class StochasticDepth(Module):
    """The whole input (``mode="batch"``) or each sample of it (``"row"``) becomes 0 with probability ``p``, else
    x / (1 - p): the end of a residual block's branch (Huang et al., 2016).

    Raises:
        ValueError: ``p`` is not in [0, 1], or ``mode`` is another.
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        finite(p, "StochasticDepth: p", 0, 1)
        self.p = p
        self.mode = stochastic_depth_mode(mode, "StochasticDepth")

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.stochastic_depth` with the layer's settings."""
        return F.stochastic_depth(x, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"p={self.p}, mode={self.mode}"


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


class GaussianNoise(Module):
    """Plus N(0, std^2) for each element (Bishop, 1995); ``std`` in the input's units, 0 or more."""

    def __init__(self, std: float) -> None:
        super().__init__()
        finite(std, "GaussianNoise: std", low=0)
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.gaussian_noise` with the layer's settings."""
        return F.gaussian_noise(x, self.std, self.training)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"std={self.std}"
