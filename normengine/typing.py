"""Types of what users write: extents, axes, placements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = int | Sequence[int]
"""One number for all axes, or one for each: ``kernel_size=3``, ``stride=(2, 1)``; a dim or several."""
Padding: TypeAlias = int | Sequence[int] | str
"""Zeros around an image: a number, (height, width), ``"same"`` or ``"valid"``."""
DType: TypeAlias = npt.DTypeLike | None
"""float32, or whatever NumPy takes for it."""
Device: TypeAlias = str | None
"""``"cpu"``, which is all there is."""


class Shaped(Protocol):
    """What has a shape and an element type: an array, a parameter or a tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
