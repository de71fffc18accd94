"""Padding layers: :func:`~normengine.nn.functional.pad` around signals (N, C, L), images (N, C, H, W) and volumes."""

from __future__ import annotations

from typing import ClassVar

from ..typing import Ints
from . import functional as F
from .module import Module
from .tensor import Tensor

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """``padding`` is an int, for all sides, or (before, after) of the last axis, then of the one before it, and so on:
    (left, right, top, bottom) of images. Negative numbers cut off."""

    axes: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        sides = 2 * self.axes
        self.padding = (padding,) * sides if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != sides:
            raise ValueError(f"{type(self).__name__}: padding must be an int or {sides} ints, got {padding!r}")

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.pad` with the layer's settings."""
        return F.pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Ints, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.pad` with the layer's settings."""
        return F.pad(x, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Ints) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"{self.padding}"


class ConstantPad1d(_ConstantPad):
    """``value`` around signals: ``padding`` is an int or (left, right); negative numbers cut off."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """``value`` around images: ``padding`` is an int or (left, right, top, bottom); negative numbers cut off."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """``value`` around volumes: ``padding`` is an int or six ints, (left, right) first; negative numbers cut off."""

    axes = 3


class ZeroPad1d(_ZeroPad):
    """Zeros around signals: ``padding`` is an int or (left, right); negative numbers cut off."""

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around images: ``padding`` is an int or (left, right, top, bottom); negative numbers cut off."""

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around volumes: ``padding`` is an int or six ints, (left, right) first; negative numbers cut off."""

    axes = 3


class ReflectionPad1d(_Pad):
    """Signals reflected at their first and last elements: ``padding`` is an int or (left, right)."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Images reflected at their border pixels: ``padding`` is an int or (left, right, top, bottom)."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes reflected at their borders: ``padding`` is an int or six ints, (left, right) first."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Signals whose first and last elements are repeated: ``padding`` is an int or (left, right)."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Images whose border pixels are repeated: ``padding`` is an int or (left, right, top, bottom)."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Volumes whose borders are repeated: ``padding`` is an int or six ints, (left, right) first."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Signals that go on at the other end: ``padding`` is an int or (left, right)."""

    axes, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Images that go on at the other side: ``padding`` is an int or (left, right, top, bottom)."""

    axes, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes that go on at the other side: ``padding`` is an int or six ints, (left, right) first."""

    axes, mode = 3, "circular"
