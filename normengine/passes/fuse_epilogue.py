"""What follows a convolution becomes part of it: a residual that is added, a ReLU or ReLU6 of the sum.

``y = clamp(conv(x, w) + b + residual)`` is then one node, whose kernel adds and limits while the sums are in registers.
A linear layer takes the activation that follows it in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..graph import Graph, Node, Value, check
from ..ops import OPS


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
        if OPS[node.op].epilogue and "clamp" not in node.attrs:
            made[node.outputs[0]] = node
        nodes.append(node)
    kept = tuple(n for n in nodes if n not in gone)
    return check(Graph(graph.inputs, graph.outputs, kept, graph.state, graph.constants, graph.updates))


def _only(value: Value, readers: Mapping[Value, Sequence[Node]], results: set[Value]) -> bool:
    """Whether a value is read once and nothing of what the graph gives."""
    return value not in results and len(readers.get(value, ())) == 1


def _extended(conv: Node, node: Node) -> Node | None:
    """``conv`` with ``node``, which reads it, as its last part; None where it cannot be."""
    (y,), becomes = conv.outputs, OPS[node.op].becomes
    if becomes is None or becomes[0] not in OPS[conv.op].epilogue or becomes[0] in conv.attrs:
        return None
    others = [v for v in node.inputs if v is not y]
    if len(others) != len(node.inputs) - 1 or any(v.spec != y.spec for v in (*others, *node.outputs)):
        return None
    attrs = MappingProxyType({**conv.attrs, becomes[0]: becomes[1]})
    return replace(conv, inputs=(*conv.inputs, *others), outputs=node.outputs, attrs=attrs)
