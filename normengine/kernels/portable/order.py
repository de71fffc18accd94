"""Where the largest elements along an axis are: the middle one of ``(A, C, B)``."""

from __future__ import annotations

import numpy as np

from ..base import REGISTRY, Launch, Problem
from .build import Array, Elements, Indices, portable

LANES = 64


def place_in_row(x: Array, first: int, C: int, last: int, maxima: Array) -> int:
    """Where the largest element of one row is whose elements are neighbours, by way of 64 maxima of every 64th element
    and of whether one of those is NaN."""
    for i in range(LANES):
        maxima[i] = -np.inf
        maxima[LANES + i] = 0.0
    whole = C // LANES * LANES
    for start in range(first, first + whole, LANES):
        for i in range(LANES):
            value = np.float64(x[start + i])
            maxima[i] = value if value > maxima[i] else maxima[i]
            maxima[LANES + i] = maxima[LANES + i] if value == value else 1.0
    for c in range(first + whole, first + C):
        maxima[0] = x[c] if x[c] > maxima[0] else maxima[0]
        maxima[LANES] = maxima[LANES] if x[c] == x[c] else 1.0
    largest = maxima[0]
    missing = maxima[LANES]
    for i in range(1, LANES):
        largest = maxima[i] if maxima[i] > largest else largest
        missing += maxima[LANES + i]
    place = C - 1 if last else 0
    step = -1 if last else 1
    while x[first + place] == x[first + place] if missing else x[first + place] != largest:
        place += step
    return place


def argmax(x: Array, y: Indices, workspace: Array, A: int, C: int, B: int, last: int, begin: int, end: int) -> None:
    """A task is one row of neighbours, or up to 64 neighbouring rows; the workspace holds 64 maxima and as many places.

    NaN is larger than any number; of equal elements the first counts, or the last.
    """
    blocks = (B + LANES - 1) // LANES
    for task in range(begin, end):
        if B == 1:
            y[task] = place_in_row(x, task * C, C, last, workspace)
            continue
        first = task % blocks * LANES
        lanes = min(LANES, B - first)
        first += task // blocks * C * B
        for i in range(lanes):
            workspace[i] = x[first + i]
            workspace[LANES + i] = 0.0
        for c in range(1, C):
            for i in range(lanes):
                value = np.float64(x[first + c * B + i])
                best = workspace[i]
                larger = (value > best) | ((value != value) & (best == best))
                equal = (value == best) | ((value != value) & (best != best))
                larger = larger | (equal & (last != 0))
                workspace[i] = value if larger else best
                workspace[LANES + i] = c if larger else workspace[LANES + i]
        for i in range(lanes):
            y[task // blocks * B + task % blocks * LANES + i] = int(workspace[LANES + i])


def comes_first(u: float, i: int, v: float, j: int, largest: int) -> bool:
    """Whether the element ``u`` at ``i`` comes before ``v`` at ``j``. NaN is larger than any number."""
    if u != u or v != v:
        if u != u and v != v:
            return i < j
        return (u != u) == (largest != 0)
    if u == v:
        return i < j
    return (u > v) == (largest != 0)


def sift(x: Elements, first: int, step: int, heap: Array, top: int, size: int, largest: int) -> None:
    """The entry ``top`` of a heap of places in a row goes down to where it belongs: each comes after those below it."""
    place = int(heap[top])
    at = top
    while 2 * at + 1 < size:
        below = 2 * at + 1
        under = int(heap[below])
        if below + 1 < size:
            other = int(heap[below + 1])
            if comes_first(x[first + under * step], under, x[first + other * step], other, largest):
                below += 1
                under = other
        if not comes_first(x[first + place * step], place, x[first + under * step], under, largest):
            break
        heap[at] = under
        at = below
    heap[at] = place


def topk(
    x: Elements,
    values: Elements,
    indices: Indices,
    workspace: Array,
    C: int,
    B: int,
    count: int,
    largest: int,
    begin: int,
    end: int,
) -> None:
    """A task is one row of the axis. The workspace is a heap of those that are chosen so far, the last of them on top;
    then they are taken from it one by one."""
    for task in range(begin, end):
        first = task // B * C * B + task % B
        to = task // B * count * B + task % B
        for c in range(count):
            workspace[c] = c
        for i in range(count // 2):
            sift(x, first, B, workspace, count // 2 - 1 - i, count, largest)
        last = x[first + int(workspace[0]) * B]
        for c in range(count, C):
            value = x[first + c * B]
            if value < last if largest else value > last:
                continue
            if comes_first(value, c, last, -1, largest):
                workspace[0] = c
                sift(x, first, B, workspace, 0, count, largest)
                last = x[first + int(workspace[0]) * B]
        for i in range(count):
            size = count - 1 - i
            place = int(workspace[0])
            indices[to + size * B] = place
            values[to + size * B] = x[first + place * B]
            workspace[0] = workspace[size]
            sift(x, first, B, workspace, 0, size, largest)


def _row_blocks(problem: Problem) -> Launch:
    a, _, b, _ = REGISTRY.signatures[problem.op].values(problem)
    return Launch((int(a * -(-b // LANES)),), workspace=2 * 8 * LANES)


def _rows(problem: Problem) -> Launch:
    a, _, b, *_ = REGISTRY.signatures[problem.op].values(problem)
    return Launch((int(a * b),), workspace=8 * problem.attrs["k"])


portable("argmax", _row_blocks, argmax, dtype="int64")
for _dtype in ("float32", "int64"):
    portable("topk", _rows, topk, dtype=_dtype)
