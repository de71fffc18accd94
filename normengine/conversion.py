"""Arrays that users give, in the type that programs read: the same numbers within rounding, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np


def one_array(given: Any, what: str, advice: str = "") -> np.ndarray:
    """``given``, an array or numbers in nested lists, as an array of whatever type.

    Raises:
        ValueError: its parts have unlike shapes, as those of two arrays in a tuple. ``what`` begins the message,
            ``advice`` ends it.
    """
    try:
        return np.asarray(given)
    except ValueError:
        parts = f"a {type(given).__name__} of {len(given)} parts of unlike shapes"
        raise ValueError(f"{what} must be one array, got {parts}{advice}") from None


def converted(array: np.ndarray, dtype: Any, what: str) -> np.ndarray:
    """``array`` as C-contiguous ``dtype``, itself where it is that already.

    Raises:
        ValueError: it holds no real numbers, or one that ``dtype`` does not have: an integer that would wrap, for
            integers one with a fraction, a finite number that would become infinite. ``what`` begins the message.
    """
    wanted, flags = np.dtype(dtype), array.flags
    if array.dtype == wanted and flags.c_contiguous and flags.aligned:
        return array
    try:
        return _converted(array, wanted, what)
    except MemoryError:
        raise ValueError(f"{what} of shape {array.shape} does not fit into memory as {wanted}") from None


def _converted(array: np.ndarray, wanted: np.dtype[Any], what: str) -> np.ndarray:
    if array.dtype == wanted:
        return np.require(array, requirements=["C", "A"])
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} must hold {wanted}, got {array.dtype}")
    with np.errstate(all="ignore"):
        made = np.require(array, wanted, "C")
        if not np.can_cast(array.dtype, wanted):
            other = _lost(array, made) if wanted.kind in "iu" else np.isinf(made) & np.isfinite(array)
            if other.any():
                raise ValueError(f"{what} must hold numbers that {wanted} has, got {array[other].flat[0]}")
    return made


def _lost(array: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Where integers are not what was given, whatever the machine makes of a number that none of them is."""
    least, most = np.iinfo(made.dtype).min, np.iinfo(made.dtype).max
    if array.dtype.kind == "f":
        return ~((array >= float(least)) & (array < float(most) + 1)) | (made != array)
    return (made != array) | ((made < 0) != (array < 0))
