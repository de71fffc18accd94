"""Ready-made parametrizations of weights: standardization, and normalization of the length."""

from __future__ import annotations

import numpy as np

from ...settings import finite
from ..array import Array
from ..module import Module
from ..parameter import Parameter
from ..tensor import Tensor
from .parameters import M, weight_of
from .parametrize import register_parametrization
from .weight_norm import length_and_direction, other_axes, product

__all__ = ["weight_norm", "weight_standardization"]


class WeightNorm(Module):
    """``length * direction / norm(direction)``, the norm taken over ``axes``; see :func:`weight_norm`."""

    def __init__(self, dim: int | None, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.dim = dim
        self.axes = axes

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """The weight of its two parts."""
        return product(length, direction, self.axes)

    def right_inverse(self, weight: Array) -> tuple[np.ndarray, np.ndarray]:
        """The norms of a weight, and the weight itself for the direction."""
        return length_and_direction(weight, self.axes, "weight_norm")

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"dim={self.dim}"


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """``w = g * v / |v|``: the length of a weight is trained apart from its direction.

    The norms g are ``parametrizations.<name>.original0`` in ``state_dict``, v is ``original1``. At first the weight is
    what it was. Make the optimizer afterwards: it holds other parameters then.

    Args:
        module: a layer; it is changed in place and returned.
        name: its parameter, (O, I, ...) float32.
        dim: the axis that has a norm for each index, 0 for each output channel; None for one norm of the whole, which
            is also what -1 means, as in PyTorch. The norms keep their axes: (O, 1, ...) for 0, () for None.

    Raises:
        TypeError: ``module`` is no module.
        ValueError: there is no such parameter or axis, it has less than 2 dimensions or a norm of 0, or it is
            parametrized already. Nothing is changed then.

    Source: Salimans and Kingma, 2016, arXiv 1602.07868.
    """
    weight = weight_of(module, name, "weight_norm")
    return register_parametrization(module, name, WeightNorm(dim, other_axes(dim, weight.ndim, "weight_norm")))


class WeightStandardization(Module):
    """A weight (O, I, ...) of mean 0 and variance 1, for each output channel; see :func:`weight_standardization`."""

    def __init__(self, eps: float, gamma: float) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = gamma

    def forward(self, weight: Tensor) -> Tensor:
        """The standardized weight."""
        centered, var = _centered(weight)
        return centered * ((var + self.eps).rsqrt() * self.gamma)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"eps={self.eps}, gamma={self.gamma}"


class ScaledWeightStandardization(WeightStandardization):
    """A weight (O, I, ...) of mean 0 and variance 1 / fan in, for each output channel, times a gain; see
    :func:`weight_standardization`."""

    def __init__(self, eps: float, gamma: float, gain: Parameter | None) -> None:
        super().__init__(eps, gamma)
        self.register_parameter("gain", gain)

    def forward(self, weight: Tensor) -> Tensor:
        """The standardized weight."""
        centered, var = _centered(weight)
        fan_in = weight.numel() // weight.shape[0]
        spread = (var * fan_in - self.eps).relu() + self.eps
        scale = spread.rsqrt() * self.gamma
        return centered * (scale if self.gain is None else scale * self.gain)


def _centered(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight without its mean, and the biased variance, for each output channel."""
    axes = tuple(range(1, weight.ndim))
    centered = weight - weight.mean(axes, keepdim=True)
    return centered, (centered * centered).mean(axes, keepdim=True)


def weight_standardization(
    module: M,
    name: str = "weight",
    scaled: bool = False,
    eps: float | None = None,
    gain: bool = True,
    gamma: float = 1.0,
) -> M:
    """The layer computes with its weight standardized, for each output channel over inputs and kernel.

    With mean and biased variance (divided by the fan in n = I * kh * kw) of the trained weight v:

    - plain: ``w = gamma * (v - mean) / sqrt(var + eps)``;
    - ``scaled``: ``w = gain * gamma * (v - mean) / sqrt(max(n * var, eps))``, so that outputs have the variance that
      inputs have where ``gamma`` makes up for the activation before the layer (1.7129 for ReLU).

    v is ``parametrizations.<name>.original`` in ``state_dict``, the gain ``parametrizations.<name>.0.gain``.

    Args:
        module: a layer; it is changed in place and returned.
        name: its parameter, (O, I, ...) float32.
        scaled: which of the two.
        eps: what keeps the divisor away from 0; 1e-6 if plain, 1e-4 if scaled.
        gain: whether a ``scaled`` weight has the gain, (O, 1, ...) float32, which begins as ones and is trained.
        gamma: a constant factor.

    Raises:
        TypeError: ``module`` is no module.
        ValueError: there is no such parameter, it has less than 2 dimensions, it is parametrized already, or ``eps`` or
            ``gamma`` make no sense. Nothing is changed then.

    Source: Qiao et al., 2019, arXiv 1903.10520; scaled: Brock et al., 2021, arXiv 2101.08692.
    """
    place = "weight_standardization"
    weight = weight_of(module, name, place)
    eps = finite((1e-4 if scaled else 1e-6) if eps is None else eps, f"{place}: eps", low=0)
    gamma = finite(gamma, f"{place}: gamma")
    made = WeightStandardization(eps, gamma)
    if scaled:
        gains = Parameter(np.ones((weight.shape[0], *[1] * (weight.ndim - 1)), np.float32)) if gain else None
        made = ScaledWeightStandardization(eps, gamma, gains)
    return register_parametrization(module, name, made)
