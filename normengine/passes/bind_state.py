"""State becomes constants: what a trained network computes from now on, its weights fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..graph import Graph, Value, check
from ..ops import OPS


def bind_state(graph: Graph, arrays: Mapping[str, np.ndarray]) -> Graph:
    """``graph`` with each state value as the constant ``arrays[name]`` (the array itself), and without updates.

    Raises KeyError for state without an array; GraphError where an array does not have the declared shape and dtype.
    """
    now: dict[Value, Value] = {}
    nodes = []
    for node in graph.nodes:
        if OPS[node.op].passes_on:
            now[node.outputs[0]] = now.get(node.inputs[0], node.inputs[0])
        else:
            nodes.append(replace(node, inputs=tuple(now.get(v, v) for v in node.inputs)))
    bound = Graph(
        inputs=graph.inputs,
        outputs=tuple(now.get(v, v) for v in graph.outputs),
        nodes=tuple(nodes),
        constants={**graph.constants, **{v: arrays[v.name] for v in graph.state}},
    )
    return check(bound.pruned())
