"""Sums that a kernel takes over values which an elementwise node makes are written out, for that node's loop to take.

``batch_norm_grad_sums`` becomes the two sums ``sum(dy)`` and ``sum(dy * (x - mean)) / std`` where a loop over images
makes ``dy``: then nothing has to read ``dy`` again.
"""

from __future__ import annotations

from ..graph import Graph, Node, Value
from ..ops import OPS, Builder


def expand_norm_grad_sums(graph: Graph) -> Graph:
    """``graph`` with the sums of batch normalization's gradient written out where ``fuse`` can join them to a loop."""
    producers = graph.producers()
    builder = Builder.rewriting(graph)
    now: dict[Value, Value] = {}
    for node in graph.nodes:
        expand = OPS[node.op].expand
        if expand is not None and _made_in_a_loop(node, producers):
            with builder.at(node.layer):
                now.update(zip(node.outputs, expand(builder, node), strict=True))
        else:
            inputs = tuple(now.get(v, v) for v in node.inputs)
            builder.nodes.append(Node(node.op, inputs, node.outputs, node.attrs, node.layer))
    builder.updates = {old: now.get(new, new) for old, new in graph.updates}
    return builder.graph([now.get(v, v) for v in graph.outputs])


def _made_in_a_loop(node: Node, producers: dict[Value, Node]) -> bool:
    """Whether an elementwise node over images makes the first input."""
    dy = node.inputs[0]
    return len(dy.shape) == 4 and dy in producers and OPS[producers[dy].op].scalar is not None
