"""Nodes that read nothing but constants are computed once, in float64, and become constants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..graph import Graph, Node, Value
from ..ops import OPS


@np.errstate(all="ignore")
def fold_constants(graph: Graph, most: float = math.inf, work: float = math.inf) -> Graph:
    """``graph`` with every node of constants alone replaced by its results, if none has more than ``most`` elements.

    Once elements, or products where an element is a sum of them, come to more than ``work`` in all, the nodes that
    are left stay, to be computed by the kernels.
    """
    constants = dict(graph.constants)
    nodes: list[Node] = []
    exact: dict[Value, np.ndarray] = {}
    for node in graph.nodes:
        fits = all(v.spec.size <= most for v in node.outputs)
        if not node.inputs or not fits or any(v not in constants for v in node.inputs) or _work(node) > work:
            nodes.append(node)
            continue
        work -= _work(node)
        made = OPS[node.op].reference([exact.get(v, constants[v]) for v in node.inputs], node.attrs)
        for value, array in zip(node.outputs, made, strict=True):
            exact[value] = np.asarray(array)
            constants[value] = np.ascontiguousarray(array, dtype=value.dtype).reshape(value.shape)
    return replace(graph, nodes=tuple(nodes), constants=constants).pruned()


def _work(node: Node) -> int:
    """Elements that computing the node goes through, or the products that they are made of."""
    products = OPS[node.op].products
    if products is not None:
        return products([v.shape for v in node.inputs], [v.shape for v in node.outputs], node.attrs)
    made = sum(value.spec.size for value in node.outputs)
    window = math.prod(node.attrs.get("kernel_size", ()))
    return made * window + sum(value.spec.size for value in node.inputs)
