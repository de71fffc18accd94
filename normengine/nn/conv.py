"""Convolution layers."""

from __future__ import annotations

import math

import numpy as np

from ..shapes import per_axis
from ..typing import Device, DType, Ints, Padding
from . import functional as F
from . import init
from .functional.conv import padding_of
from .module import Module, check_placement
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["Conv1d", "Conv2d", "Conv3d"]


class Convolution(Module):
    """What layers that slide a kernel have in common: their settings, their parameters, and how these start."""

    rank = 2
    padding: tuple[int, ...] | str

    def _make(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints,
        padding: Padding,
        dilation: Ints,
        groups: int,
        padding_mode: str,
    ) -> None:
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode must be 'zeros', got {padding_mode!r}")
        if groups < 1 or in_channels < 1 or out_channels < 1:
            raise ValueError(
                f"{name}: channels and groups must be positive, got {in_channels}, {out_channels} and {groups}"
            )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: in_channels {in_channels} and out_channels {out_channels} must be multiples of groups, "
                f"got {groups}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(kernel_size, self.rank, f"{name}: kernel_size")
        self.stride = per_axis(stride, self.rank, f"{name}: stride")
        self.dilation = per_axis(dilation, self.rank, f"{name}: dilation")
        self.padding = padding if isinstance(padding, str) else per_axis(padding, self.rank, f"{name}: padding")
        self.groups = groups
        self.padding_mode = padding_mode
        if min(self.kernel_size + self.stride + self.dilation) < 1:
            raise ValueError(
                f"{name}: kernel_size {self.kernel_size}, stride {self.stride} and dilation {self.dilation} "
                "must be positive"
            )

    def _make_parameters(self, first: int, second: int, bias: bool) -> None:
        """A weight of (``first``, ``second``, kernel) and a bias of the output's channels, or None."""
        self.weight = Parameter(np.empty((first, second, *self.kernel_size), np.float32))
        self.bias: Parameter | None
        self.register_parameter("bias", Parameter(np.empty(self.out_channels, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as when the layer was made."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight.shape)[0])
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if isinstance(self.padding, str) or any(self.padding):
            parts.append(f"padding={self.padding}")
        if any(d != 1 for d in self.dilation):
            parts.append(f"dilation={self.dilation}")
        parts += self._more_repr()
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)

    def _more_repr(self) -> list[str]:
        return []


class _Conv(Convolution):
    """Convolution over ``rank`` axes."""

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
        self._make(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        padding_of(self.padding, self.kernel_size, self.stride, self.dilation)
        self._make_parameters(out_channels, in_channels // groups, bias)


class Conv1d(_Conv):
    """1-d cross-correlation of (N, C, L) float32 with ``weight`` (O, C / groups, k), plus ``bias`` (O,).

    Settings are those of :class:`Conv2d`; see :func:`normengine.nn.functional.conv1d`.
    """

    rank = 1

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.conv1d` with the layer's settings."""
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """2-d cross-correlation of (N, C, H, W) float32 with ``weight`` (O, C / groups, kh, kw), plus ``bias`` (O,).

    ``padding`` is an int, (height, width), ``"same"`` (needs stride 1) or ``"valid"``. ``groups`` equal to
    ``in_channels`` is a depthwise convolution. Weight and bias start as U(-b, b) with b = 1 / sqrt(fan in), which is
    kaiming_uniform with a = sqrt(5). See :func:`normengine.nn.functional.conv2d` for the formula.
    Raises ValueError for settings that do not fit each other.
    """

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.conv2d` with the layer's settings."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv3d(_Conv):
    """3-d cross-correlation of (N, C, D, H, W) float32 with ``weight`` (O, C / groups, kd, kh, kw), plus ``bias``
    (O,).

    Settings are those of :class:`Conv2d`; see :func:`normengine.nn.functional.conv3d`.
    """

    rank = 3

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.conv3d` with the layer's settings."""
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
