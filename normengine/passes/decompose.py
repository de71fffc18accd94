"""Composite operators are written out: what remains has a kernel, is elementwise, or only moves elements."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..graph import Graph, Value
from ..ops import OPS, Builder


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
