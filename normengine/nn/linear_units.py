"""Activation layers with settings: exponential and learned slopes, thresholds and gates."""

from __future__ import annotations

import numpy as np

from ..settings import finite, whole
from ..typing import Device, DType
from . import functional as F
from .activation import _Inplace
from .module import Module, check_placement
from .parameter import Parameter
from .tensor import Tensor

__all__ = [
    "CELU",
    "ELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardtanh",
    "LogSigmoid",
    "PReLU",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanhshrink",
    "Threshold",
]


class PReLU(Module):
    """x where x > 0, else weight * x, the weight learned (He et al., 2015): one for all, or ``num_parameters`` for as
    many channels (axis 1)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Device = None, dtype: DType = None) -> None:
        super().__init__()
        check_placement(device, dtype)
        self.num_parameters = whole(num_parameters, "PReLU: num_parameters", low=1)
        self.init = finite(init, "PReLU: init")
        self.weight = Parameter(np.empty(self.num_parameters, np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """``init`` again, as when the layer was made."""
        self.weight[...] = self.init

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.prelu` with the layer's weight."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"num_parameters={self.num_parameters}"


class _Alpha(_Inplace):
    """What exponential units with an ``alpha`` share."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = finite(alpha, f"{type(self).__name__}: alpha")

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class ELU(_Alpha):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.elu` with the layer's settings."""
        return F.elu(x, self.alpha, self.inplace)


class CELU(_Alpha):
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron, 2017)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha, inplace)
        if self.alpha == 0:
            raise ValueError("CELU: alpha must not be 0, by which the input is divided")

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.celu` with the layer's settings."""
        return F.celu(x, self.alpha, self.inplace)


class SELU(_Inplace):
    """1.0507 * elu(x) with alpha 1.6733, which keep mean 0 and variance 1 (Klambauer et al., 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.selu` with the layer's settings."""
        return F.selu(x, self.inplace)


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, and x where beta * x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = finite(beta, "Softplus: beta")
        self.threshold = finite(threshold, "Softplus: threshold")
        if self.beta == 0:
            raise ValueError("Softplus: beta must not be 0, by which is divided")

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.softplus` with the layer's settings."""
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.softsign`."""
        return F.softsign(x)


class Hardtanh(_Inplace):
    """min(max(x, min_val), max_val); ``min_value`` and ``max_value`` are older names of the limits."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__(inplace)
        self.min_val = finite(min_val if min_value is None else min_value, "Hardtanh: min_val")
        self.max_val = finite(max_val if max_value is None else max_value, "Hardtanh: max_val")
        if self.min_val >= self.max_val:
            raise ValueError(f"Hardtanh: min_val must be below max_val, got {self.min_val} and {self.max_val}")

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.hardtanh` with the layer's settings."""
        return F.hardtanh(x, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class _Shrink(Module):
    """What both kinds of shrinkage share."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = finite(lambd, f"{type(self).__name__}: lambd", low=0.0)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"{self.lambd}"


class Hardshrink(_Shrink):
    """x where |x| > lambd, else 0."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.hardshrink` with the layer's settings."""
        return F.hardshrink(x, self.lambd)


class Softshrink(_Shrink):
    """x - lambd above lambd, x + lambd below -lambd, 0 between."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.softshrink` with the layer's settings."""
        return F.softshrink(x, self.lambd)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.tanhshrink`."""
        return F.tanhshrink(x)


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.logsigmoid`."""
        return F.logsigmoid(x)


class Threshold(_Inplace):
    """x where x > threshold, else value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = finite(threshold, "Threshold: threshold")
        self.value = finite(value, "Threshold: value")

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.threshold` with the layer's settings."""
        return F.threshold(x, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class GLU(Module):
    """a * sigmoid(b), a and b the halves of x along ``dim`` (Dauphin et al., 2017)."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.glu` with the layer's settings."""
        return F.glu(x, self.dim)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"dim={self.dim}"


class Softmin(Module):
    """softmax(-x) along ``dim``."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.softmin` with the layer's settings."""
        return F.softmin(x, self.dim)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"dim={self.dim}"


class Softmax2d(Module):
    """Softmax over the channels of images (N, C, H, W) or (C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.softmax` along the channels. Raises ValueError for other than images."""
        if x.ndim not in (3, 4):
            raise ValueError(f"Softmax2d takes (N, C, H, W) or (C, H, W), got shape {tuple(x.shape)}")
        return F.softmax(x, -3)
