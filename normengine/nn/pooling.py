"""Pooling layers over signals (N, C, L), images (N, C, H, W) and volumes (N, C, D, H, W), float32."""

from __future__ import annotations

from collections.abc import Callable

from ..shapes import per_axis
from ..typing import Ints
from . import functional as F
from .functional.pooling import Sizes
from .module import Module
from .tensor import Tensor

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class _MaxPool(Module):
    """The settings of maxima of windows."""

    has_indices = True

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if return_indices and not self.has_indices:
            raise ValueError(f"{type(self).__name__} cannot return indices; leave return_indices False")
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _pooled(self, pool: Callable[..., Tensor | tuple[Tensor, Tensor]], x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        window = (self.kernel_size, self.stride, self.padding, self.dilation)
        return pool(x, *window, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest value of each window of (N, C, L); padding never wins. ``stride`` is the window's size by default.
    With ``return_indices`` also where they lie, for :class:`MaxUnpool1d`."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """:func:`~normengine.nn.functional.max_pool1d` with the layer's settings."""
        return self._pooled(F.max_pool1d, x)


class MaxPool2d(_MaxPool):
    """The largest value of each window of (N, C, H, W); padding never wins. ``stride`` is the window's size by
    default. With ``return_indices`` also where they lie, for :class:`MaxUnpool2d`."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """:func:`~normengine.nn.functional.max_pool2d` with the layer's settings."""
        return self._pooled(F.max_pool2d, x)


class MaxPool3d(_MaxPool):
    """The largest value of each window of (N, C, D, H, W); padding never wins. ``stride`` is the window's size by
    default."""

    has_indices = False

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """:func:`~normengine.nn.functional.max_pool3d` with the layer's settings."""
        return self._pooled(F.max_pool3d, x)


class _AvgPool(Module):
    """The settings of means of windows."""

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of (N, C, L); padding counts as zeros if ``count_include_pad``."""

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(
            per_axis(kernel_size, 1, "AvgPool1d: kernel_size"),
            None if stride is None else per_axis(stride, 1, "AvgPool1d: stride"),
            per_axis(padding, 1, "AvgPool1d: padding"),
            ceil_mode,
            count_include_pad,
        )

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.avg_pool1d` with the layer's settings."""
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window of (N, C, H, W); padding counts as zeros if ``count_include_pad``.
    ``divisor_override`` is what sums are divided by in place of the number of values."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.avg_pool2d` with the layer's settings."""
        window = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return F.avg_pool2d(x, *window, self.count_include_pad, self.divisor_override)


class AvgPool3d(_AvgPool):
    """The mean of each window of (N, C, D, H, W); padding counts as zeros if ``count_include_pad``."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.avg_pool3d` with the layer's settings."""
        window = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return F.avg_pool3d(x, *window, self.count_include_pad, self.divisor_override)


class _Adaptive(Module):
    """The size of an output, whatever the input's."""

    def __init__(self, output_size: Sizes) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """Means of ``output_size`` nearly equal windows of (N, C, L)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.adaptive_avg_pool1d` with the layer's settings."""
        return F.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """Means of ``output_size`` nearly equal windows of (N, C, H, W): an int or one for each axis, where None
    keeps the extent."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.adaptive_avg_pool2d` with the layer's settings."""
        return F.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveAvgPool3d(_Adaptive):
    """Means of ``output_size`` nearly equal windows of (N, C, D, H, W): an int or one for each axis, where None
    keeps the extent."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.adaptive_avg_pool3d` with the layer's settings."""
        return F.adaptive_avg_pool3d(x, self.output_size)


class _AdaptiveMax(_Adaptive):
    """The size of an output of maxima."""

    def __init__(self, output_size: Sizes, return_indices: bool = False) -> None:
        if return_indices:
            raise ValueError(f"{type(self).__name__} cannot return indices; leave return_indices False")
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMax):
    """The largest values of ``output_size`` nearly equal windows of (N, C, L)."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.adaptive_max_pool1d` with the layer's settings."""
        return F.adaptive_max_pool1d(x, self.output_size)


class AdaptiveMaxPool2d(_AdaptiveMax):
    """The largest values of ``output_size`` nearly equal windows of (N, C, H, W): an int or one for each axis, where
    None keeps the extent."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.adaptive_max_pool2d` with the layer's settings."""
        return F.adaptive_max_pool2d(x, self.output_size)


class AdaptiveMaxPool3d(_AdaptiveMax):
    """The largest values of ``output_size`` nearly equal windows of (N, C, D, H, W): an int or one for each axis, where
    None keeps the extent."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.adaptive_max_pool3d` with the layer's settings."""
        return F.adaptive_max_pool3d(x, self.output_size)


class _LPPool(Module):
    """The settings of norms of windows."""

    def __init__(
        self, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """``(sum of x^p)^(1/p)`` over each window of (N, C, L), with ``p = norm_type``, an integer."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.lp_pool1d` with the layer's settings."""
        return F.lp_pool1d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPool):
    """``(sum of x^p)^(1/p)`` over each window of (N, C, H, W), with ``p = norm_type``, an integer.

    See :func:`normengine.nn.functional.lp_pool2d` for what becomes of windows that end outside.
    """

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.lp_pool2d` with the layer's settings."""
        return F.lp_pool2d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPool):
    """``(sum of x^p)^(1/p)`` over each window of (N, C, D, H, W), with ``p = norm_type``, an integer."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.lp_pool3d` with the layer's settings."""
        return F.lp_pool3d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)
