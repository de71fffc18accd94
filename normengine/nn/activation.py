"""Activation layers: the functions of the same name in :mod:`normengine.nn.functional`, with their settings."""

from __future__ import annotations

from ..settings import finite
from . import functional as F
from .module import Module
from .tensor import Tensor

__all__ = [
    "GELU",
    "Hardsigmoid",
    "Hardswish",
    "LeakyReLU",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
]


class _Inplace(Module):
    """What activations with an ``inplace`` setting share."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Inplace):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.relu` with the layer's settings."""
        return F.relu(x, self.inplace)


class ReLU6(_Inplace):
    """min(max(x, 0), 6)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.relu6` with the layer's settings."""
        return F.relu6(x, self.inplace)


class SiLU(_Inplace):
    """x * sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.silu` with the layer's settings."""
        return F.silu(x, self.inplace)


class Hardsigmoid(_Inplace):
    """min(max(x + 3, 0), 6) / 6."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.hardsigmoid` with the layer's settings."""
        return F.hardsigmoid(x, self.inplace)


class Hardswish(_Inplace):
    """x * min(max(x + 3, 0), 6) / 6."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.hardswish` with the layer's settings."""
        return F.hardswish(x, self.inplace)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        finite(negative_slope, "LeakyReLU: negative_slope")
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.leaky_relu` with the layer's settings."""
        return F.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class Mish(_Inplace):
    """x * tanh(log(1 + exp(x))) (Misra, 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.mish` with the layer's settings."""
        return F.mish(x, self.inplace)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.sigmoid` with the layer's settings."""
        return F.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.tanh` with the layer's settings."""
        return F.tanh(x)


class GELU(Module):
    """x * Phi(x), or its approximation by tanh with ``approximate="tanh"``."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.gelu` with the layer's settings."""
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) along ``dim``."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.softmax` with the layer's settings."""
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """x - log(sum(exp(x))) along ``dim``."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.log_softmax` with the layer's settings."""
        return F.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"dim={self.dim}"
