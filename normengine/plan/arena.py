"""Static memory planning: from the lifetimes of values that live only during a run to their offsets in one arena.

Two values may have the same addresses if no call uses both. Among the places that are free, a large value takes the one
whose lines are likeliest to be in a cache still.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ..kernels.machine import MACHINE, l1, whole_lines

ALIGNMENT = MACHINE.line_bytes
LARGE_BYTES = l1(1)
"""Smaller lifetimes are placed where they fit: that other threads have their lines costs little."""

NEAR = 0.1
"""How far apart the parts of two arrays may be for one to gain from what the other has just left in a cache."""

MOST_OTHERS = 256
"""Arrays that one is compared with, those that come soonest before or after it."""


class Lifetime(NamedTuple):
    """``size`` bytes needed from call ``first`` to call ``last``, both included."""

    size: int
    first: int
    last: int


def side_by_side(lifetimes: Sequence[Lifetime]) -> tuple[Lifetime, list[int]]:
    """The lifetime of one stretch of memory for all of them, and where in it each begins, aligned to 64 bytes."""
    begins = list(accumulate((whole_lines(item.size) for item in lifetimes), initial=0))
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
    placed, large = _Placed(len(lifetimes)), _Large(len(lifetimes))
    total = 0
    for i in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, lifetimes[i].first, i)):
        item = lifetimes[i]
        starts, ends = placed.gaps(item, total)
        if shared and item.size >= LARGE_BYTES:
            offsets[i] = large.place(item, starts, ends, total)
        else:
            offsets[i] = int(starts[0])
        placed.add(item, offsets[i])
        total = max(total, offsets[i] + whole_lines(item.size))
    return offsets, total


class _Placed:
    """The lifetimes that have a place, by offset: columns of offset, aligned end, first and last call."""

    def __init__(self, most: int) -> None:
        self._table = np.zeros((4, most), np.int64)
        self._count = 0

    def add(self, item: Lifetime, offset: int) -> None:
        table, count = self._table, self._count
        at = int(np.searchsorted(table[0, :count], offset, side="right"))
        table[:, at + 1 : count + 1] = table[:, at:count]
        table[:, at] = offset, offset + whole_lines(item.size), item.first, item.last
        self._count += 1

    def gaps(self, item: Lifetime, total: int) -> tuple[np.ndarray, np.ndarray]:
        """Where memory is free that has room for ``item``, ascending, and where that ends; the last is behind all."""
        offsets, ends, first, last = self._table[:, : self._count]
        alive = (first <= item.last) & (last >= item.first)
        begins = np.concatenate([offsets[alive], [0]])
        free = np.concatenate([[0], np.maximum.accumulate(ends[alive])])
        begins[-1] = max(total, int(free[-1]) + whole_lines(item.size))
        fits = free + item.size <= begins
        return free[fits], begins[fits]


class _Large:
    """The large lifetimes that have a place, as rows of offset, size, first and last call."""

    def __init__(self, most: int) -> None:
        self._rows = np.zeros((most, 4))
        self._count = 0

    def place(self, item: Lifetime, starts: np.ndarray, ends: np.ndarray, total: int) -> int:
        rows = self._rows[: self._count]
        others = _nearest(item, rows[(rows[:, 2] > item.last) | (rows[:, 3] < item.first)])
        at = _candidates(item, starts, ends, others)
        growth = np.maximum(at + item.size - total, 0)
        best = int(at[np.lexsort((at, np.round(_cost(item, at, others)), growth))[0]])
        self._rows[self._count] = best, item.size, item.first, item.last
        self._count += 1
        return best


def _nearest(item: Lifetime, others: np.ndarray) -> np.ndarray:
    """Those of the others that count most, where they are many."""
    if len(others) <= MOST_OTHERS:
        return others
    return others[np.argpartition(_calls_between(item, others), MOST_OTHERS)[:MOST_OTHERS]]


def _calls_between(item: Lifetime, others: np.ndarray) -> np.ndarray:
    _, _, first, last = others.T
    return np.maximum(first - item.last, item.first - last)


def _candidates(item: Lifetime, starts: np.ndarray, ends: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Both ends of each gap, and where the item begins, or has its middle, as one of the others."""
    begin, middle = others[:, 0], others[:, 0] + np.floor((others[:, 1] - item.size) / (2 * ALIGNMENT)) * ALIGNMENT
    wanted = np.concatenate([begin, middle])
    gap = np.searchsorted(starts, wanted, side="right") - 1  # the last that begins before; gaps do not overlap
    wanted = wanted[(wanted >= starts[0]) & (wanted + item.size <= ends[gap])]
    return np.concatenate([starts, starts + (ends - starts - item.size) // ALIGNMENT * ALIGNMENT, wanted])


def _cost(item: Lifetime, at: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each offset of ``item``, the sum over the bytes that it has in common with others of how far apart the parts
    are in which these lie, from 0 (the same) to 1, less ``NEAR``; the more calls lie between, the less they count."""
    offset, size, _, _ = others.T
    start, begin = at[:, None], np.maximum(at[:, None], offset)
    end = np.maximum(np.minimum(start + item.size, offset + size), begin)

    def apart(address: np.ndarray) -> np.ndarray:
        return np.abs((address - start) / item.size - (address - offset) / size)

    mean = (apart(begin) + 2 * apart((begin + end) / 2) + apart(end)) / 4
    return np.asarray(((end - begin) * (mean - NEAR) / (1 + _calls_between(item, others))).sum(axis=1))
