"""Kernels on problems in memory, ready to run, and how fast they are beside what the machine can do at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import median

import numpy as np
from channel_blocks import to_blocks
from guarded import run_kernel
from shapes import Task

from normengine.kernels import REGISTRY, Kernel, Problem
from normengine.kernels.blocks import blocked_shape
from normengine.kernels.compiled import BUILT
from normengine.kernels.compiled.probes import FmaPeak, MemoryHalve
from normengine.kernels.cpu import isas
from normengine.ops import OPS
from normengine.runtime.executor import Executor

ROUNDS = 100_000
"""Of multiply-adds on a tile of vectors: a third of a millisecond."""
MEMORY_BYTES = 128 << 20
"""Of each of two arrays, more than caches hold."""
LEAST_SAMPLE = 1e-3
"""Seconds of the runs that one sample is the mean of."""
LEAST_SAMPLES = 5
REFERENCE_PRODUCTS = 200_000_000
"""What the float64 reference may have to multiply."""


def best_isa() -> str:
    """The best instruction set of compiled kernels that is in use here; see ``NORMENGINE_ISA``."""
    return next((isa for isa in reversed(isas()) if isa in BUILT), BUILT[-1])


def aligned(shape: Sequence[int]) -> np.ndarray:
    """Uninitialized float32 on a cache line of its own, as programs have it."""
    count = int(np.prod(shape))
    raw = np.empty(count + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + count].reshape(shape)


class Arrays:
    """The inputs, which are random, and the outputs of a problem, in the layouts that kernels ask for."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._signature = REGISTRY.signatures[problem.op]
        self._made: dict[tuple[str, int], np.ndarray | None] = {}
        self._rng = np.random.default_rng(0)

    def of(self, kernel: Kernel) -> list[np.ndarray | None]:
        """Those of a kernel, which others of the same layout share."""
        names = (*self._signature.inputs, *self._signature.outputs)
        keys = [(name, kernel.width if name in kernel.blocked else 0) for name in names]
        for key, shape in zip(keys, (*self.problem.inputs, *self.problem.outputs), strict=True):
            if key not in self._made:
                self._made[key] = None if shape is None else self._array(shape, *key)
        return [self._made[key] for key in keys]

    def _array(self, shape: tuple[int, ...], name: str, width: int) -> np.ndarray:
        made = aligned(blocked_shape(shape, width) if width else shape)
        if name in self._signature.inputs:
            values = self._rng.standard_normal(shape, np.float32)
            made[...] = to_blocks(values, width) if width else values
        return made


class Run:
    """A kernel on the arrays of a problem. With ``packed``, what depends on inputs that the kernel packs alone has been
    done before."""

    def __init__(self, kernel: Kernel, arrays_of: Arrays, threads: int, packed: bool = False) -> None:
        problem = arrays_of.problem
        signature, launch = REGISTRY.signatures[problem.op], kernel.launch(problem)
        stride = -(-launch.workspace // 64) * 64
        arrays = arrays_of.of(kernel)
        arrays += [aligned((-(-launch.scratch // 4),)), aligned((stride * threads // 4,))]
        self.kernel, self.threads = kernel, threads
        self._arrays = arrays
        numbers = (*signature.values(problem), *launch.numbers)
        bits = [int(np.float64(v).view(np.int64)) if isinstance(v, float) else int(v) for v in numbers]
        self._slots = np.array([*(0 if a is None else a.ctypes.data for a in arrays), stride, *bits], np.int64)
        calls = [(s(), self._slots.ctypes.data, n, 0) for s, n in zip(kernel.stages, launch.tasks, strict=True)]
        self._executor = Executor(np.array(calls, np.int64))
        self._first, self._last = int(packed and bool(kernel.packs)), len(calls)
        self._executor.run(0, self._last, threads)

    def seconds(self, repeats: int) -> float:
        """The mean time of some runs."""
        start = time.perf_counter()
        for _ in range(repeats):
            self._executor.run(self._first, self._last, self.threads)
        return (time.perf_counter() - start) / repeats


QUIET = 0.2
"""Seconds that threads of other libraries are given to stop spinning after work, which NumPy's products start too."""


class Machine:
    """What so many threads of this machine can do at most, with the vectors of an instruction set."""

    def __init__(self, isa: str, threads: int) -> None:
        self._module = import_module(f"normengine.kernels._{isa}")
        self.threads, self.width = threads, int(self._module.SIZES["width"])
        self._results = np.zeros(threads, np.float32)
        self._peak = self._executor("fma_peak", FmaPeak(self._results.ctypes.data, ROUNDS), threads)
        self._arrays = [np.ones(MEMORY_BYTES // 4, np.float32) for _ in range(2)]
        pieces = 8 * threads
        source, halves = (a.ctypes.data for a in self._arrays)
        self._memory = self._executor("memory_halve", MemoryHalve(source, halves, MEMORY_BYTES // 4 // pieces), pieces)
        for warm in (self.peak, self.memory):
            warm()

    def peak(self) -> float:
        """GFLOP/s of multiply-adds that never leave the registers."""
        vectors = self._module.SIZES["fma_sums"] * self._module.SIZES["width"]
        return self.threads * ROUNDS * 2 * vectors / self._timed(self._peak) / 1e9

    def memory(self) -> float:
        """GB/s, bytes read and bytes written, of writing half of one array to another one."""
        return 2 * MEMORY_BYTES / self._timed(self._memory) / 1e9

    def _executor(self, name: str, numbers: Sequence[int], tasks: int) -> tuple[Executor, np.ndarray]:
        slots = np.array(numbers, np.int64)
        calls = np.array([[self._module.ADDRESSES[name], slots.ctypes.data, tasks, 0]], np.int64)
        return Executor(calls), slots

    def _timed(self, given: tuple[Executor, np.ndarray]) -> float:
        start = time.perf_counter()
        given[0].run(0, 1, self.threads)
        return time.perf_counter() - start


@dataclass(frozen=True)
class Speed:
    """Medians over samples: the time, and the share of the larger of the peaks right before and after each."""

    seconds: float
    share_of_peak: float


def speeds(runs: Sequence[Run], flops: float, machine: Machine, seconds: float) -> list[Speed]:
    """The speed of each run, which take turns with each other and with the peak for the given time each. A run that is
    not timed comes before each sample: others have been where its arrays were in the caches."""
    repeats = [max(1, round(LEAST_SAMPLE / run.seconds(1))) for run in runs]
    times: list[list[float]] = [[] for _ in runs]
    shares: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds * len(runs)
    after = machine.peak()
    while len(times[0]) < LEAST_SAMPLES or time.perf_counter() < end:
        for run, count, spent, share in zip(runs, repeats, times, shares, strict=True):
            before = after
            run.seconds(1)
            spent.append(run.seconds(count))
            after = machine.peak()
            share.append(flops / spent[-1] / 1e9 / max(before, after))
    return [Speed(median(spent), median(share)) for spent, share in zip(times, shares, strict=True)]


def error(kernel: Kernel, tasks: Callable[[int], Task], batch: int) -> float:
    """The relative norm of the difference from the float64 reference, for as many images as that can be asked for."""
    images = max(1, min(batch, REFERENCE_PRODUCTS // tasks(1).products))
    problem, rng = tasks(images).problem, np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, np.float32) for shape in problem.inputs if shape is not None]
    (got,), (want,) = run_kernel(kernel, arrays, problem.attrs), OPS[problem.op].reference(arrays, problem.attrs)
    time.sleep(QUIET)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))
