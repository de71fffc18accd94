"""Running one kernel by hand, as an executor would, with every array between guard zones."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel, Problem
from normengine.ops import OPS

C_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
GUARD = 1024
"""Bytes before and after every array."""
WRITTEN = 0x7FC0ABCD
"""The bits of a NaN that guards and unwritten memory hold."""

Arrays = Sequence[np.ndarray | None]
Order = Callable[[int], Sequence[tuple[int, int, int]]]


class Guarded:
    """Memory of an exact size between two guard zones, all of it NaN at first."""

    def __init__(self, nbytes: int) -> None:
        words = -(-nbytes // 4)
        self._raw = np.full((nbytes % 4 > 0) + words + GUARD // 2 + 16, WRITTEN, np.uint32)
        self._start = GUARD // 4 + (-self._raw.ctypes.data % 64) // 4
        self._end = self._start + words
        self.address = self._raw.ctypes.data + 4 * self._start

    def array(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        words = self._raw[self._start : self._end]
        return words.view(dtype).reshape(shape)

    def intact(self) -> bool:
        return bool((self._raw[: self._start] == WRITTEN).all() and (self._raw[self._end :] == WRITTEN).all())


def whole(tasks: int) -> list[tuple[int, int, int]]:
    """All the tasks in one call: ``(begin, end, thread)``."""
    return [(0, tasks, 0)]


def scattered(tasks: int) -> list[tuple[int, int, int]]:
    """Calls of unequal length, the last first, on alternating threads."""
    calls, begin = [], 0
    while begin < tasks:
        end = min(tasks, begin + 1 + len(calls) % 3)
        calls.append((begin, end, len(calls) % 2))
        begin = end
    return calls[::-1]


def problem_of(op: str, arrays: Arrays, attrs: Mapping[str, Any]) -> Problem:
    present = [Spec.of(a) for a in arrays if a is not None]
    inputs = tuple(None if a is None else a.shape for a in arrays)
    inputs += (None,) * (len(REGISTRY.signatures[op].inputs) - len(inputs))
    return Problem(op, inputs, tuple(s.shape for s in OPS[op].infer(present, attrs)), attrs)


def run_kernel(
    kernel: Kernel, arrays: Arrays, attrs: Mapping[str, Any], order: Order = whole, pack_alone: bool = False
) -> tuple[np.ndarray, ...]:
    """The outputs of ``kernel``; fails when it writes outside what it was given or changes an input.

    ``pack_alone`` runs the first stage with nothing but the inputs that the kernel packs.
    """
    problem = problem_of(kernel.op, arrays, attrs)
    signature = REGISTRY.signatures[kernel.op]
    launch = kernel.launch(problem)
    stride = -(-launch.workspace // 64) * 64
    inputs = [None if a is None else Guarded(a.nbytes) for a in arrays]
    for memory, array in zip(inputs, arrays):
        if memory is not None and array is not None:
            memory.array(array.shape, array.dtype)[...] = array
    outputs = [Guarded(4 * int(np.prod(shape))) for shape in problem.outputs]
    scratch, workspace = Guarded(launch.scratch), Guarded(stride + launch.workspace)
    pointers = [memory.address if memory is not None else 0 for memory in inputs]
    pointers += [0] * (len(signature.inputs) - len(pointers))
    memories = [memory.address for memory in outputs] + [scratch.address, workspace.address, stride]
    numbers = [*signature.values(problem), *launch.extra]
    bits = [int(np.float64(v).view(np.int64)) if isinstance(v, float) else int(v) for v in numbers]
    for number, (stage, tasks) in enumerate(zip(kernel.stages, launch.tasks, strict=True)):
        slots = np.array(pointers + memories + bits, np.int64)
        if pack_alone and number == 0:
            slots[: len(pointers)] *= [name in kernel.packs for name in signature.inputs]
            slots[len(pointers) : len(pointers) + len(outputs)] = 0
        function = C_KERNEL(stage())
        for begin, end, thread in order(tasks):
            function(slots.ctypes.data, begin, end, thread)
    for memory, array in zip(inputs, arrays):
        if memory is not None and array is not None:
            assert memory.intact() and np.array_equal(
                memory.array(array.shape, array.dtype), array, equal_nan=array.dtype.kind == "f"
            ), f"{kernel.name} wrote to an input"
    assert all(memory.intact() for memory in outputs), f"{kernel.name} wrote outside its outputs"
    assert scratch.intact() and workspace.intact(), f"{kernel.name} wrote outside its scratch memory"
    return tuple(memory.array(shape).copy() for memory, shape in zip(outputs, problem.outputs))


@pytest.fixture(name="run_kernel")
def _run_kernel() -> Callable[..., tuple[np.ndarray, ...]]:
    return run_kernel


@pytest.fixture(name="scattered")
def _scattered() -> Order:
    return scattered
