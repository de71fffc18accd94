"""What is known of an array before it exists: its shape and its element type."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

DTYPES = ("float32", "float64", "int64", "uint32", "uint8", "bool")

MAX_RANK = 32
"""Axes that an array may have: as many as all of NumPy's functions take."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and dtype of one array; a shape of ``()`` is a scalar."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @classmethod
    def of(cls, array: np.ndarray) -> Spec:
        return cls(tuple(array.shape), array.dtype.name)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
