"""Composite operators are written out: what remains has a kernel, is elementwise, or only moves elements."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Graph, Value
from ..ops import OPS, Builder


def decompose(graph: Graph) -> Graph:
    """``graph`` with every operator that has a ``decompose`` rule replaced by what the rule builds."""
    while any(OPS[node.op].decompose for node in graph.nodes):
        graph = _decompose_once(graph)
    return graph


def _decompose_once(graph: Graph) -> Graph:
    builder = Builder.rewriting(graph)
    now: dict[Value, Value] = {}
    for node in graph.nodes:
        rule = OPS[node.op].decompose
        node = replace(node, inputs=tuple(now.get(v, v) for v in node.inputs))
        if rule is None:
            builder.nodes.append(node)
            continue
        with builder.at(node.layer):
            now.update(zip(node.outputs, rule(builder, node), strict=True))
    builder.updates = {old: now.get(new, new) for old, new in graph.updates}
    return builder.graph([now.get(v, v) for v in graph.outputs])
