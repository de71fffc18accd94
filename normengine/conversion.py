"""Input validation: arrays that users give become arrays of the type that programs read, the same numbers within
rounding, or an error says why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .onnx.parse import Port

_NAMELESS = ("?", "*", "-1", "none", "any", "unk", "unknown", "undefined", "dynamic")
"""Names that tools give to every open extent alike."""


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


def all_fed(ports: Sequence[Port], given: object) -> dict[str, np.ndarray]:
    """``given`` as the contiguous arrays that a network with the inputs ``ports`` reads, in their order.

    Raises:
        ValueError: it is no dict, has other names than the inputs, or an array that an input cannot take.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"feeds must be a dict from input names to arrays, got {type(given).__name__}")
    extents: dict[str, tuple[int, str]] = {}
    feeds = {port.name: fed(port, given[port.name], extents) for port in ports if port.name in given}
    if not len(feeds) == len(given) == len(ports):
        names = [port.name for port in ports]
        found = {
            "missing": [name for name in names if name not in given],
            "unexpected": [name for name in given if name not in names],
        }
        parts = [f"{what} {listed(which)}" for what, which in found.items() if which]
        raise ValueError(f"feeds: {' and '.join(parts)}; the inputs are {listed(names)}")
    return feeds


def listed(names: Iterable[str]) -> str:
    """Names as errors have them."""
    return ", ".join(f"'{name}'" for name in names) or "none"


def returned(array: np.ndarray, dtype: str) -> np.ndarray:
    """A result in the element type that the file declares."""
    if dtype == "bfloat16":
        import ml_dtypes  # which gives NumPy the type; ONNX brings it along

        return array.astype(ml_dtypes.bfloat16)
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def fed(port: Port, given: object, extents: dict[str, tuple[int, str]]) -> np.ndarray:
    """``given`` as the contiguous array that ``port`` declares; ``extents`` holds what named extents are so far."""
    array = _array(port, given)
    declared, shape = port.shape or (), array.shape
    if len(shape) != len(declared):
        raise ValueError(f"input '{port.name}' must be {_layout(declared)}, got shape {shape}")
    for axis, (extent, found) in enumerate(zip(declared, shape, strict=True)):
        if isinstance(extent, int) and extent != found:
            raise ValueError(f"input '{port.name}' must be {_layout(declared)}, got shape {shape}")
        if found == 0 and not (len(shape) == 1 and (extent == 0 or port.held == "int64")):
            what = "the batch is empty" if axis == 0 else f"axis {axis} is empty"
            raise ValueError(f"input '{port.name}': {what}, got shape {shape}")
        if isinstance(extent, str) and extent.lower() not in _NAMELESS:
            known, first = extents.setdefault(extent, (found, port.name))
            if known != found:
                raise ValueError(
                    f"input '{port.name}' has {extent} = {found} (shape {shape}), input '{first}' has {known}"
                )
    return converted(array, array.dtype, f"input '{port.name}'")


def _array(port: Port, given: object) -> np.ndarray:
    """``given`` as an array of the type that the program reads: some types are held in others, with the same numbers
    or, of 64-bit floats, as near as float32 has them."""
    if given is None:
        raise ValueError(f"input '{port.name}' is None; give an array for each input")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"input '{port.name}' must be an array: {error}") from None
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    wanted = np.dtype(port.held if port.held.startswith("float") else port.dtype)
    if array.dtype != wanted:
        array = _as_declared(port, array, wanted)
    return array if wanted == port.held else converted(array, port.held, f"input '{port.name}'")


def _as_declared(port: Port, array: np.ndarray, wanted: np.dtype[Any]) -> np.ndarray:
    """``array`` in the declared type, where that says the same: other floats, or integers that fit."""
    kind = array.dtype.kind
    if wanted.kind == kind == "f" or (wanted.kind in "iu" and kind in "iu"):
        return converted(array, wanted, f"input '{port.name}'")
    if wanted.kind == "f" and kind in "iub":
        raise ValueError(
            f"input '{port.name}' must be {port.dtype}, got {array.dtype}; convert images with "
            "x.astype(np.float32) / 255, as the network was trained"
        )
    raise ValueError(f"input '{port.name}' must be {port.dtype}, got {array.dtype}; convert with astype")


def _layout(shape: Sequence[int | str | None]) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
