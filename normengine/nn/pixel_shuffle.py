"""Layers that exchange channels and pixels."""

from __future__ import annotations

from ..settings import whole
from . import functional as F
from .module import Module
from .tensor import Tensor

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]


class PixelShuffle(Module):
    """Images (N, C r^2, H, W) as (N, C, H r, W r), r being ``upscale_factor`` (Shi et al., 2016)."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = whole(upscale_factor, "PixelShuffle: upscale_factor", low=1)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.pixel_shuffle` with the layer's settings."""
        return F.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Images (N, C, H r, W r) as (N, C r^2, H, W), r being ``downscale_factor``."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = whole(downscale_factor, "PixelUnshuffle: downscale_factor", low=1)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.pixel_unshuffle` with the layer's settings."""
        return F.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels (N, C, ...) in ``groups``, one of each group after the other (Zhang et al., 2018)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = whole(groups, "ChannelShuffle: groups", low=1)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.channel_shuffle` with the layer's settings."""
        return F.channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"groups={self.groups}"
