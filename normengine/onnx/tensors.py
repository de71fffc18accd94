"""ONNX tensors as NumPy arrays: what the file says of their size is checked before memory is taken."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx

from .node import OnnxError

DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.BOOL: "bool",
}

_FIELDS = {
    "float32": "float_data",
    "float64": "double_data",
    "int64": "int64_data",
    "int32": "int32_data",
    "uint8": "int32_data",
    "uint32": "uint64_data",
    "bool": "int32_data",
}


def tensor_array(tensor: onnx.TensorProto, place: str, folder: Path | None) -> np.ndarray:
    """The values of ``tensor``, read-only where they are the file's own bytes; ``folder`` is where the file lies.

    Raises :class:`OnnxError`, beginning with ``place``, for a type that is not supported, extents that are negative
    or do not fit the stored bytes, and external data that is missing or too short.
    """
    if tensor.data_type not in DTYPES:
        raise OnnxError(f"{place} is {type_name(tensor.data_type)}, which is not supported; store it as FLOAT")
    dtype = np.dtype(DTYPES[tensor.data_type])
    shape = tuple(map(int, tensor.dims))
    if any(n < 0 for n in shape):
        raise OnnxError(f"{place} has the shape {shape}: an extent is negative")
    size = math.prod(shape)
    if tensor.HasField("segment"):
        raise OnnxError(f"{place} is stored in segments, which are not supported")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        stored = _external(tensor, place, folder, size * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        stored = tensor.raw_data
    else:
        return _from_field(tensor, dtype, shape, place)
    if len(stored) != size * dtype.itemsize:
        raise OnnxError(
            f"{place} of shape {shape} takes {size * dtype.itemsize} bytes as {dtype}, the file holds {len(stored)}"
        )
    return np.frombuffer(stored, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def type_name(number: int) -> str:
    """ONNX's name of an element type, such as ``FLOAT16``."""
    try:
        return str(onnx.TensorProto.DataType.Name(number))
    except ValueError:
        return f"of the unknown element type {number}"


def _from_field(tensor: onnx.TensorProto, dtype: np.dtype, shape: tuple[int, ...], place: str) -> np.ndarray:
    stored = getattr(tensor, _FIELDS[dtype.name])
    if len(stored) != math.prod(shape):
        raise OnnxError(f"{place} of shape {shape} has {math.prod(shape)} numbers, the file holds {len(stored)}")
    return np.array(stored, dtype=dtype).reshape(shape)


def _external(tensor: onnx.TensorProto, place: str, folder: Path | None, nbytes: int) -> bytes:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise OnnxError(f"{place} is stored in '{location}' beside the file; open the model by its path, not as bytes")
    path = folder / location
    if not location or Path(location).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise OnnxError(f"{place} is stored at '{location}', which is outside the model's folder")
    if not path.is_file():
        raise OnnxError(f"{place} is stored in {path}, which is missing; put it beside the model")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", nbytes))
    except ValueError:
        raise OnnxError(f"{place}: offset and length in '{location}' must be numbers") from None
    held = path.stat().st_size
    if offset < 0 or length != nbytes or offset + length > held:
        raise OnnxError(
            f"{place} takes {nbytes} bytes at offset {offset} of {path}; the model says {length}, the file holds {held}"
        )
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
