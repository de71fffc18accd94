"""Nodes that read nothing but constants are computed once, in float64, and become constants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..graph import Graph, Node, Value
from ..ops import OPS


@np.errstate(all="ignore")
def fold_constants(graph: Graph, most: float = math.inf) -> Graph:
    """``graph`` with every node of constants alone replaced by its results, if none has more than ``most`` elements."""
    constants = dict(graph.constants)
    nodes: list[Node] = []
    exact: dict[Value, np.ndarray] = {}
    for node in graph.nodes:
        fits = all(v.spec.size <= most for v in node.outputs)
        if not node.inputs or not fits or any(v not in constants for v in node.inputs):
            nodes.append(node)
            continue
        made = OPS[node.op].reference([exact.get(v, constants[v]) for v in node.inputs], node.attrs)
        for value, array in zip(node.outputs, made, strict=True):
            exact[value] = np.asarray(array)
            constants[value] = np.ascontiguousarray(array, dtype=value.dtype).reshape(value.shape)
    return replace(graph, nodes=tuple(nodes), constants=constants).pruned()
