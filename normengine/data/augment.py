"""Random changes of training images that keep what they show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..settings import whole

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def random_shift(pixels: int) -> Augment:
    """A function that moves every image by up to ``pixels`` rows and columns, each its own way; zeros move in.

    Give it to :class:`DataLoader` or to ``Trainer.fit`` as ``augment``; it takes images ``(N, C, H, W)`` and a
    generator and returns new images of the same shape and dtype.

    Raises:
        ValueError: ``pixels`` is not an integer of 0 or more.
    """
    pixels = whole(pixels, "random_shift: pixels")

    def shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count, _, height, width = images.shape
        padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (1, 1, height, width))
        rows, columns = rng.integers(0, 2 * pixels + 1, (2, count))
        return np.ascontiguousarray(windows[np.arange(count), :, rows, columns, 0, 0])

    return shift
