"""An ONNX file as plain Python data: nodes, weights as arrays, inputs and outputs, every size checked first.

This and the writer are the only modules that know protobuf; what follows in the importer works on these records.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from .node import OnnxError, OnnxNode
from .tensors import DTYPES, tensor_array, type_name

OLDEST_OPSET = 7
"""Broadcasting is NumPy's since then."""

MAX_MODEL_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Port:
    """An input or output of the network; an extent is a number, a name (``batch``), or None where it is open."""

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str


@dataclass(frozen=True)
class OnnxModel:
    """What a file holds, but for nodes that no output needs. ``opset`` is the version of the standard operators."""

    source: str
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[OnnxNode, ...]
    weights: Mapping[str, np.ndarray]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_model(source: str | os.PathLike[str] | bytes) -> OnnxModel:
    """Read a model from a path or from the bytes of a file.

    Raises :class:`OnnxError` (a ValueError) for what is no ONNX model, is damaged, or needs data that is missing;
    OSError where the file itself cannot be read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _parse(bytes(source), "model bytes", None)
    path = Path(source)
    if path.is_dir():
        raise OnnxError(f"{path} is a folder; give the .onnx file in it")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    return _parse(path.read_bytes(), str(path), path.parent)


def _parse(data: bytes, name: str, folder: Path | None) -> OnnxModel:
    if not data:
        raise OnnxError(f"{name} is empty")
    if len(data) > MAX_MODEL_BYTES:
        raise OnnxError(
            f"{name} has {len(data)} bytes, an ONNX file at most {MAX_MODEL_BYTES}; keep the weights beside it"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise OnnxError(f"{name} is damaged or not an ONNX file ({len(data)} bytes that do not parse)") from None
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise OnnxError(f"{name} is damaged or not an ONNX file: it has no graph")
    if len(model.functions):
        model = _without_functions(model, name)
    graph = model.graph
    if len(graph.sparse_initializer):
        raise OnnxError(f"{name}: sparse weights are not supported; store them dense")
    weights: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        key = _text(tensor.name)
        if key in weights:
            raise OnnxError(f"{name}: two weights are named '{key}'")
        weights[key] = tensor_array(tensor, f"{name}: weight '{key}'", folder)
    return OnnxModel(
        source=name,
        opset=_opset(model, name),
        inputs=tuple(_port(v, f"{name}: input") for v in graph.input if _text(v.name) not in weights),
        outputs=tuple(_port(v, f"{name}: output") for v in graph.output),
        nodes=tuple(_node(n, name, folder) for n in _needed(graph)),
        weights=weights,
        metadata={_text(p.key): _text(p.value) for p in model.metadata_props},
    )


def _without_functions(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except RuntimeError as error:
        raise OnnxError(f"{name}: its functions cannot be put in place: {error}") from None


def _opset(model: onnx.ModelProto, name: str) -> int:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions:
        raise OnnxError(f"{name} is damaged or not an ONNX file: it does not say which opset it uses")
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= versions[0] <= newest:
        raise OnnxError(f"{name} uses opset {versions[0]}; export it with one from {OLDEST_OPSET} to {newest}")
    return int(versions[0])


def _port(info: onnx.ValueInfoProto, place: str) -> Port:
    if not info.type.HasField("tensor_type"):
        kind = info.type.WhichOneof("value") or "nothing"
        raise OnnxError(f"{place} '{info.name}' must be a tensor, got {kind}")
    tensor = info.type.tensor_type
    if tensor.elem_type not in DTYPES:
        raise OnnxError(f"{place} '{info.name}' is {type_name(tensor.elem_type)}, which is not supported")
    shape: tuple[int | str | None, ...] | None = None
    if tensor.HasField("shape"):
        shape = tuple(_extent(d, f"{place} '{info.name}'") for d in tensor.shape.dim)
    return Port(_text(info.name), shape, DTYPES[tensor.elem_type])


def _extent(dim: onnx.TensorShapeProto.Dimension, place: str) -> int | str | None:
    if dim.HasField("dim_value"):
        if dim.dim_value < 0:
            raise OnnxError(f"{place}: extent {dim.dim_value} is negative")
        return int(dim.dim_value)
    return _text(dim.dim_param) or None


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes, in their order, that an output of the network needs."""
    wanted = {port.name for port in graph.output}
    needed: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            needed.append(node)
    return needed[::-1]


def _node(proto: onnx.NodeProto, name: str, folder: Path | None) -> OnnxNode:
    op_type, inputs, outputs = _text(proto.op_type), tuple(map(_text, proto.input)), tuple(map(_text, proto.output))
    label = _text(proto.name) or next((o for o in outputs if o), "") or op_type
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        attributes[_text(attribute.name)] = _attribute(attribute, f"{name}: {op_type} '{label}'", folder)
    domain = _text(proto.domain)
    return OnnxNode(op_type, label, "" if domain == "ai.onnx" else domain, inputs, outputs, attributes)


def _text(name: str | bytes) -> str:
    """A name; what is no UTF-8 comes as bytes from a damaged file."""
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else name


def _attribute(attribute: onnx.AttributeProto, place: str, folder: Path | None) -> Any:
    kind = attribute.type
    kinds = onnx.AttributeProto
    if kind == kinds.FLOAT:
        return float(attribute.f)
    if kind == kinds.INT:
        return int(attribute.i)
    if kind == kinds.STRING:
        return _text(attribute.s)
    if kind == kinds.FLOATS:
        return tuple(map(float, attribute.floats))
    if kind == kinds.INTS:
        return tuple(map(int, attribute.ints))
    if kind == kinds.STRINGS:
        return tuple(map(_text, attribute.strings))
    if kind == kinds.TENSOR:
        return tensor_array(attribute.t, f"{place}: attribute '{attribute.name}'", folder)
    return None  # graphs, types and sparse tensors: no supported operator has them
