"""Linear layers."""

from __future__ import annotations

import math

import numpy as np

from ..typing import Device, DType
from . import functional as F
from . import init
from .module import Module, check_placement
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["Identity", "Linear"]


class Linear(Module):
    """``y = x weight^T + bias`` over the last axis: x (..., in_features), weight (out_features, in_features), float32.

    Weight and bias start as U(-b, b) with b = 1 / sqrt(in_features).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Device = None, dtype: DType = None
    ) -> None:
        super().__init__()
        check_placement(device, dtype)
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear: features must be positive, got {in_features} and {out_features}")
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.bias: Parameter | None
        self.register_parameter("bias", Parameter(np.empty(out_features, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as when the layer was made."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.linear` with the layer's settings."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Its input; any arguments are accepted and ignored."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """``x`` as it is."""
        return x
