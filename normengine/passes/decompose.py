"""Composite operators are written out: what remains has a kernel, is elementwise, or only moves elements."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from ..graph import Graph, Node, Value
from ..ops import OPS, Builder, Op


def decompose(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """``graph`` with every operator that has a ``decompose`` rule and is not to ``keep`` replaced by what it builds."""
    while any(OPS[node.op].decompose and node.op not in keep for node in graph.nodes):
        graph = _decompose_once(graph, keep)
    return graph


def _decompose_once(graph: Graph, keep: Collection[str]) -> Graph:
    builder = Builder.rewriting(graph)
    now: dict[Value, Value] = {}
    for node in graph.nodes:
        rule = None if node.op in keep else OPS[node.op].decompose
        node = replace(node, inputs=tuple(now.get(v, v) for v in node.inputs))
        if rule is None:
            builder.nodes.append(node)
            continue
        with builder.at(node.layer):
            now.update(zip(node.outputs, rule(builder, node), strict=True))
    builder.updates = {old: now.get(new, new) for old, new in graph.updates}
    return builder.graph([now.get(v, v) for v in graph.outputs])


def write_out(builder: Builder, wanted: Callable[[Op], bool]) -> None:
    """Replace those composite nodes of ``builder`` that are ``wanted`` by what they stand for, the values that they
    make kept, so that whoever reads them need not be told."""
    while any(OPS[node.op].decompose and wanted(OPS[node.op]) for node in builder.nodes):
        nodes, builder.nodes = builder.nodes, []
        for node in nodes:
            rule = OPS[node.op].decompose
            if rule is None or not wanted(OPS[node.op]):
                builder.nodes.append(node)
                continue
            first = len(builder.nodes)
            with builder.at(node.layer):
                made = dict(zip(rule(builder, node), node.outputs, strict=True))
            builder.nodes[first:] = [_renamed(n, made) for n in builder.nodes[first:]]


def _renamed(node: Node, now: dict[Value, Value]) -> Node:
    inputs, outputs = (tuple(now.get(v, v) for v in values) for values in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)
