"""A file as it is, with the weights that lie beside it; and extents to try a network of open ones with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from .files import open_part, printable
from .limits import MAX_MODEL_BYTES, FileLimits
from .node import OnnxError
from .tensors import Tensors

Shapes = Mapping[str, tuple[int, ...]]

_OPEN = ((2, 64), (2, 224), (2, 32), (1, 64), (1, 224), (1, 32))
"""Batches and other extents that are tried where a file leaves them open."""


def whole_model(path: str | os.PathLike[str], limits: FileLimits | None = None) -> onnx.ModelProto:
    """The model of a file, weights that are stored beside it put in.

    Raises :class:`OnnxError` for what is no ONNX model, is damaged or goes beyond the limits, or whose weights are
    missing; OSError where the file itself cannot be read.
    """
    limits = limits or FileLimits()
    path = os.fsdecode(path)
    name = printable(path)
    file, size = open_part(path, name)
    with file:
        limits.check("model_bytes", size, f"{name} has {size} bytes")
        data = file.read(size)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise OnnxError(f"{name} is damaged or not an ONNX file ({size} bytes that do not parse)") from None
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise OnnxError(f"{name} is damaged or not an ONNX file: it has no network")
    limits.check("nodes", len(model.graph.node), f"{name} has {len(model.graph.node)} nodes")
    tensors = Tensors(path, limits)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            array = tensors.array(tensor, f"{name}: weight '{tensor.name}'")
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def model_content(model: onnx.ModelProto, name: str) -> bytes:
    """The bytes of a file of ``model``; raises :class:`OnnxError` where they are more than a file may have."""
    try:
        content = bytes(model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError) as error:
        raise OnnxError(f"{name}: its weights do not fit into one file: {error}") from None
    if len(content) > MAX_MODEL_BYTES:
        raise OnnxError(f"{name}: its weights do not fit into one file of {MAX_MODEL_BYTES} bytes")
    return content


def trial_shapes(
    model: onnx.ModelProto, given: Mapping[str, Sequence[int]], name: str, only: int | None = None
) -> Iterator[Shapes]:
    """Shapes of the inputs, open extents filled in one way after the other; ``given`` are those that are known,
    ``only`` the batch that is tried, if any.

    Raises :class:`OnnxError` where ``given`` does not fit what the file declares.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = {info.name: info for info in model.graph.input if info.name not in stored}
    for key, shape in given.items():
        if key not in inputs:
            raise OnnxError(f"{name} has no input '{key}'; its inputs are {', '.join(map(repr, inputs))}")
        declared = [_extent(dim) for dim in inputs[key].type.tensor_type.shape.dim]
        fits = len(declared) == len(shape) and all(n in (None, m) for n, m in zip(declared, shape, strict=True))
        if not fits or min(shape, default=0) < 0:
            words = ", ".join("?" if n is None else str(n) for n in declared)
            raise OnnxError(f"{name}: input '{key}' is declared as ({words}), got the shape {tuple(shape)}")
    seen = set()
    for batch, extent in _OPEN:
        batch = batch if only is None else only
        shapes = {key: tuple(given.get(key) or _filled(info, batch, extent)) for key, info in inputs.items()}
        if (trial := tuple(shapes.values())) not in seen:
            seen.add(trial)
            yield shapes


def _extent(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _filled(info: onnx.ValueInfoProto, batch: int, extent: int) -> tuple[int, ...]:
    extents = enumerate(map(_extent, info.type.tensor_type.shape.dim))
    return tuple((extent if axis else batch) if n is None else n for axis, n in extents)
