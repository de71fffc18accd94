"""Topological order: each name made once, each node behind those that it reads from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx

from .node import OnnxError, OnnxNode
from .tensors import text


def in_order(nodes: Sequence[OnnxNode], given: Iterable[str]) -> Sequence[OnnxNode]:
    """``nodes`` in an order in which they can run, their own where it is one; ``given`` are the names that no node
    makes.

    Raises :class:`OnnxError` where a name is made twice or never, and where nodes wait for each other.
    """
    ready = {"", *given}
    made: set[str] = set()
    ordered = True
    for node in nodes:
        ordered = ordered and ready.issuperset(node.inputs)
        for name in node.outputs:
            if name in ready and name:
                raise OnnxError(f"{node} makes '{name}', which exists already")
            made.add(name)
            ready.add(name)
    if ordered:
        return nodes
    for node in nodes:
        if not ready.issuperset(node.inputs):
            name = next(name for name in node.inputs if name not in ready)
            raise OnnxError(f"{node} reads '{name}', which nothing before it makes")
    return _sorted(nodes, made)


def _sorted(nodes: Sequence[OnnxNode], made: set[str]) -> list[OnnxNode]:
    """Kahn's algorithm: a node follows when the last of what it reads has been made."""
    made.discard("")
    missing = [len(made.intersection(node.inputs)) for node in nodes]
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in made.intersection(node.inputs):
            readers.setdefault(name, []).append(i)
    order = [i for i, count in enumerate(missing) if count == 0]
    for i in order:  # grows while it is read
        for name in nodes[i].outputs:
            for reader in readers.get(name, ()):
                missing[reader] -= 1
                if missing[reader] == 0:
                    order.append(reader)
    if len(order) < len(nodes):
        first = next(node for node, count in zip(nodes, missing, strict=True) if count)
        raise OnnxError(f"{first} reads what is only made from its own outputs: the graph has a cycle")
    return [nodes[i] for i in order]


def needed(nodes: Sequence[OnnxNode], outputs: Iterable[str]) -> list[OnnxNode]:
    """The nodes, in their order, that one of the outputs needs."""
    wanted = set(outputs)
    kept: list[OnnxNode] = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(filter(None, node.inputs))
            kept.append(node)
    return kept[::-1]


def nested_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of the graphs in their attributes."""
    left = [iter(nodes)]
    while left:
        node = next(left[-1], None)
        if node is None:
            left.pop()
            continue
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                left.append(iter(attribute.g.node))
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                left += [iter(graph.node) for graph in attribute.graphs]


def free_names(graph: onnx.GraphProto) -> list[str]:
    """The names that a graph in an attribute reads from around it, those that graphs within it do among them."""
    made = {"", *(text(t.name) for t in graph.initializer), *(text(t.values.name) for t in graph.sparse_initializer)}
    made.update(text(info.name) for info in graph.input)
    made.update(text(name) for node in graph.node for name in node.output)
    read: dict[str, None] = {}
    for node in graph.node:
        read.update(dict.fromkeys(map(text, node.input)))
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                read.update(dict.fromkeys(free_names(attribute.g)))
    read.update((text(info.name), None) for info in graph.output)
    return [name for name in read if name not in made]
