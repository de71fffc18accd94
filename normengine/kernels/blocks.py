"""Activations in blocks of channels: ``(N, C, H, W)`` held as ``(N, ceil(C / width), H, W, width)``, zeros behind C."""

from __future__ import annotations

from .base import Shape


def blocked_shape(shape: Shape, width: int) -> Shape:
    """The shape of the memory of ``shape`` in blocks of ``width`` channels."""
    n, c, h, w = shape
    return n, -(-c // width), h, w, width
