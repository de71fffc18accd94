"""Root mean square normalization as a layer."""

from __future__ import annotations

import numpy as np

from ..settings import finite
from ..typing import Device, DType, Ints
from . import functional as F
from .functional.group_norm import extents
from .module import Module, check_placement
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["RMSNorm"]


class RMSNorm(Module):
    """``x / sqrt(mean(x^2) + eps) * weight`` for (..., *normalized_shape) float32, the mean over these last axes (Zhang
    and Sennrich, 2019).

    ``weight`` has ``normalized_shape`` and begins as ones; it is None without ``elementwise_affine``. ``eps=None`` is
    the spacing of float32 at 1, 1.19e-07. Raises ValueError for extents that are not positive.
    """

    def __init__(
        self,
        normalized_shape: Ints,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Device = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        check_placement(device, dtype)
        shape = extents(normalized_shape, "RMSNorm: normalized_shape")
        self.normalized_shape = shape
        self.eps = None if eps is None else finite(eps, "RMSNorm: eps", low=0)
        self.elementwise_affine = elementwise_affine
        self.weight: Parameter | None
        self.register_parameter("weight", Parameter(np.ones(shape, np.float32)) if elementwise_affine else None)

    def reset_parameters(self) -> None:
        """Ones, as when the layer was made."""
        if self.weight is not None:
            self.weight._data.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.rms_norm` with the layer's settings."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
