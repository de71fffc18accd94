"""Sums over any axes as sums over at most two runs of axes: ``(R0, K0, R1, K1)``, summed over R0 and R1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import prod

from ..kernels import Problem

Shape = tuple[int, ...]


def as_alternating(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[Shape, Shape]]:
    """Pairs (input shape of rank 4, output shape of rank 2) of the sums that, in turn, reduce ``axes``."""
    tagged = [(d in axes, n) for d, n in enumerate(shape) if n != 1]
    runs = [(reduced, prod(n for _, n in run)) for reduced, run in groupby(tagged, key=lambda t: t[0])]
    steps: list[tuple[Shape, Shape]] = []
    while len(runs) > 4 or (len(runs) == 4 and not runs[0][0]):
        at = max(i for i, (reduced, _) in enumerate(runs) if reduced)
        outer, inner = prod(n for _, n in runs[:at]), prod(n for _, n in runs[at + 1 :])
        steps.append(((1, outer, runs[at][1], inner), (outer, inner)))
        rest = runs[:at] + runs[at + 1 :]
        runs = [(r, prod(n for _, n in run)) for r, run in groupby(rest, key=lambda t: t[0])]
    slots = [1, 1, 1, 1]
    position = 0
    for reduced, extent in runs:
        if reduced != (position % 2 == 0):
            position += 1
        slots[position] = extent
        position += 1
    r0, k0, r1, k1 = slots
    steps.append(((r0, k0, r1, k1), (k0, k1)))
    return steps


def describe(problem: Problem) -> str:
    """Shapes as people read them: ``32x3x32x32, 16x3x3x3 -> 32x16x32x32``."""
    given = ", ".join("x".join(map(str, s)) or "1" for s in problem.inputs if s is not None)
    made = ", ".join("x".join(map(str, s)) or "1" for s in problem.outputs)
    return f"{given} -> {made}"
