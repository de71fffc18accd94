"""Unpooling layers."""

from __future__ import annotations

from collections.abc import Sequence

from ..shapes import per_axis
from ..typing import Ints
from . import functional as F
from .module import Module
from .tensor import Tensor

__all__ = ["MaxUnpool1d", "MaxUnpool2d"]


class _MaxUnpool(Module):
    """The settings of the pooling that is undone."""

    rank = 2

    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(kernel_size, self.rank, f"{name}: kernel_size")
        self.stride = per_axis(kernel_size if stride is None else stride, self.rank, f"{name}: stride")
        self.padding = per_axis(padding, self.rank, f"{name}: padding")

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Values put back where ``MaxPool1d(..., return_indices=True)`` found them; see :class:`MaxUnpool2d`."""

    rank = 1

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """:func:`~normengine.nn.functional.max_unpool1d` with the layer's settings."""
        return F.max_unpool1d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Values put back where ``MaxPool2d(..., return_indices=True)`` found them, zeros elsewhere: (N, C, H, W) float32
    and their places to (N, C, H', W'). See :func:`normengine.nn.functional.max_unpool2d`."""

    def forward(self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """:func:`~normengine.nn.functional.max_unpool2d` with the layer's settings."""
        return F.max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)
