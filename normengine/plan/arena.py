"""Memory for values that live only during a run: lifetimes in, offsets out."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

ALIGNMENT = 64
LARGE_BYTES = 32 << 10
"""Smaller lifetimes are placed where they fit: that other threads have their lines costs little."""

NEAR = 0.1
"""How far apart the parts of two arrays may be for one to gain from what the other has just left in a cache."""

Gap = tuple[int, int]
"""Where memory is free, and where that ends."""


@dataclass(frozen=True)
class Lifetime:
    """``size`` bytes needed from call ``first`` to call ``last``, both included."""

    size: int
    first: int
    last: int


def side_by_side(lifetimes: Sequence[Lifetime]) -> tuple[Lifetime, list[int]]:
    """The lifetime of one stretch of memory for all of them, and where in it each begins, aligned to 64 bytes."""
    begins = list(accumulate((_aligned(item.size) for item in lifetimes), initial=0))
    first, last = min((item.first for item in lifetimes), default=0), max((item.last for item in lifetimes), default=0)
    return Lifetime(begins.pop(), first, last), begins


def place(lifetimes: Sequence[Lifetime], shared: bool = False) -> tuple[list[int], int]:
    """Offsets for all lifetimes, aligned to 64 bytes, and the size of the arena that holds them.

    Greedy by size: the largest first, each at the lowest offset where it overlaps nothing that is alive with it
    (Pisarchyk and Lee, arXiv 2001.03288, section 5).

    ``shared`` says that threads share each of them out, the first part to the first thread. Large ones then go where
    the arena grows least, and there to the offset at which as many bytes as possible lie in the same part as those
    that were in their place before and come after: a thread writes what is in its own caches.
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []  # by offset
    large = _Large()
    total = 0
    for i in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, lifetimes[i].first, i)):
        item = lifetimes[i]
        gaps = _gaps(item, total, placed, lifetimes, offsets)
        if shared and item.size >= LARGE_BYTES:
            offsets[i] = large.place(item, list(gaps), total)
        else:
            offsets[i], _ = next(gaps)
        insort(placed, i, key=offsets.__getitem__)
        total = max(total, offsets[i] + _aligned(item.size))
    return offsets, total


def _gaps(
    item: Lifetime, total: int, placed: Sequence[int], lifetimes: Sequence[Lifetime], offsets: Sequence[int]
) -> Iterator[Gap]:
    """Where there is room for ``item``, ascending; the last gap is the one behind everything."""
    at = 0
    for j in placed:
        other = lifetimes[j]
        if other.last < item.first or item.last < other.first:
            continue
        if at + item.size <= offsets[j]:
            yield at, offsets[j]
        at = max(at, _aligned(offsets[j] + other.size))
    yield at, max(total, at + _aligned(item.size))


class _Large:
    """The large lifetimes that have a place, as rows of offset, size, first and last call."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def place(self, item: Lifetime, gaps: Sequence[Gap], total: int) -> int:
        rows = np.array(self._rows, np.float64).reshape(-1, 4)
        others = rows[(rows[:, 2] > item.last) | (rows[:, 3] < item.first)]
        at = _candidates(item, gaps, others)
        growth = np.maximum(at + item.size - total, 0)
        best = int(at[np.lexsort((at, np.round(_cost(item, at, others)), growth))[0]])
        self._rows.append((best, item.size, item.first, item.last))
        return best


def _candidates(item: Lifetime, gaps: Sequence[Gap], others: np.ndarray) -> np.ndarray:
    """Both ends of each gap, and where the item begins, or has its middle, as one of the others."""
    begin, middle = others[:, 0], others[:, 0] + np.floor((others[:, 1] - item.size) / (2 * ALIGNMENT)) * ALIGNMENT
    wanted = np.concatenate([begin, middle])
    found = [np.array([[start, start + (end - start - item.size) // ALIGNMENT * ALIGNMENT] for start, end in gaps])]
    found += [wanted[(wanted >= start) & (wanted + item.size <= end)] for start, end in gaps]
    return np.unique(np.concatenate(found, axis=None))


def _cost(item: Lifetime, at: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each offset of ``item``, the sum over the bytes that it has in common with others of how far apart the parts
    are in which these lie, from 0 (the same) to 1, less ``NEAR``; the more calls lie between, the less they count."""
    offset, size, first, last = others.T
    start, begin = at[:, None], np.maximum(at[:, None], offset)
    end = np.maximum(np.minimum(start + item.size, offset + size), begin)

    def apart(address: np.ndarray) -> np.ndarray:
        return np.abs((address - start) / item.size - (address - offset) / size)

    mean = (apart(begin) + 2 * apart((begin + end) / 2) + apart(end)) / 4
    calls_between = np.maximum(first - item.last, item.first - last)
    return np.asarray(((end - begin) * (mean - NEAR) / (1 + calls_between)).sum(axis=1))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
