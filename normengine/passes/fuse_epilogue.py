"""What follows a convolution becomes part of it: a residual that is added, a ReLU or ReLU6 of the sum.

``y = clamp(conv(x, w) + b + residual)`` is then one node, whose kernel adds and limits while the sums are in registers.
A linear layer takes the activation that follows it in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..graph import Graph, Node, Value, check

CLAMPS: Mapping[str, tuple[float, float]] = MappingProxyType({"relu": (0.0, math.inf), "relu6": (0.0, 6.0)})


def fuse_epilogue(graph: Graph) -> Graph:
    """``graph`` with sums and activations that nobody but they read joined to the convolutions before them."""
    readers, results = graph.consumers(), set(graph.results())
    made: dict[Value, Node] = {}
    gone: set[Node] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        conv = next((made[v] for v in reversed(node.inputs) if v in made and _only(v, readers, results)), None)
        extended = None if conv is None else _extended(conv, node)
        if extended is not None:
            assert conv is not None
            gone.add(conv)
        node = extended or node
        if node.op in ("conv2d", "linear") and "clamp" not in node.attrs:
            made[node.outputs[0]] = node
        nodes.append(node)
    kept = tuple(n for n in nodes if n not in gone)
    return check(Graph(graph.inputs, graph.outputs, kept, graph.state, graph.constants, graph.updates))


def _only(value: Value, readers: Mapping[Value, Sequence[Node]], results: set[Value]) -> bool:
    """Whether a value is read once and nothing of what the graph gives."""
    return value not in results and len(readers.get(value, ())) == 1


def _extended(conv: Node, node: Node) -> Node | None:
    """``conv`` with ``node``, which reads it, as its last part; None where it cannot be."""
    (y,) = conv.outputs
    if node.op in CLAMPS:
        attrs = {**conv.attrs, "clamp": CLAMPS[node.op]}
        return replace(conv, outputs=node.outputs, attrs=MappingProxyType(attrs))
    if node.op == "add" and conv.op == "conv2d" and not conv.attrs.get("residual"):
        other = next((v for v in node.inputs if v is not y), None)
        if other is not None and other.spec == y.spec and node.outputs[0].spec == y.spec:
            attrs = {**conv.attrs, "residual": True}
            inputs = (*conv.inputs, other)
            return replace(conv, inputs=inputs, outputs=node.outputs, attrs=MappingProxyType(attrs))
    return None
