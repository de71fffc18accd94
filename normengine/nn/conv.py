"""Convolution layers."""

from __future__ import annotations

import math

import numpy as np

from ..shapes import pair
from ..typing import Device, DType, Ints, Padding
from . import functional as F
from . import init
from .functional.conv import padding_of
from .module import Module, check_placement
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["Conv2d"]


class Conv2d(Module):
    """2-d cross-correlation of (N, C, H, W) float32 with ``weight`` (O, C / groups, kh, kw), plus ``bias`` (O,).

    ``padding`` is an int, (height, width), ``"same"`` (needs stride 1) or ``"valid"``. ``groups`` equal to
    ``in_channels`` is a depthwise convolution. Weight and bias start as U(-b, b) with b = 1 / sqrt(fan in), which is
    kaiming_uniform with a = sqrt(5). See :func:`normengine.nn.functional.conv2d` for the formula.
    Raises ValueError for settings that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Device = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        check_placement(device, dtype)
        if padding_mode != "zeros":
            raise ValueError(f"Conv2d: padding_mode must be 'zeros', got {padding_mode!r}")
        if groups < 1 or in_channels < 1 or out_channels < 1:
            raise ValueError(
                f"Conv2d: channels and groups must be positive, got {in_channels}, {out_channels} and {groups}"
            )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: in_channels {in_channels} and out_channels {out_channels} must be multiples of groups, "
                f"got {groups}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = pair(kernel_size, "Conv2d: kernel_size")
        self.stride = pair(stride, "Conv2d: stride")
        self.dilation = pair(dilation, "Conv2d: dilation")
        self.padding = padding if isinstance(padding, str) else pair(padding, "Conv2d: padding")
        self.groups = groups
        self.padding_mode = padding_mode
        if min(self.kernel_size + self.stride + self.dilation) < 1:
            raise ValueError(
                f"Conv2d: kernel_size {self.kernel_size}, stride {self.stride} and dilation {self.dilation} "
                "must be positive"
            )
        padding_of(self.padding, self.kernel_size, self.stride, self.dilation)
        self.weight = Parameter(np.empty((out_channels, in_channels // groups, *self.kernel_size), np.float32))
        self.bias: Parameter | None
        self.register_parameter("bias", Parameter(np.empty(out_channels, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as when the layer was made."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight.shape)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.conv2d` with the layer's settings."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)
