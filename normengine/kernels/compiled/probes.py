"""Kernels of no operator, which show what the machine can do at most: multiply-adds, and bytes from and to memory."""

from __future__ import annotations

from typing import NamedTuple

from ..base import Floats


class FmaPeak(NamedTuple):
    """A float for each task, and rounds of ``fma_sums`` vectors of multiply-adds that never leave the registers."""

    results: Floats
    rounds: int


class MemoryHalve(NamedTuple):
    """An array to read, one to write, and how many floats of them a task has."""

    source: Floats
    halves: Floats
    floats: int


FUNCTIONS = {"fma_peak": FmaPeak, "memory_halve": MemoryHalve}
