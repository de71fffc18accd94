"""Transposed convolution layers."""

from __future__ import annotations

from collections.abc import Sequence

from ..shapes import numbers, per_axis
from ..typing import Device, DType, Ints
from . import functional as F
from .conv import Convolution
from .functional.activation import as_traced
from .module import check_placement
from .tensor import Tensor

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTranspose(Convolution):
    """Transposed convolution over ``rank`` axes."""

    padding: tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        device: Device = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        check_placement(device, dtype)
        name = type(self).__name__
        if isinstance(padding, str):
            raise ValueError(f"{name}: padding must be numbers, got {padding!r}")
        self._make(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self.output_padding = per_axis(output_padding, self.rank, f"{name}: output_padding")
        self._make_parameters(in_channels, out_channels // groups, bias)

    def _padding_for(self, x: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """``output_padding``, or that with which the result has ``output_size``."""
        if output_size is None:
            return self.output_padding
        given, wanted = as_traced(x), numbers((tuple(output_size),))
        wanted = wanted[2:] if len(wanted) == self.rank + 2 else wanted
        if len(wanted) != self.rank or given.ndim != self.rank + 2:
            raise given._tracer.error(
                f"output_size must have {self.rank} or {self.rank + 2} numbers for an input of {self.rank + 2} "
                f"dimensions, got {tuple(output_size)} for shape {given.shape}"
            )
        rows = zip(given.shape[2:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in rows)
        if any(not low <= size < low + s for low, size, s in zip(least, wanted, self.stride, strict=True)):
            most = tuple(low + s - 1 for low, s in zip(least, self.stride, strict=True))
            raise given._tracer.error(
                f"output_size {wanted} cannot be made of an input of {given.shape[2:]}; it must be from {least} to "
                f"{most}"
            )
        return tuple(size - low for low, size in zip(least, wanted, strict=True))

    def _more_repr(self) -> list[str]:
        return [f"output_padding={self.output_padding}"] if any(self.output_padding) else []


class ConvTranspose1d(_ConvTranspose):
    """Transposed 1-d convolution of (N, C, L) float32 with ``weight`` (C, O / groups, k), plus ``bias`` (O,).

    Settings are those of :class:`ConvTranspose2d`; see :func:`normengine.nn.functional.conv_transpose1d`.
    """

    rank = 1

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """:func:`~normengine.nn.functional.conv_transpose1d` with the layer's settings; ``output_size``, (L',), takes
        the place of ``output_padding``."""
        more = self._padding_for(x, output_size)
        return F.conv_transpose1d(
            x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )


class ConvTranspose2d(_ConvTranspose):
    """Transposed 2-d convolution of (N, C, H, W) float32 with ``weight`` (C, O / groups, kh, kw), plus ``bias`` (O,).

    ``stride`` is how far apart the kernel is put down in the result, from each side of which ``padding`` is cut off;
    ``output_padding`` are rows and columns more at its end. Weight and bias start as U(-b, b) with b = 1 / sqrt(fan
    in), the fan in being O / groups * kh * kw, as in PyTorch. See :func:`normengine.nn.functional.conv_transpose2d`
    for the formula. Raises ValueError for settings that do not fit each other.
    """

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """:func:`~normengine.nn.functional.conv_transpose2d` with the layer's settings; ``output_size``, (H', W'),
        takes the place of ``output_padding``."""
        more = self._padding_for(x, output_size)
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )


class ConvTranspose3d(_ConvTranspose):
    """Transposed 3-d convolution of (N, C, D, H, W) float32 with ``weight`` (C, O / groups, kd, kh, kw), plus ``bias``
    (O,).

    Settings are those of :class:`ConvTranspose2d`; see :func:`normengine.nn.functional.conv_transpose3d`.
    """

    rank = 3

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """:func:`~normengine.nn.functional.conv_transpose3d` with the layer's settings; ``output_size``, (D', H', W'),
        takes the place of ``output_padding``."""
        more = self._padding_for(x, output_size)
        return F.conv_transpose3d(
            x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )
