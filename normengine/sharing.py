"""Weights that programs for inputs of other shapes hold already are not kept twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from .graph import Graph


def with_shared_constants(graph: Graph, others: Iterable[Graph]) -> Graph:
    """``graph`` with the arrays of the ``others`` in place of its own of the same name and content."""
    held: dict[tuple[str, tuple[int, ...], np.dtype], list[np.ndarray]] = {}
    for other in others:
        for value, array in other.constants.items():
            held.setdefault((value.name, array.shape, array.dtype), []).append(array)

    def shared(name: str, own: np.ndarray) -> np.ndarray:
        found = held.get((name, own.shape, own.dtype), ())
        return next((a for a in found if a is own or np.array_equal(a, own)), own)

    return replace(graph, constants={v: shared(v.name, a) for v, a in graph.constants.items()})
