"""The parser: an ONNX file as plain Python data, nodes, weights as arrays, inputs and outputs, every size checked
first.

This and the writer are the only modules that know protobuf; what follows in the importer works on these records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ..locks import load_module
from .files import open_part, printable
from .limits import MAX_MODEL_BYTES, FileLimits
from .node import Body, OnnxError, OnnxNode
from .notes import notes
from .order import free_names, in_order, needed, nested_nodes
from .schema import check_node
from .tensors import DTYPES, Tensors, held, text, type_name

OLDEST_OPSET = 1
"""Forms before opset 7 are read as those that came after them (see :mod:`.old_forms`)."""

NAMED_OPSETS = 3
"""The version of the format since which files name their opset; those before it have the first one."""

STANDARD = ("", "ai.onnx")
"""The names of the standard operators' domain."""

NO_VERSION = 2**63 - 1
"""Of a model that says none, as ONNX Runtime has it."""


class Port(NamedTuple):
    """An input or output of the network; an extent is a number, a name (``batch``), or None where it is open."""

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str

    @property
    def held(self) -> str:
        """The element type in which the network has it."""
        return held(self.dtype)

    @property
    def type(self) -> str:
        """ONNX's name of its type, ``tensor(float)``."""
        return f"tensor({ {'float32': 'float', 'float64': 'double'}.get(self.dtype, self.dtype) })"


@dataclass(frozen=True)
class OnnxModel:
    """What a file holds, but for nodes and weights that no output needs. ``opset`` is the version of the standard
    operators, ``described`` what the file says of itself, ``notes`` what runs otherwise than it says."""

    source: str
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[OnnxNode, ...]
    weights: Mapping[str, np.ndarray]
    described: Mapping[str, Any] = field(default_factory=dict)
    limits: FileLimits = field(default_factory=FileLimits)
    notes: tuple[str, ...] = ()


Accept = Callable[[str, Sequence[OnnxNode], int], None]


def read_model(
    source: str | os.PathLike[str] | bytes, limits: FileLimits | None = None, accept: Accept | None = None
) -> OnnxModel:
    """Read a model from a path or from the bytes of a file, if it stays within the ``limits``.

    ``accept`` is given the file's name, the nodes that its outputs need, without their attributes, and the opset,
    before anything is said of the types of weights, inputs and outputs; it may raise :class:`OnnxError`.

    Raises :class:`OnnxError` (a ValueError) for what is no ONNX model, is damaged, breaks ONNX's rules, goes beyond
    the limits, or needs data that is missing; OSError where the file itself cannot be read.
    """
    limits = limits or FileLimits()
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = "model bytes"
        _check_size(memoryview(source).nbytes, name, limits)
        return _parse(bytes(source), name, Tensors(None, limits), accept)
    path = os.fsdecode(source)
    name = printable(path)
    file, size = open_part(path, name)
    with file:
        _check_size(size, name, limits)
        return _parse(file.read(size), name, Tensors(path, limits), accept)


def _check_size(size: int, name: str, limits: FileLimits) -> None:
    if size > MAX_MODEL_BYTES:
        raise OnnxError(f"{name} has {size} bytes, an ONNX file at most {MAX_MODEL_BYTES}; keep the weights beside it")
    limits.check("model_bytes", size, f"{name} has {size} bytes")


def _parse(data: bytes, name: str, tensors: Tensors, accept: Accept | None) -> OnnxModel:
    if not data:
        raise OnnxError(f"{name} is empty")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise OnnxError(f"{name} is damaged or not an ONNX file ({len(data)} bytes that do not parse)") from None
    if not model.ir_version:
        raise OnnxError(f"{name} is damaged or not an ONNX file: it does not say its IR version")
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise OnnxError(f"{name} is damaged or not an ONNX file: it has no graph")
    if not model.graph.output:
        raise OnnxError(f"{name}: the network has no outputs; export it with one")
    _check_node_names(model.graph, name)
    if len(model.functions):
        load_module("normengine.onnx.functions")
        from .functions import functions_in_place

        model = functions_in_place(model, name, tensors.limits)
    count = sum(1 for _ in nested_nodes(model.graph.node))
    tensors.limits.check("nodes", count, f"{name} has {count} nodes")
    opset = _opset(model, name)
    graph = model.graph
    stored, wanted = _stored(graph, name), [text(info.name) for info in graph.output]
    nodes = _needed(graph, opset, [*stored, *(text(info.name) for info in graph.input)], wanted, name)
    if accept is not None:
        accept(name, list(nodes), opset)
    _read_attributes(nodes, opset, tensors, name)
    read = {*wanted, *(given for node in nodes for given in node.inputs)}
    weights = _weights({key: tensor for key, tensor in stored.items() if key in read}, name, tensors)
    inputs = _inputs(graph, stored, weights, f"{name}: input", tensors.limits)
    outputs = tuple(_port(info, f"{name}: output", tensors.limits) for info in graph.output)
    arrays = {array.dtype.name for array in weights.values()}
    types = {*(port.dtype for port in inputs + outputs), *arrays, *(tensors.types - {"float64"})}
    return OnnxModel(
        source=name,
        opset=opset,
        inputs=inputs,
        outputs=outputs,
        nodes=tuple(nodes),
        weights=weights,
        described=_described(model),
        limits=tensors.limits,
        notes=notes(types, {node.op_type for node in nodes}),
    )


