"""Nodes that read nothing but constants are computed once, in float64, and become constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph import Graph, Node, Value
from ..ops import OPS


@np.errstate(all="ignore")
def fold_constants(graph: Graph) -> Graph:
    """``graph`` with every node of constants alone replaced by its result."""
    constants = dict(graph.constants)
    nodes: list[Node] = []
    exact: dict[Value, np.ndarray] = {}
    for node in graph.nodes:
        if not node.inputs or any(v not in constants for v in node.inputs):
            nodes.append(node)
            continue
        made = OPS[node.op].reference([exact.get(v, constants[v]) for v in node.inputs], node.attrs)
        for value, array in zip(node.outputs, made, strict=True):
            exact[value] = np.asarray(array)
            constants[value] = np.ascontiguousarray(array, dtype=value.dtype).reshape(value.shape)
    return replace(graph, nodes=tuple(nodes), constants=constants).pruned()
