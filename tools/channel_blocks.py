"""Arrays from ``(N, C, H, W)`` to blocks of channels, as compiled kernels hold them, and back."""

from __future__ import annotations

import numpy as np

from normengine.kernels.blocks import blocked_shape


def to_blocks(array: np.ndarray, width: int) -> np.ndarray:
    """A copy of ``array`` ``(N, C, H, W)`` in blocks."""
    n, blocks, h, w, _ = blocked_shape(array.shape, width)
    padded = np.zeros((n, blocks * width, h, w), array.dtype)
    padded[:, : array.shape[1]] = array
    return np.ascontiguousarray(padded.reshape(n, blocks, width, h, w).transpose(0, 1, 3, 4, 2))


def from_blocks(array: np.ndarray, channels: int) -> np.ndarray:
    """A copy of ``array`` ``(N, B, H, W, width)`` as ``(N, channels, H, W)``."""
    n, blocks, h, w, width = array.shape
    plain = array.transpose(0, 1, 4, 2, 3).reshape(n, blocks * width, h, w)
    return np.ascontiguousarray(plain[:, :channels])
