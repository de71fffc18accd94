"""Software prefetch for a group of images: what the kernels that are called after it ask for while they multiply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from ..base import Floats

T = TypeVar("T")


class PrefetchedArray(NamedTuple):
    """Where it is, and its lines of a cache."""

    start: Floats
    lines: int


class Prefetch(NamedTuple):
    """The number of a group and where those of the thread end; lines for the multiply-adds that follow; how many arrays
    there are, of which the first ``own`` are this group's and the others the next one's."""

    group: int
    end: int
    rate: int
    own: int
    array_count: int
    arrays: tuple[PrefetchedArray, ...]


FUNCTIONS = {"prefetch": Prefetch}


def slots(group: T, end: T, rate: int, own: int, arrays: Sequence[tuple[T, int]]) -> tuple[T | int, ...]:
    """The slots of a :class:`Prefetch`, of which some are known when it runs."""
    known: dict[str, T | int]
    known = {"group": group, "end": end, "rate": rate, "own": own, "array_count": len(arrays)}
    numbers = [known[name] for name in Prefetch._fields[:-1]]
    return (*numbers, *(slot for array in arrays for slot in array))
