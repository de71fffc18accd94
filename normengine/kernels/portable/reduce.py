"""Sums over axes, in float64."""

from __future__ import annotations

from ..base import REGISTRY, Launch, Problem
from .build import Array, portable

RESULTS = 256


def reduce_sum(x: Array, y: Array, workspace: Array, R0: int, K0: int, R1: int, K1: int, begin: int, end: int) -> None:
    """A task is up to 256 neighbouring results: ``y[k0, k1] = sum of x[r0, k0, r1, k1]`` over r0, then r1."""
    blocks = (K1 + RESULTS - 1) // RESULTS
    for task in range(begin, end):
        k0 = task // blocks
        first = task % blocks * RESULTS
        lanes = min(RESULTS, K1 - first)
        if K1 == 1:
            total = 0.0
            for r0 in range(R0):
                start = (r0 * K0 + k0) * R1
                for i in range(start, start + R1):
                    total += x[i]
            y[k0] = total
        else:
            for i in range(lanes):
                workspace[i] = 0.0
            for r0 in range(R0):
                for r1 in range(R1):
                    start = ((r0 * K0 + k0) * R1 + r1) * K1 + first
                    for i in range(lanes):
                        workspace[i] += x[start + i]
            for i in range(lanes):
                y[k0 * K1 + first + i] = workspace[i]


def _results(problem: Problem) -> Launch:
    _, k0, _, k1 = REGISTRY.signatures["reduce_sum"].values(problem)
    return Launch((int(k0 * -(-k1 // RESULTS)),), workspace=8 * RESULTS)


def _fits(problem: Problem) -> bool:
    try:
        REGISTRY.signatures["reduce_sum"].values(problem)
    except ValueError:
        return False
    return True


portable("reduce_sum", _results, reduce_sum, supports=_fits)
