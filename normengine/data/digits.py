"""The UCI handwritten digits, which come with the package."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

import numpy as np


def digits(split: Literal["all", "train", "test"] = "all") -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: 1,797 images of 8x8 pixels and the digit that each shows.

    ``split="test"`` is a fixed fifth (355 images) to hold out: of each digit's images, in the order of the file, every
    fifth. ``split="train"`` is the rest (1,442 images).

    The images are the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI
    Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, licensed CC BY 4.0, as scikit-learn ships it.

    Returns:
        Images ``(N, 1, 8, 8) float32`` from 0 (paper) to 1 (ink) and labels ``(N,) int64`` from 0 to 9.

    Raises:
        ValueError: ``split`` is none of the three names.
    """
    if split not in ("all", "train", "test"):
        raise ValueError(f'digits: split must be "all", "train" or "test", got {split!r}')
    with files(__package__).joinpath("digits.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        images = arrays["images"][:, None].astype(np.float32) / 16
        labels = arrays["labels"].astype(np.int64)
    if split == "all":
        return images, labels
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        held_out[np.flatnonzero(labels == digit)[4::5]] = True
    chosen = held_out if split == "test" else ~held_out
    return images[chosen], labels[chosen]
