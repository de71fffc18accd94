"""Microbatches: a large batch in parts, so that memory does not grow with it, and large images stay in the cache
between operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from ..graph import Graph
from ..kernels.machine import l3
from ..ops import is_same_at
from ..passes.samples import largest_sample, samples_apart
from ..plan import Call
from ..plan.group_size import FEWEST_GROUPS, IMAGE_BYTES
from .memory import new_array
from .program import Program

PART_BYTES = l3(4)
"""What an operator reads and writes for a part of the batch, at most, where images go depth first."""
CACHE_BYTES = l3(1 / 4)
"""The same where they are too large for that: a share of a cache that cores have in common."""


def microbatch_sizes(graph: Graph) -> list[int]:
    """The sizes of the parts in which the batch of ``graph`` had better run; one part where it cannot be cut. Large
    parts are multiples of what can itself be cut into groups."""
    batch = graph.inputs[0].shape[0] if graph.inputs and graph.inputs[0].shape else 1
    if batch == 1 or not graph.nodes or not samples_apart(graph):
        return [batch]
    sample = max(1, largest_sample(graph))
    most = max(1, (PART_BYTES if sample <= IMAGE_BYTES else CACHE_BYTES) // sample)
    unit = FEWEST_GROUPS if most > FEWEST_GROUPS else 1
    units, count = -(-batch // unit), -(-batch // (most - most % unit))
    ends = [min(batch, units * i // count * unit) for i in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


def microbatches(graph: Graph, part_of: Callable[[int], Graph]) -> tuple[list[int], dict[int, Graph]]:
    """As :func:`microbatch_sizes`, with the graph for each size, which ``part_of`` gives or raises ValueError for.

    One part and no graphs where the batch had better run as a whole, or where that of some size does not compute its
    share of the outputs with the same numbers.
    """
    sizes = microbatch_sizes(graph)
    whole: tuple[list[int], dict[int, Graph]] = [sum(sizes)], {}
    if len(sizes) == 1:
        return whole
    parts: dict[int, Graph] = {}
    for size in dict.fromkeys(sizes):
        try:
            part = parts[size] = part_of(size)
        except ValueError:
            return whole
        fits = [value.shape for value in part.outputs] == [(size, *value.shape[1:]) for value in graph.outputs]
        if not (fits and samples_apart(part) and is_same_at(part, graph)):
            return whole
    return sizes, parts


class MicrobatchedProgram:
    """Runs a batch in parts of the given sizes, by programs that ``program`` gives for them; called as a
    :class:`Program`."""

    def __init__(self, sizes: Sequence[int], program: Callable[[int], Program]) -> None:
        self._sizes = tuple(sizes)
        self._programs = {size: program(size) for size in dict.fromkeys(sizes)}

    @property
    def programs(self) -> tuple[Program, ...]:
        return tuple(self._programs.values())

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs for the whole batch."""
        results: list[np.ndarray] = []
        for first, size, part in self._parts(feeds):
            made = self._programs[size].run(part)
            if not results:
                results = [new_array((sum(self._sizes), *a.shape[1:]), a.dtype) for a in made]
            for whole, array in zip(results, made, strict=True):
                whole[first : first + size] = array
        return results

    def run_alike(self, feeds: object) -> None:
        """None: a batch of several parts takes long enough."""

    def profile(self, feeds: Mapping[str, np.ndarray]) -> list[tuple[Call, float]]:
        """Run once and return the calls of one part after the other, each with its time in seconds."""
        return [timed for _, size, part in self._parts(feeds) for timed in self._programs[size].profile(part)]

    def _parts(self, feeds: Mapping[str, np.ndarray]) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """Where each part begins, its size, and its share of the arrays."""
        first = 0
        for size in self._sizes:
            yield first, size, {name: array[first : first + size] for name, array in feeds.items()}
            first += size
