"""The part of a file that can be read. Nodes that cannot are cut out: what they make is an input of that part, what
they read is an output, so that whatever is done to the part leaves them as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import onnx
from onnx import helper

from ..graph import Graph, Value
from . import families  # noqa: F401  (its import fills the tables)
from .importer import import_graph
from .limits import FileLimits
from .node import OnnxError
from .parse import STANDARD, read_model
from .table import EVALUATORS, READERS
from .tensors import DTYPES
from .value_types import ValueType

_TRIES = 200
"""Nodes that may turn out to be unreadable one after the other, each when those before it have been cut out."""


class Part(NamedTuple):
    """What can be read: the bytes of a file of it and its graph, None where that is nothing, for each node that was cut
    out the reason, and words for the graph's inputs and outputs that come from or go to such a node."""

    content: bytes
    graph: Graph | None
    unread: Mapping[int, str]
    beyond: Mapping[Value, str]


def node_names(model: onnx.ModelProto) -> list[str]:
    """What to call each node: its name, or that of its first output; each once."""
    taken: set[str] = set()
    names = []
    for node in model.graph.node:
        stem = name = node.name or next(filter(None, node.output), node.op_type)
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names.append(name)
    return names


def names_read(node: onnx.NodeProto) -> set[str]:
    """What the node reads; of graphs in its attributes, all names that are read there."""
    found, waiting = {name for name in node.input if name}, [node]
    while waiting:
        for graph in _graphs(waiting.pop()):
            waiting += graph.node
            found.update(name for inner in graph.node for name in inner.input if name)
            found.update(output.name for output in graph.output)
    return found


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def readable_part(
    model: onnx.ModelProto,
    types: Mapping[str, ValueType],
    limits: FileLimits | None = None,
    unread: Mapping[int, str] | None = None,
) -> Part:
    """The part of ``model`` without the nodes that cannot be read and those of ``unread``, by their positions.

    ``types`` has the extents for which it is read. Raises :class:`OnnxError` for what is wrong with more than a node.
    """
    names = node_names(model)
    places = {name: i for i, name in enumerate(names)}
    cut = dict(unread or {})
    cut.update((i, why) for i, node in enumerate(model.graph.node) if (why := _unsupported(node)) and i not in cut)
    for _ in range(_TRIES):
        _spread(model, types, cut)
        left = cut_out(model, types, cut)
        if left is None:
            return Part(b"", None, cut, {})
        content = left.SerializeToString()
        try:
            read = read_model(content, limits)
            shapes = {port.name: tuple(n for n in port.shape or () if isinstance(n, int)) for port in read.inputs}
            graph = import_graph(read, shapes)
            outputs = [port.name for port in read.outputs]
            return Part(content, graph, cut, _beyond(model, graph, outputs, cut))
        except OnnxError as error:
            culprits = _culprits(str(error), left, places)
            if not culprits:
                raise
            cut.update((i, _reason(str(error), names[i])) for i in culprits)
    raise OnnxError(f"more than {_TRIES} nodes cannot be read")


def _beyond(model: onnx.ModelProto, graph: Graph, outputs: Sequence[str], cut: Mapping[int, str]) -> dict[Value, str]:
    """Words for values of ``graph``, whose outputs have those names, that a node that was cut out makes or reads."""
    names = node_names(model)
    makers = {name: f"'{names[i]}' ({cut[i]})" for i in cut for name in model.graph.node[i].output if name}
    readers = {
        name: f"'{names[i]}' ({cut[i]})" for i in sorted(cut, reverse=True) for name in names_read(model.graph.node[i])
    }
    real = {info.name for info in model.graph.output}
    words = {
        value: f"is also read by {readers[name]}"
        for value, name in zip(graph.outputs, outputs, strict=True)
        if name in readers and name not in real
    }
    given = {value: makers[value.name] for value in graph.inputs if value.name in makers}
    return words | {value: f"comes from {maker}" for value, maker in given.items()}


