"""Software prefetch for a group of images: says what the kernels that follow it prefetch while they multiply.

A prefetcher lies in memory of the thread. All kernels of the group get its address: each of them takes up where the one
before it has stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from ..base import Floats, Prefetcher

T = TypeVar("T")


MOST_ARRAYS = 4
"""Arrays of a prefetcher, at most."""
PREFETCHER_BYTES = 8 * (4 * MOST_ARRAYS + 5)
RATE = 1 << 20
"""Multiply-adds of vectors for which a prefetcher is told how many lines to prefetch."""


class PrefetchedArray(NamedTuple):
    """Where it is, and its lines of a cache."""

    start: Floats
    lines: int


class Prefetch(NamedTuple):
    """The prefetcher; the number of a group and where those of the thread end; lines for :data:`RATE` of the
    multiply-adds that follow; how many arrays there are, of which the first ``own`` are this group's and the others the
    next one's."""

    prefetcher: Prefetcher
    group: int
    end: int
    rate: int
    own: int
    array_count: int
    arrays: tuple[PrefetchedArray, ...]


FUNCTIONS = {"prefetch": Prefetch}


def slots(prefetcher: T, group: T, end: T, rate: int, own: int, arrays: Sequence[tuple[T, int]]) -> tuple[T | int, ...]:
    """The slots of a :class:`Prefetch`, of which some are known when it runs."""
    known: dict[str, T | int] = {"prefetcher": prefetcher, "group": group, "end": end}
    known |= {"rate": rate, "own": own, "array_count": len(arrays)}
    numbers = [known[name] for name in Prefetch._fields[:-1]]
    return (*numbers, *(slot for array in arrays for slot in array))