def _described(model: onnx.ModelProto) -> dict[str, Any]:
    return {
        "producer_name": text(model.producer_name),
        "graph_name": text(model.graph.name),
        "domain": text(model.domain),
        "description": text(model.doc_string),
        "graph_description": text(model.graph.doc_string),
        "version": model.model_version if model.HasField("model_version") else NO_VERSION,
        "custom_metadata_map": {text(p.key): text(p.value) for p in model.metadata_props},
    }


Stored = Mapping[str, "onnx.TensorProto | onnx.SparseTensorProto"]


def _stored(graph: onnx.GraphProto, name: str) -> Stored:
    """The file's weights by name."""
    stored: dict[str, onnx.TensorProto | onnx.SparseTensorProto] = {}
    dense = ((tensor.name, tensor) for tensor in graph.initializer)
    for given, tensor in chain(dense, ((tensor.values.name, tensor) for tensor in graph.sparse_initializer)):
        key = text(given)
        if key in stored:
            raise OnnxError(f"{name}: two weights are named '{key}'")
        stored[key] = tensor
    return stored


def _weights(stored: Stored, name: str, tensors: Tensors) -> dict[str, np.ndarray]:
    weights: dict[str, np.ndarray] = {}
    for key, tensor in stored.items():
        if isinstance(tensor, onnx.SparseTensorProto):
            raise OnnxError(f"{name}: weight '{key}' is sparse, which is not supported; store it dense")
        weights[key] = tensors.array(tensor, f"{name}: weight '{key}'")
    return weights


def _needed(
    graph: onnx.GraphProto | onnx.FunctionProto, opset: int, given: list[str], wanted: list[str], source: str
) -> dict[OnnxNode, onnx.NodeProto]:
    """The nodes that the ``wanted`` names need, in an order in which they can run. The form of all is checked."""
    nodes: dict[OnnxNode, onnx.NodeProto] = {}
    node: OnnxNode | None = None
    try:
        for proto in graph.node:
            node = _node(proto)
            if not node.domain:
                check_node(node, proto.attribute, opset)
            nodes[_with_captured(node, proto)] = proto
        node = None
        return {kept: nodes[kept] for kept in needed(in_order(list(nodes), given), wanted)}
    except OnnxError as error:
        raise OnnxError(f"{source}: {node}: {error}" if node else f"{source}: {error}") from None


def _read_attributes(nodes: Mapping[OnnxNode, onnx.NodeProto], opset: int, tensors: Tensors, source: str) -> None:
    for node, proto in nodes.items():
        captured = node.inputs[len(node.own_inputs) :]
        for attribute in proto.attribute:
            name = text(attribute.name)
            try:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    node.attributes[name] = _body(attribute.g, captured, opset, tensors, f"attribute '{name}'")
                else:
                    node.attributes[name] = _attribute(attribute, f"attribute '{name}'", tensors)
            except OnnxError as error:
                raise OnnxError(f"{source}: {node}: {error}") from None


def _with_captured(node: OnnxNode, proto: onnx.NodeProto) -> OnnxNode:
    """The node with what its graphs read from around them among its inputs."""
    free: dict[str, None] = {}
    for attribute in proto.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            free.update(dict.fromkeys(free_names(attribute.g)))
    return replace(node, inputs=(*node.inputs, *free), captured=len(free)) if free else node


def _body(graph: onnx.GraphProto, captured: tuple[str, ...], opset: int, tensors: Tensors, place: str) -> Body:
    """A graph in an attribute, which may read what is ``captured`` around it."""
    stored, wanted = _stored(graph, place), [text(info.name) for info in graph.output]
    inputs = [text(info.name) for info in graph.input if text(info.name) not in stored]
    nodes = _needed(graph, opset, [*stored, *inputs, *captured], wanted, place)
    _read_attributes(nodes, opset, tensors, place)
    return Body(captured, tuple(wanted), tuple(nodes), _weights(stored, place, tensors))


def body_of(function: onnx.FunctionProto, opset: int, tensors: Tensors, place: str) -> Body:
    """A function as the graph that takes a call's place; its operators are those of ``opset``."""
    wanted = list(map(text, function.output))
    nodes = _needed(function, opset, list(map(text, function.input)), wanted, place)
    _read_attributes(nodes, opset, tensors, place)
    return Body(tuple(map(text, function.input)), tuple(wanted), tuple(nodes), {}, opset)


