"""The roofline of the machine: multiply-adds that never leave the registers, and bytes from and to memory, per
second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np

from ..kernels.compiled.probes import FmaPeak, MemoryHalve
from ..kernels.cpu import isas
from .executor import Executor

_ROUNDS = 100_000
"""Of multiply-adds on a tile of vectors: a third of a millisecond."""
_FLOATS = 12 << 20
"""Of each of two arrays: more than caches hold."""
_SAMPLES = 5
_PIECES = 8


@dataclass(frozen=True)
class Limits:
    """Operations and bytes that so many threads can do in a second at most."""

    threads: int
    flops: float
    nbytes: float

    def seconds(self, flops: float, nbytes: float) -> float:
        """The least time for so many operations and bytes, done at once."""
        return max(flops / self.flops, nbytes / self.nbytes)


def limits(threads: int) -> Limits | None:
    """Measured at the first call, with the best instruction set in use; None where no kernels were compiled for it."""
    isa = isas()[-1]
    return None if isa == "numba" else _measured(isa, threads)


@cache
def _measured(isa: str, threads: int) -> Limits:
    module = import_module(f"normengine.kernels._{isa}")
    results = np.zeros(threads, np.float32)
    vectors = module.SIZES["fma_sums"] * module.SIZES["width"]
    peak = _least_seconds(module.ADDRESSES["fma_peak"], FmaPeak(results.ctypes.data, _ROUNDS), threads, threads)
    given, made = (np.ones(_FLOATS, np.float32) for _ in range(2))
    tasks = _PIECES * threads
    halve = MemoryHalve(given.ctypes.data, made.ctypes.data, _FLOATS // tasks)
    memory = _least_seconds(module.ADDRESSES["memory_halve"], halve, tasks, threads)
    return Limits(threads, threads * _ROUNDS * 2 * vectors / peak, (given.nbytes + made.nbytes) / memory)


def _least_seconds(address: int, numbers: Sequence[int], tasks: int, threads: int) -> float:
    slots = np.array(numbers, np.int64)
    executor = Executor(np.array([[address, slots.ctypes.data, tasks, 0]], np.int64))
    seconds = []
    for _ in range(_SAMPLES):
        start = time.perf_counter()
        executor.run(0, 1, threads)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
