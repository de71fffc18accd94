"""A graph computed node by node with the operators' references: the oracle of tests, and a way to find a NaN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Graph, Value
from .table import OPS


@np.errstate(all="ignore")
def evaluate(graph: Graph, feeds: Mapping[Value, np.ndarray]) -> dict[Value, np.ndarray]:
    """Every value of ``graph`` by its references, float64 between nodes.

    ``feeds`` holds an array of the declared shape for each input and each state value; floating arrays may be of
    another precision than declared. Updates are not stored: read their new values from the result.
    Raises :class:`ValueError` naming a value that is missing or has another shape.
    """
    values: dict[Value, np.ndarray] = dict(graph.constants)
    for value in graph.inputs + graph.state:
        if value not in feeds:
            raise ValueError(f"value {value!r} has no array in the feeds")
        array = np.asarray(feeds[value])
        if array.shape != value.shape:
            raise ValueError(f"value {value!r} was fed an array of shape {array.shape}")
        values[value] = array
    for node in graph.nodes:
        arrays = OPS[node.op].reference([values[v] for v in node.inputs], node.attrs)
        for value, array in zip(node.outputs, arrays, strict=True):
            assert array.shape == value.shape, f"the reference of {node!r} gave shape {array.shape}"
            values[value] = array
    return values
