"""Elements at indices along the middle axis of ``(A, C, B)``, and the sums that are the gradients.

Indices count from the end where they are negative. One beyond the axis means its last element, or its first: kernels
read nothing else.
"""

from __future__ import annotations

from ..base import REGISTRY, Launch, Problem
from .build import Array, Elements, Indices, portable

NEIGHBOURS = 256


def place_of(index: int, C: int) -> int:
    """The element that an index means."""
    if index < 0:
        index += C
    return min(max(index, 0), C - 1)


def part_of(task: int, B: int) -> tuple[int, int, int]:
    """The position before the axis that a task is for, and its first and last but one position behind it."""
    blocks = (B + NEIGHBOURS - 1) // NEIGHBOURS
    first = task % blocks * NEIGHBOURS
    return task // blocks, first, min(first + NEIGHBOURS, B)


def gather(x: Elements, indices: Indices, y: Elements, C: int, B: int, count: int, begin: int, end: int) -> None:
    """``y[a, i, b] = x[a, indices[i], b]``; a task is up to 256 neighbouring b."""
    for task in range(begin, end):
        a, first, last = part_of(task, B)
        for i in range(count):
            source = (a * C + place_of(indices[i], C)) * B
            for b in range(first, last):
                y[(a * count + i) * B + b] = x[source + b]


def gather_grad(dy: Array, indices: Indices, dx: Array, C: int, B: int, count: int, begin: int, end: int) -> None:
    """``dx[a, indices[i], b]`` is the sum of ``dy[a, i, b]``, in the order of i."""
    for task in range(begin, end):
        a, first, last = part_of(task, B)
        for c in range(C):
            for b in range(first, last):
                dx[(a * C + c) * B + b] = 0
        for i in range(count):
            target = (a * C + place_of(indices[i], C)) * B
            for b in range(first, last):
                dx[target + b] += dy[(a * count + i) * B + b]


def gather_elements(
    x: Elements, indices: Indices, y: Elements, C: int, B: int, count: int, begin: int, end: int
) -> None:
    """``y[a, i, b] = x[a, indices[a, i, b], b]``."""
    for task in range(begin, end):
        a, first, last = part_of(task, B)
        for i in range(count):
            for b in range(first, last):
                at = (a * count + i) * B + b
                y[at] = x[(a * C + place_of(indices[at], C)) * B + b]


def gather_elements_grad(
    dy: Array, indices: Indices, dx: Array, C: int, B: int, count: int, begin: int, end: int
) -> None:
    """``dx[a, indices[a, i, b], b]`` is the sum of ``dy[a, i, b]``, in the order of i."""
    for task in range(begin, end):
        a, first, last = part_of(task, B)
        for c in range(C):
            for b in range(first, last):
                dx[(a * C + c) * B + b] = 0
        for i in range(count):
            for b in range(first, last):
                at = (a * count + i) * B + b
                dx[(a * C + place_of(indices[at], C)) * B + b] += dy[at]


def _parts(problem: Problem) -> Launch:
    a, _, b, _ = REGISTRY.signatures[problem.op].values(problem)
    return Launch((int(a * -(-b // NEIGHBOURS)),))


for _dtype in ("float32", "int64"):
    portable("gather", _parts, gather, dtype=_dtype)
    portable("gather_elements", _parts, gather_elements, dtype=_dtype)
portable("gather_grad", _parts, gather_grad)
portable("gather_elements_grad", _parts, gather_elements_grad)
