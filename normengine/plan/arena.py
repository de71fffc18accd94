"""Memory for values that live only during a run: lifetimes in, offsets out."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """``size`` bytes needed from call ``first`` to call ``last``, both included."""

    size: int
    first: int
    last: int


def place(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Offsets for all lifetimes, aligned to 64 bytes, and the size of the arena that holds them.

    Greedy by size: the largest first, each at the lowest offset where it overlaps nothing that is alive with it
    (Pisarchyk and Lee, arXiv 2001.03288, section 5).
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []  # by offset
    total = 0
    for i in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, lifetimes[i].first, i)):
        item = lifetimes[i]
        at = 0
        for j in placed:
            other = lifetimes[j]
            if other.last < item.first or item.last < other.first:
                continue
            if at + item.size <= offsets[j]:
                break
            at = max(at, _aligned(offsets[j] + other.size))
        offsets[i] = at
        insort(placed, i, key=offsets.__getitem__)
        total = max(total, at + _aligned(item.size))
    return offsets, total


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
