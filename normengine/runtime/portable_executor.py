"""The executor where no extension was built: the same walk over the calls, compiled by Numba.

The workers are Python's daemon threads. They take jobs from queues; within a job they run without the GIL.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import iadd
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from ..kernels.abi import int64_at
from ..kernels.cache import cache_folder, compile_function, digest
from ..kernels.code import Code
from ..kernels.machine import MACHINE
from ..locks import at_once, new_lock, undisturbed
from . import intrinsics
from .intrinsics import (
    FAST_FLOAT,
    atomic_add,
    atomic_load,
    atomic_store,
    call_kernel,
    call_system,
    get_float_control,
    set_float_control,
)
from .threads import MOST_THREADS

# Words that the threads of a run share, each on cache lines of its own, two because CPUs prefetch the neighbour: the
# next task, how many threads have arrived at the end of the call, and how many calls are over.
NEXT, ARRIVED, PHASE, SHARED_BYTES = (2 * MACHINE.line_bytes * i for i in range(4))
SHARES = 8  # a thread takes this fraction of its part of a call's tasks at a time
LOOKS = 1000  # how often a waiting thread looks before it gives its CPU away
YIELDS = 50  # how often it does that before it sleeps
NAP = 1 if sys.platform == "win32" else 20  # milliseconds or microseconds

Walk = Callable[[int, int, int, int], None]


class PortableExecutor:
    """``normengine.runtime.executor.Executor`` for ``NORMENGINE_BACKEND=numba``.

    Threads do not spin in teams of more than ``cpus``.
    """

    def __init__(self, calls: np.ndarray, cpus: int) -> None:
        if calls.ndim != 2 or calls.shape[1] != 4 or calls.dtype != np.int64:
            raise ValueError(f"calls must be int64 of shape (n, 4), got {calls.dtype} of shape {calls.shape}")
        self._calls = np.ascontiguousarray(calls).copy()
        self._cpus = cpus

    def run(self, first: int, last: int, threads: int, counters: Sequence[np.ndarray]) -> None:
        self._check(first, last, threads)
        team = _Team() if threads == 1 else _team()
        team.run(threads, self._calls, first, last, LOOKS if threads <= self._cpus else 1, counters)

    def profile(self, first: int, last: int, threads: int) -> np.ndarray:
        self._check(first, last, threads)
        seconds = np.zeros(last - first)
        for call in range(first, last):
            start = time.perf_counter()
            self.run(call, call + 1, threads, ())
            seconds[call - first] = time.perf_counter() - start
        return seconds

    def _check(self, first: int, last: int, threads: int) -> None:
        if not 0 <= first <= last <= len(self._calls):
            raise ValueError(f"calls {first}..{last} are not within the {len(self._calls)} of this executor")
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"threads must be between 1 and {MOST_THREADS}, got {threads}")


class _Team:
    """Worker threads, one run at a time."""

    def __init__(self) -> None:
        self._turn = new_lock()
        self._queues: list[SimpleQueue[tuple[int, int, int, int]]] = []
        self._shared = np.zeros(SHARED_BYTES // 8, np.int64)

    def run(
        self, threads: int, calls: np.ndarray, first: int, last: int, looks: int, counters: Sequence[np.ndarray]
    ) -> None:
        walk = _walk()
        with self._turn:
            while len(self._queues) < threads - 1:
                self._start(threads)
            job = np.array([calls.ctypes.data, threads, self._shared.ctypes.data, looks, *_system_functions()])
            shares: list[Callable[[], Any]] = [
                partial(queue.put, (job.ctypes.data, first, last, thread))
                for thread, queue in enumerate(self._queues[: threads - 1], 1)
            ]
            shares.append(partial(walk, job.ctypes.data, first, last, 0))
            # A signal between two of these would leave some threads waiting for the others for ever.
            at_once([*shares, *(partial(iadd, counter, 1) for counter in counters)])()

    def _start(self, threads: int) -> None:
        queue: SimpleQueue[tuple[int, int, int, int]] = SimpleQueue()
        number = len(self._queues) + 2
        try:
            threading.Thread(target=_work, args=(queue,), name=f"normengine-{number}", daemon=True).start()
        except RuntimeError as error:
            raise RuntimeError(
                f"the system refused to start thread {number} of {threads} ({error}): "
                "use fewer with normengine.set_num_threads"
            ) from error
        self._queues.append(queue)


def _work(queue: SimpleQueue[tuple[int, int, int, int]]) -> None:
    walk = _walk()
    while True:
        walk(*queue.get())


_the_team: _Team | None = None
_making = new_lock()


def _team() -> _Team:
    global _the_team
    with _making:
        if _the_team is None:
            _the_team = _Team()
        return _the_team


def _forget_team() -> None:
    """After a fork: the child has none of its parent's threads."""
    global _the_team
    _the_team = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)


@cache
def _system_functions() -> tuple[int, int]:
    """Addresses of the system's functions that give the CPU away for a moment and that sleep for :data:`NAP`."""
    if sys.platform == "win32":
        yield_cpu, sleep = ctypes.CDLL("kernel32").SwitchToThread, ctypes.CDLL("kernel32").Sleep
    else:
        yield_cpu, sleep = ctypes.CDLL(None).sched_yield, ctypes.CDLL(None).usleep
    address = partial(ctypes.cast, typ=ctypes.c_void_p)
    return address(yield_cpu).value or 0, address(sleep).value or 0


def _walk() -> Walk:
    """:func:`_walk_calls` as machine code that is called without the GIL."""
    if not _walks:
        code = undisturbed(_compile_walk)
        _walks.append((ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(code), code))
    return _walks[0][0]


_walks: list[tuple[Walk, Code]] = []
"""What was made of :func:`_walk_calls`, with the code that it calls; threads that begin at once may make it twice."""


def _compile_walk() -> Code:
    sources = [Path(file).read_text(encoding="utf-8") for file in (__file__, intrinsics.__file__)]
    return compile_function(lambda: _walk_calls, cache_folder() / "executor" / digest(*sources), ())


def _walk_calls(job: Any, first: int, last: int, thread: int) -> None:
    """Do one thread's share of the calls ``first..last-1``; thread 0 returns when all of them are done."""
    calls, threads, shared, looks, yield_cpu, sleep = int64_at(job[0]), job[1], job[2], job[3], job[4], job[5]
    before = get_float_control()
    set_float_control(before | FAST_FLOAT)
    phase = atomic_load(shared + PHASE)
    for index in range(first, last):
        row = 4 * index
        function, args, tasks, grain = calls[row], calls[row + 1], calls[row + 2], calls[row + 3]
        if grain <= 0:
            grain = max(tasks // (threads * SHARES), 1)
        begin = atomic_add(shared + NEXT, grain)
        while begin < tasks:
            call_kernel(function, args, begin, min(begin + grain, tasks), thread)
            begin = atomic_add(shared + NEXT, grain)
        if atomic_add(shared + ARRIVED, 1) == threads - 1:
            atomic_store(shared + ARRIVED, 0)
            atomic_store(shared + NEXT, 0)
            atomic_store(shared + PHASE, phase + 1)
        elif index + 1 < last or thread == 0:
            waited = 0
            while atomic_load(shared + PHASE) == phase:
                waited += 1
                if waited > looks + YIELDS:
                    call_system(sleep, NAP)
                elif waited > looks:
                    call_system(yield_cpu, 0)
        phase += 1
    set_float_control(before)