def _check_node_names(graph: onnx.GraphProto, name: str) -> None:
    seen: set[str | bytes] = set()
    for node in graph.node:
        if node.name in seen:
            raise OnnxError(f"{name}: two nodes are named '{text(node.name)}'")
        if node.name:
            seen.add(node.name)


def _opset(model: onnx.ModelProto, name: str) -> int:
    """The version of the standard operators: the newest one where the file has none of them."""
    versions = [o.version for o in model.opset_import if o.domain in STANDARD]
    newest = int(onnx.defs.onnx_opset_version())
    if not versions and model.ir_version < NAMED_OPSETS:
        return OLDEST_OPSET
    if not versions:
        if model.opset_import and all(node.domain not in STANDARD for node in model.graph.node):
            return newest
        raise OnnxError(f"{name} is damaged or not an ONNX file: it does not say which opset it uses")
    if len(set(versions)) > 1:
        raise OnnxError(f"{name} imports the standard operators twice, at opsets {versions[0]} and {versions[1]}")
    if not OLDEST_OPSET <= versions[0] <= newest:
        raise OnnxError(f"{name} uses opset {versions[0]}; export it with one from {OLDEST_OPSET} to {newest}")
    return int(versions[0])


def _inputs(
    graph: onnx.GraphProto, stored: Stored, weights: Mapping[str, np.ndarray], place: str, limits: FileLimits
) -> tuple[Port, ...]:
    """What a run gives; an input that is a weight as well has its value, and must be declared as it is, if it is
    read."""
    seen: set[str] = set()
    ports: list[Port] = []
    for info in graph.input:
        name = text(info.name)
        if name in seen:
            raise OnnxError(f"{place} '{name}' is declared twice")
        seen.add(name)
        if name in stored and name not in weights:
            continue
        port = _port(info, place, limits)
        weight = weights.get(name)
        if weight is not None and not _declares(port, weight):
            raise OnnxError(
                f"{place} '{port.name}' is declared as {port.dtype} of shape {port.shape}, its weight is "
                f"{weight.dtype} of shape {weight.shape}"
            )
        if weight is None:
            ports.append(port)
    return tuple(ports)


def _declares(port: Port, weight: np.ndarray) -> bool:
    if weight.dtype not in (port.dtype, "float32" if port.dtype in ("float16", "bfloat16") else port.dtype):
        return False
    if port.shape is None:
        return True
    same = (not isinstance(n, int) or n == found for n, found in zip(port.shape, weight.shape, strict=False))
    return len(port.shape) == weight.ndim and all(same)


def _port(info: onnx.ValueInfoProto, place: str, limits: FileLimits) -> Port:
    name = text(info.name)
    if not info.type.HasField("tensor_type"):
        kind = info.type.WhichOneof("value") or "nothing"
        raise OnnxError(f"{place} '{name}' must be a tensor, got {kind}")
    tensor = info.type.tensor_type
    if tensor.elem_type not in DTYPES:
        raise OnnxError(f"{place} '{name}' is {type_name(tensor.elem_type)}, which is not supported")
    shape: tuple[int | str | None, ...] | None = None
    if tensor.HasField("shape"):
        limits.check("rank", len(tensor.shape.dim), f"{place} '{name}' has {len(tensor.shape.dim)} axes")
        shape = tuple(map(_extent, tensor.shape.dim))
    return Port(name, shape, DTYPES[tensor.elem_type])


def _extent(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """An extent, its name, or None where it is open, as a negative one says as well."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return text(dim.dim_param) or None


def _node(proto: onnx.NodeProto) -> OnnxNode:
    """The node without its attributes, which are read when it is known that it is needed."""
    op_type, inputs, outputs = text(proto.op_type), _texts(proto.input), _texts(proto.output)
    label = text(proto.name) or next((o for o in outputs if o), "") or op_type
    domain = text(proto.domain)
    return OnnxNode(op_type, label, "" if domain in STANDARD else domain, inputs, outputs, {})


def _texts(names: Iterable[str]) -> tuple[str, ...]:
    found = tuple(names)
    return tuple(map(text, found)) if bytes in set(map(type, found)) else found


def _attribute(attribute: onnx.AttributeProto, place: str, tensors: Tensors) -> Any:
    kind = attribute.type
    kinds = onnx.AttributeProto
    if kind == kinds.FLOAT:
        return float(attribute.f)
    if kind == kinds.INT:
        return int(attribute.i)
    if kind == kinds.STRING:
        return text(attribute.s)
    if kind == kinds.TENSOR:
        return tensors.array(attribute.t, place)
    if kind not in (kinds.FLOATS, kinds.INTS, kinds.STRINGS):
        return None  # lists of graphs, types and sparse tensors: no supported operator has them
    given = attribute.floats if kind == kinds.FLOATS else attribute.ints if kind == kinds.INTS else attribute.strings
    tensors.limits.check("list_length", len(given), f"{place} is a list of {len(given)}")
    return tuple(map(text, given)) if kind == kinds.STRINGS else tuple(given)
