"""State becomes constants: what a trained network computes from now on, its weights fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..graph import Graph, Value, check
from ..ops import OPS
from .fold_constants import fold_constants


def bind_state(
    graph: Graph, arrays: Mapping[str, np.ndarray], derived: Mapping[Value, str] = MappingProxyType({})
) -> Graph:
    """``graph`` with each state value as the constant ``arrays[name]`` (the array itself), and without updates.

    Values that are ``derived`` of state alone, such as normalized weights, are constants too then, of the names that
    are given, computed in float64 and rounded once.

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
    return check(_folded(bound.pruned(), {now.get(v, v): name for v, name in derived.items()}))


def _folded(graph: Graph, names: Mapping[Value, str]) -> Graph:
    """``graph`` with what constants alone make of ``names`` as constants of these names, one for equal arrays."""
    there = {v for node in graph.nodes for v in node.outputs}.union(graph.constants)
    wanted = tuple(v for v in names if v in there)
    arrays = fold_constants(replace(graph, outputs=wanted).pruned()).constants
    made: dict[str, Value] = {}
    now: dict[Value, Value] = {}
    for value in wanted:
        if value in arrays:
            first = made.setdefault(names[value], value)
            again = np.array_equal(arrays[first], arrays[value], equal_nan=True)
            now[value] = now[first] if again and first in now else Value(names[value], value.spec)
    folded = replace(
        graph,
        outputs=tuple(now.get(v, v) for v in graph.outputs),
        nodes=tuple(replace(node, inputs=tuple(now.get(v, v) for v in node.inputs)) for node in graph.nodes),
        constants={**graph.constants, **{constant: arrays[value] for value, constant in now.items()}},
    )
    return folded.pruned()
