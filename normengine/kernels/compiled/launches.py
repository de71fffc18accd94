"""How the compiled kernels split a problem: tasks, block sizes and memory, from the problem and the vector width alone.

Nothing here asks how many threads there are, so that results do not depend on it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

from ..base import REGISTRY, Launch, Problem
from ..machine import l3
from ..records import Convolution

Sizes = Mapping[str, int]
"""What an extension module says of itself: vector ``width``, sizes of its register tiles, ..."""

FEW_TASKS = 16
"""Problems are cut into at least that many tasks where they can be."""
INT64 = 8
"""Bytes of an entry of a table of positions."""
WIDEST = 16
"""Lanes of the widest vectors."""
NEAR_BYTES = l3(1 / 4)
"""Arrays that are larger together may come from memory each time: caches that threads share hold other things too."""
MOST_COPIED = 64 << 20
"""Bytes that a thread copies of images at a time, at most, where those are no larger: what dilation and padding spread
further is left to kernels that read images where they are."""
MOST_SPREAD = 512
"""Pixels that may be copied for each that is multiplied; strides and padding that spread them further are left to
kernels that read images where they are."""
MOST_PHASES = 1 << 12
"""Phases of a stride that are planned one by one, at most."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def tasks_wanted(problem: Problem, most: int = FEW_TASKS) -> int:
    """Tasks that a problem is cut into for the threads' sake: one that a thread does alone only as caches want it."""
    return 1 if problem.single_thread else most


def from_memory(problem: Problem) -> bool:
    """Whether a kernel should prefetch what it reads and writes next."""
    shapes = [s for s in (*problem.inputs, *problem.outputs) if s is not None]
    return not problem.single_thread and problem.item_bytes * sum(map(prod, shapes)) > NEAR_BYTES


def copied_at_most(problem: Problem) -> int:
    """Bytes of a band of one image, in blocks of channels, that a kernel may copy."""
    shapes = [s for s in (*problem.inputs, *problem.outputs) if s is not None and len(s) == 4]
    return max(
        MOST_COPIED, *(problem.item_bytes * s[0] * ceil_div(s[1], WIDEST) * WIDEST * s[2] * s[3] for s in shapes)
    )


class Parts(NamedTuple):
    """The record of kernels whose planes are cut into so many tasks."""

    parts: int


class Chunks(NamedTuple):
    """The record of kernels that sum over a batch in so many chunks."""

    chunks: int


class PartialChunks(NamedTuple):
    """The same where the sums are added to what is there if ``accumulate`` is not 0."""

    chunks: int
    accumulate: int = 0


def convolution_of(problem: Problem) -> Convolution:
    numbers = numbers_of(problem)[: len(Convolution._fields)]
    return Convolution(*map(int, numbers))


def copied_pixels(p: Convolution, rows: int, cols: int) -> int:
    """Pixels of x under the windows of a band of one image, those between windows included."""
    height = (rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1
    return height * ((cols - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1)


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest n of 1 to ``most`` that fits, where less fits if more does; 0 if none does."""
    return bisect(range(1, most + 1), False, key=lambda n: not fits(n))


def merge_of(launch: Launch, chunks: int) -> Launch:
    """The second stage over so many chunks of a kernel that sums in chunks, from its launch in one chunk."""
    extra = launch.extra._replace(chunks=chunks)
    return launch._replace(tasks=launch.tasks[1:], scratch=chunks * launch.scratch, extra=extra)


def numbers_of(problem: Problem) -> tuple[int | float, ...]:
    return REGISTRY.signatures[problem.op].values(problem)
