"""A loss and its gradient to the logits, which start from the same softmax, become one node that makes both.

Of a training step this is ``cross_entropy`` and the ``cross_entropy_grad`` at which differentiation starts, with 1 for
the gradient of the loss.
"""

from __future__ import annotations

from ..graph import Graph, Node, Value, check
from ..ops import OPS

_GRADIENTS = {op.joint[0] for op in OPS.values() if op.joint}


def fuse_loss_grad(graph: Graph) -> Graph:
    """``graph`` with each mean or sum of cross entropies joined to its gradient, where there is one."""
    gradients = {
        (node.op, *_problem(node, node.inputs[1:])): node
        for node in graph.nodes
        if node.op in _GRADIENTS and _is_one(graph, node.inputs[0])
    }
    now: dict[Node, Node] = {}
    for node in graph.nodes:
        joint = OPS[node.op].joint
        if joint and (gradient := gradients.pop((joint[0], *_problem(node, node.inputs)), None)):
            outputs = node.outputs + gradient.outputs
            now[node] = now[gradient] = Node(joint[1], node.inputs, outputs, node.attrs, node.layer)
    nodes = tuple(dict.fromkeys(now.get(node, node) for node in graph.nodes))
    joined = Graph(graph.inputs, graph.outputs, nodes, graph.state, graph.constants, graph.updates)
    return check(joined.pruned())


def _problem(node: Node, inputs: tuple[Value, ...]) -> tuple[object, ...]:
    """What a loss and its gradient have in common: logits, target, class weights and settings."""
    return (*inputs, *sorted(node.attrs.items()))


def _is_one(graph: Graph, dloss: Value) -> bool:
    """Whether a gradient is the constant 1 of a scalar loss, which is a mean or a sum."""
    return dloss.shape == () and dloss in graph.constants and bool(graph.constants[dloss] == 1)
