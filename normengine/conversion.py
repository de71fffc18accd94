"""Arrays that users give, in the type that programs read: the same numbers within rounding, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np


def converted(array: np.ndarray, dtype: Any, what: str) -> np.ndarray:
    """``array`` as C-contiguous ``dtype``, itself where it is that already.

    Raises:
        ValueError: it holds no real numbers, or one that ``dtype`` does not have: an integer that would wrap, for
            integers one with a fraction, a finite number that would become infinite. ``what`` begins the message.
    """
    wanted = np.dtype(dtype)
    if array.dtype == wanted:
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} must hold {wanted}, got {array.dtype}")
    with np.errstate(all="ignore"):
        made = np.require(array, wanted, "C")
        if not np.can_cast(array.dtype, wanted):
            other = made != array if wanted.kind in "iu" else np.isinf(made) & np.isfinite(array)
            if other.any():
                raise ValueError(f"{what} must hold numbers that {wanted} has, got {array[other].flat[0]}")
    return made