def cut_out(model: onnx.ModelProto, types: Mapping[str, ValueType], cut: Collection[int]) -> onnx.ModelProto | None:
    """``model`` without the nodes at the positions ``cut`` and those that nothing needs then; None where no output is
    left."""
    names, graph = node_names(model), model.graph
    kept = [i for i in range(len(graph.node)) if i not in cut]
    made = {name for i in kept for name in graph.node[i].output if name}
    beyond = set().union(*(names_read(graph.node[i]) for i in cut)) if cut else set()
    outputs = dict.fromkeys([*(o.name for o in graph.output if o.name in made), *sorted(beyond & made)])
    if not outputs:
        return None
    kept = _needed(graph, kept, outputs)
    read = {name for i in kept for name in graph.node[i].input if name}
    stored = {tensor.name for tensor in graph.initializer}
    inputs = dict.fromkeys(info.name for info in graph.input if info.name in read - stored)
    inputs.update(dict.fromkeys(name for i in sorted(cut) for name in graph.node[i].output if name in read))
    part = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    part.opset_import.extend(o for o in model.opset_import if o.domain in STANDARD)
    part.graph.name = graph.name or "part"
    for i in kept:
        part.graph.node.add().CopyFrom(graph.node[i])
        part.graph.node[-1].name = names[i]
    part.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    part.graph.input.extend(_port(name, types) for name in inputs)
    part.graph.output.extend(_port(name, types) for name in outputs)
    return part


def _needed(graph: onnx.GraphProto, kept: Sequence[int], outputs: Iterable[str]) -> list[int]:
    """Those of the nodes that an output needs."""
    makers = {name: i for i in kept for name in graph.node[i].output if name}
    waiting, found = [name for name in outputs if name in makers], set()
    while waiting:
        position = makers[waiting.pop()]
        if position not in found:
            found.add(position)
            waiting += [name for name in graph.node[position].input if name in makers]
    return sorted(found)


def _port(name: str, types: Mapping[str, ValueType]) -> onnx.ValueInfoProto:
    kind = types[name]
    return helper.make_tensor_value_info(name, kind.elem_type, kind.shape)


def _unsupported(node: onnx.NodeProto) -> str:
    """Why a node cannot be read, whatever its inputs are."""
    if any(_graphs(node)):
        return "it has graphs of its own"
    known = node.domain in STANDARD and (node.op_type in READERS or node.op_type in EVALUATORS)
    return "" if known else "its operator is not supported"


def _spread(model: onnx.ModelProto, types: Mapping[str, ValueType], cut: dict[int, str]) -> None:
    """Cut out what reads, or has to hand on, an array of which type or extents are not known."""
    graph = model.graph
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    given = {*(info.name for info in graph.input), *(tensor.name for tensor in graph.initializer)}
    outputs = {info.name for info in graph.output}
    dark = {name for name in given if not (name in types and types[name].is_readable)} | sparse
    before = -1
    while before < len(cut):
        before = len(cut)
        beyond = outputs.union(*(names_read(graph.node[i]) for i in cut))
        dark.update(
            name for i in cut for name in graph.node[i].output if not (name in types and types[name].is_readable)
        )
        for i, node in enumerate(graph.node):
            ends = [name for name in node.output if name in beyond]
            if i not in cut and (
                not dark.isdisjoint(node.input) or any(n not in types or types[n].elem_type not in DTYPES for n in ends)
            ):
                cut[i] = "type or extents of what it reads or makes are not known"


def _culprits(text: str, part: onnx.ModelProto, places: Mapping[str, int]) -> list[int]:
    """The positions of the nodes that an error is about."""
    found = [node.name for node in part.graph.node if f"{node.op_type} '{node.name}'" in text]
    kept = {node.name for node in part.graph.node}
    quoted: Sequence[str] = [name for name in re.findall(r"'([^']*)'", text) if name in kept]
    return [places[name] for name in (found[:1] or quoted)]


def _reason(text: str, name: str) -> str:
    """What an error says of the node of that name."""
    return text.partition(f"'{name}': ")[2] or "its operator is not supported"
