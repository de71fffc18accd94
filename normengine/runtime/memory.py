"""Memory accounting: what a program takes of the machine's memory, counted before any is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph import MEMORY
from ..kernels.machine import MACHINE
from ..plan import Call, Plan


def aligned_bytes(size: int) -> np.ndarray:
    """``size`` bytes that begin at a multiple of 64; raises ValueError where the system has not so many."""
    try:
        raw = np.empty(size + MACHINE.line_bytes, np.uint8)
    except MemoryError:
        raise ValueError(
            f"program: the system gives no {size} bytes of memory; {_ADVICE}, or allow the process more"
        ) from None
    start = -raw.ctypes.data % MACHINE.line_bytes
    return raw[start : start + size]


def new_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array whose content is still to come; raises ValueError where the system has no memory for it."""
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        raise ValueError(f"program: the system gives no memory for an output of shape {shape}; {_ADVICE}") from None


_ADVICE = "run smaller batches or images, or windows that reach less far"


def check_memory(plan: Plan, threads: int) -> None:
    """Raise ValueError if the program of ``plan`` would own more than the machine has on so many threads, with what
    takes most of it."""
    calls = [each for outer in (*plan.setup, *plan.calls) for each in (outer, *outer.inner)]
    packed = {m: m.nbytes for call in calls for m in call.memories() if m.kind == "packed"}
    needs = {
        "the arena": plan.arena_bytes,
        "packed weights": sum(packed.values()),
        f"workspaces of {threads} threads": threads * max((c.thread_bytes for c in calls), default=0),
        "outputs": sum(v.spec.nbytes for v in plan.graph.outputs),
    }
    total = sum(needs.values())
    if total <= MEMORY:
        return
    nbytes, what, call = max((part for c in calls for part in _parts(c, threads)), key=lambda part: part[0])
    of = f" of '{call.layer}'" if call.layer else ""
    parts = ", ".join(f"{name} {size}" for name, size in needs.items() if size)
    raise ValueError(
        f"program: takes {total} bytes, more than this machine's {MEMORY} ({parts}); most of it, {nbytes} bytes, is "
        f"{what} of {call.op}{of}, {call.shapes}; {_ADVICE}"
    )


def _parts(call: Call, threads: int) -> Iterator[tuple[int, str, Call]]:
    """What a call needs: bytes, and which memory that is."""
    yield threads * call.thread_bytes, "the threads' workspace", call
    for memory in call.memories():
        if memory.kind in _KINDS:
            yield memory.nbytes, _KINDS[memory.kind], call


_KINDS: dict[str, str] = {
    "arena": "an array",
    "scratch": "memory between the stages",
    "packed": "the packed weight",
    "output": "an output",
}
