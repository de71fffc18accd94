"""ONNX tensors as NumPy arrays: what the file says of their size is checked before memory is taken."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import onnx

from .files import open_part, printable, reason
from .limits import FileLimits
from .node import OnnxError

DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.BOOL: "bool",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.UINT16: "uint16",
    onnx.TensorProto.UINT64: "uint64",
}
"""The element types that a file may have."""

TYPE_NAMES: dict[str, int] = dict(onnx.TensorProto.DataType.items())
"""ONNX's numbers of element types by their names, ``FLOAT`` and the like."""

_HELD = dict.fromkeys(("float16", "bfloat16", "float64"), "float32") | dict.fromkeys(
    ("int8", "int16", "int32", "uint16", "uint64"), "int64"
)

_FIELDS = {
    "float32": ("float_data", "float32"),
    "float64": ("double_data", "float64"),
    "int64": ("int64_data", "int64"),
    "int32": ("int32_data", "int32"),
    "uint32": ("uint64_data", "uint64"),
    "uint64": ("uint64_data", "uint64"),
} | dict.fromkeys(("uint8", "bool", "int8", "int16", "uint16"), ("int32_data", "int32"))
"""Where ONNX stores the numbers of each element type one by one, and as what."""

_BITS = {"float16": "uint16", "bfloat16": "uint16"}
"""What is read for a type that is held in another one: the bits of its numbers."""


def held(dtype: str) -> str:
    """The element type in which a network computes with numbers that the file has as ``dtype``."""
    return _HELD.get(dtype, dtype)


class Tensors:
    """Reads the tensors of the file at ``path`` (None: only its bytes are known).

    ``external`` counts the bytes that were read from files beside it; ``types`` has the element types of all tensors
    that were read.
    """

    def __init__(self, path: str | None, limits: FileLimits) -> None:
        self.path = path
        self.limits = limits
        self.external = 0
        self.types: set[str] = set()

    def array(self, tensor: onnx.TensorProto, place: str) -> np.ndarray:
        """The values of ``tensor``, read-only where they are the file's own bytes; 16-bit floats as float32.

        Raises :class:`OnnxError`, beginning with ``place``, for a type that is not supported, extents that are
        negative or do not fit the stored bytes, and external data that is missing or too short.
        """
        if tensor.data_type not in DTYPES:
            raise OnnxError(f"{place} is {type_name(tensor.data_type)}, which is not supported; store it as FLOAT")
        declared = DTYPES[tensor.data_type]
        self.types.add(declared)
        array = self._stored(tensor, np.dtype(_BITS.get(declared, declared)), place)
        return _floats(array, declared) if declared in _BITS else array

    def _stored(self, tensor: onnx.TensorProto, dtype: np.dtype, place: str) -> np.ndarray:
        self.limits.check("rank", len(tensor.dims), f"{place} has {len(tensor.dims)} axes")
        shape = tuple(map(int, tensor.dims))
        if any(n < 0 for n in shape):
            raise OnnxError(f"{place} has the shape {shape}: an extent is negative")
        size = math.prod(shape)
        if not size and not possible(shape, dtype.itemsize):
            raise OnnxError(f"{place} has the shape {shape}, which no array can have")
        if tensor.HasField("segment"):
            raise OnnxError(f"{place} is stored in segments, which are not supported")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            stored = self._external(tensor, place, size * dtype.itemsize)
        elif tensor.HasField("raw_data"):
            stored = tensor.raw_data
        else:
            return _from_field(tensor, dtype, shape, place)
        if len(stored) != size * dtype.itemsize:
            raise OnnxError(
                f"{place} of shape {shape} takes {size * dtype.itemsize} bytes as {dtype}, the file holds {len(stored)}"
            )
        return np.frombuffer(stored, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)

    def _external(self, tensor: onnx.TensorProto, place: str, nbytes: int) -> bytes:
        entries: dict[str, str] = {}
        for entry in tensor.external_data:
            key, value = text(entry.key), os.fsdecode(entry.value)
            if entries.setdefault(key, value) != value:
                raise OnnxError(f"{place} says twice, and not the same, what '{key}' of its external data is")
        location = entries.get("location", "")
        shown = printable(location)
        if self.path is None:
            raise OnnxError(f"{place} is stored in '{shown}' beside the file; open the model by its path, not as bytes")
        offset, length = (_number(entries.get(key), key, place) for key in ("offset", "length"))
        offset = offset or 0
        path = os.path.join(os.path.dirname(self.path), location)
        try:
            real = os.path.realpath(path)
            if not location or os.path.isabs(location) or not self._is_beside(real):
                raise OnnxError(f"{place} is stored at '{shown}', which is outside the model's folder")
            file, held = open_part(real, f"'{shown}'")
        except FileNotFoundError:
            raise OnnxError(
                f"{place} is stored in {printable(path)}, which is missing; put it beside the model"
            ) from None
        except (OSError, ValueError) as error:
            raise OnnxError(f"{place} is stored in '{shown}', which cannot be read: {reason(error)}") from None
        with file:
            if length not in (None, nbytes) or offset + nbytes > held:
                raise OnnxError(
                    f"{place} takes {nbytes} bytes at offset {offset} of {printable(path)}; the model says "
                    f"{nbytes if length is None else length}, the file holds {held}"
                )
            self.external += nbytes
            words = f"{place}: {self.external} bytes are read from files beside the model"
            self.limits.check("external_bytes", self.external, words)
            file.seek(offset)
            return file.read(nbytes)

    def _is_beside(self, real: str) -> bool:
        """Whether a path without links lies in the folder in which the model was opened, or in that of the file itself
        where the path of the model is a link."""
        assert self.path is not None
        folders = (os.path.realpath(os.path.dirname(self.path)), os.path.dirname(os.path.realpath(self.path)))
        return any(Path(real).is_relative_to(folder) for folder in folders)


def _floats(bits: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers of ``dtype`` that have those bits, as float32, which has them all."""
    if dtype == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def possible(shape: tuple[int, ...], itemsize: int) -> bool:
    """Whether NumPy can have an array of that shape, which counts an extent of 0 as 1."""
    return math.prod(max(n, 1) for n in shape) * itemsize < 2**63


def text(name: str | bytes) -> str:
    """A name; what is no UTF-8 comes as bytes from a damaged file."""
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else name


def _number(given: str | None, key: str, place: str) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise OnnxError(f"{place}: {key} of its external data must be a number of bytes, got '{printable(given)[:40]}'")
    return int(given)


def type_name(number: int) -> str:
    """ONNX's name of an element type, such as ``FLOAT16``."""
    try:
        return str(onnx.TensorProto.DataType.Name(number))
    except ValueError:
        return f"of the unknown element type {number}"


def _from_field(tensor: onnx.TensorProto, dtype: np.dtype, shape: tuple[int, ...], place: str) -> np.ndarray:
    field, stored_as = _FIELDS[dtype.name]
    stored = getattr(tensor, field)
    if len(stored) != math.prod(shape):
        raise OnnxError(f"{place} of shape {shape} has {math.prod(shape)} numbers, the file holds {len(stored)}")
    return np.array(stored, dtype=stored_as).astype(dtype, copy=False).reshape(shape)
