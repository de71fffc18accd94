"""Running one kernel by hand, as an executor would, with every array between guard zones."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from channel_blocks import from_blocks, to_blocks

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel, Problem
from normengine.kernels.blocks import blocked_shape
from normengine.ops import OPS

C_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
GUARD = 1024
"""Bytes before and after every array."""
WRITTEN = 0x7FC0ABCD
"""The bits of a NaN that guards and unwritten memory hold."""

Arrays = Sequence[np.ndarray]
Order = Callable[[int], Sequence[tuple[int, int, int]]]


class Guarded:
    """Memory of an exact size between two guard zones, all of it NaN at first: what is written there is noticed, and
    what is read there and used spoils the result. ``alignment`` is in bytes."""

    def __init__(self, nbytes: int, alignment: int = 64) -> None:
        self._words = -(-nbytes // 4)
        self._raw: np.ndarray = np.full(self._words + GUARD // 2 + 16, WRITTEN, np.uint32)
        self._start = GUARD // 4 + (-self._raw.ctypes.data % 64) // 4
        self.address = self._raw.ctypes.data + 4 * self._start

    def array(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        words = self._raw[self._start : self._start + self._words]
        return words.view(dtype).reshape(shape)

    def intact(self) -> bool:
        outside = self._raw[: self._start], self._raw[self._start + self._words :]
        return all(bool((part == WRITTEN).all()) for part in outside)


class Fenced(Guarded):
    """As :class:`Guarded`, with pages that may not be touched behind the array, or before it: whoever reads beyond the
    array, even without using what is there, ends the process. POSIX only."""

    behind = True
    """Whether the next one made has its fence behind the array or before it."""

    def __init__(self, nbytes: int, alignment: int = 64) -> None:
        self._words = -(-nbytes // 4)
        inside = -(-(4 * self._words + 64) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._pages = mmap.mmap(-1, inside + 2 * mmap.PAGESIZE)
        self._raw = np.frombuffer(self._pages, np.uint32)[mmap.PAGESIZE // 4 : (mmap.PAGESIZE + inside) // 4]
        self._raw[...] = WRITTEN
        step = alignment // 4
        room = inside // 4 - self._words
        self._start = room // step * step if Fenced.behind else 0
        self.address = self._raw.ctypes.data + 4 * self._start
        for fence in (self._raw.ctypes.data - mmap.PAGESIZE, self._raw.ctypes.data + inside):
            if ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(mmap.PAGESIZE), 0):
                raise OSError("mprotect refused to protect a page")


class Heap(Guarded):
    """As :class:`Guarded`, from the C library's allocator: where AddressSanitizer has taken its place, every access
    beyond the array ends the process. POSIX only."""

    def __init__(self, nbytes: int, alignment: int = 64) -> None:
        library, place = ctypes.CDLL(None), ctypes.c_void_p()
        step, size = ctypes.c_size_t(max(alignment, 8)), ctypes.c_size_t(nbytes)
        if library.posix_memalign(ctypes.byref(place), step, size) or not place.value:
            raise MemoryError(f"posix_memalign refused {nbytes} bytes")
        self.address, self._words, self._start = place.value, -(-nbytes // 4), 0
        self._raw = np.ctypeslib.as_array((ctypes.c_uint32 * self._words).from_address(self.address))
        self._raw[: nbytes // 4] = WRITTEN
        weakref.finalize(self, library.free, ctypes.c_void_p(self.address))


def whole(tasks: int) -> list[tuple[int, int, int]]:
    """All the tasks in one call: ``(begin, end, thread)``."""
    return [(0, tasks, 0)]


def scattered(tasks: int) -> list[tuple[int, int, int]]:
    """Calls of unequal length, the last first, on alternating threads."""
    calls: list[tuple[int, int, int]] = []
    begin = 0
    while begin < tasks:
        end = min(tasks, begin + 1 + len(calls) % 3)
        calls.append((begin, end, len(calls) % 2))
        begin = end
    return calls[::-1]


def problem_of(op: str, arrays: Arrays, attrs: Mapping[str, Any]) -> Problem:
    specs = [Spec.of(a) for a in arrays]
    inputs = REGISTRY.signatures[op].arranged([s.shape for s in specs], attrs)
    return Problem(op, inputs, tuple(s.shape for s in OPS[op].infer(specs, attrs)), attrs)


def error_bounds(kernel: Kernel, arrays: Arrays, attrs: Mapping[str, Any]) -> list[float]:
    """How far each output of ``kernel`` may be from the reference: its tolerance, or the operator's, times the largest
    magnitude of the reference, as it is before a clamp."""
    op = OPS[kernel.op]
    with np.errstate(all="ignore"):
        results = op.reference(arrays, {k: v for k, v in attrs.items() if k != "clamp"})
    largest = [float(np.abs(want[np.isfinite(want)]).max(initial=0.0)) for want in results]
    return [(kernel.tolerance or op.tolerance) * max(1.0, magnitude) for magnitude in largest]


def run_kernel(
    kernel: Kernel,
    arrays: Arrays,
    attrs: Mapping[str, Any],
    order: Order = whole,
    pack_alone: bool = False,
    memory: type[Guarded] = Guarded,
) -> tuple[np.ndarray, ...]:
    """The outputs of ``kernel`` on the operator's inputs; fails when it writes outside what it was given or changes an
    input. Arrays come and go as the operator has them; the kernel gets those in blocks that it wants so.

    ``pack_alone`` runs the first stage with nothing but the inputs that the kernel packs.
    """
    return run_problem(kernel, problem_of(kernel.op, arrays, attrs), arrays, order, pack_alone, memory)


def run_problem(
    kernel: Kernel,
    problem: Problem,
    arrays: Arrays,
    order: Order = whole,
    pack_alone: bool = False,
    memory: type[Guarded] = Guarded,
) -> tuple[np.ndarray, ...]:
    """As :func:`run_kernel`, of kernels that no operator has too."""
    signature = REGISTRY.signatures[kernel.op]
    given = signature.arranged(arrays, problem.attrs)
    held_arrays = [
        None if a is None else _held(kernel, name, a) for name, a in zip(signature.inputs, given, strict=True)
    ]
    launch = kernel.launch(problem)
    stride = -(-launch.workspace // 64) * 64
    inputs = [None if a is None else _memory_of(a, memory) for a in held_arrays]
    made = [
        blocked_shape(shape, kernel.width) if name in kernel.blocked else shape
        for name, shape in zip(signature.outputs, problem.outputs, strict=True)
    ]
    outputs = [memory(4 * int(np.prod(shape)), 4) for shape in made]
    scratch, workspace = memory(launch.scratch), memory(stride + launch.workspace)
    pointers = [held.address if held is not None else 0 for held in inputs]
    memories = [held.address for held in outputs] + [scratch.address, workspace.address, stride]
    bits = _bits([*signature.values(problem), *launch.numbers])
    for number, (stage, tasks) in enumerate(zip(kernel.stages, launch.tasks, strict=True)):
        slots = np.array(pointers + memories + bits, np.int64)
        if pack_alone and number == 0:
            slots[: len(pointers)] *= [name in kernel.packs for name in signature.inputs]
            slots[len(pointers) : len(pointers) + len(outputs)] = 0
        function = C_KERNEL(stage())
        for begin, end, thread in order(tasks):
            function(slots.ctypes.data, begin, end, thread)
    assert all(map(_unchanged, inputs, held_arrays)), f"{kernel.name} wrote to an input"
    assert all(held.intact() for held in outputs), f"{kernel.name} wrote outside its outputs"
    assert scratch.intact() and workspace.intact(), f"{kernel.name} wrote outside its scratch memory"
    results = [held.array(shape).copy() for held, shape in zip(outputs, made, strict=True)]
    return tuple(
        _logical(kernel, name, array, shape)
        for name, array, shape in zip(signature.outputs, results, problem.outputs, strict=True)
    )


def run_groups(
    kernel: Kernel,
    arrays: Arrays,
    attrs: Mapping[str, Any],
    groups: int,
    chunks: int,
    memory: type[Guarded] = Guarded,
) -> tuple[np.ndarray, ...]:
    """The outputs of a kernel that sums over images, taken in so many equal groups of them and chunks of groups, whose
    turns alternate as if each chunk had a thread."""
    assert kernel.partial_sums
    signature = REGISTRY.signatures[kernel.op]
    images = len(arrays[0]) // groups
    problem = problem_of(kernel.op, [a[:images] for a in arrays], attrs)._replace(single_thread=True)
    sums, merge = kernel.partial_sums.group(problem), kernel.partial_sums.merge(problem, chunks)
    held_arrays = [_held(kernel, name, a) for name, a in zip(signature.inputs, arrays, strict=True)]
    inputs = [_memory_of(a, memory) for a in held_arrays]
    outputs = [memory(4 * int(np.prod(shape)), 4) for shape in problem.outputs]
    scratch, workspaces = memory(chunks * sums.scratch), [memory(sums.workspace) for _ in range(chunks)]
    run, finish = (C_KERNEL(stage()) for stage in kernel.stages)
    starts = [groups * chunk // chunks for chunk in range(chunks + 1)]
    for turn in range(-(-groups // chunks)):
        for chunk, workspace in enumerate(workspaces):
            group = starts[chunk] + turn
            if group == starts[chunk + 1]:
                continue
            pointers = [
                held.address + group * (array.nbytes // groups) for held, array in zip(inputs, held_arrays, strict=True)
            ]
            memories = [scratch.address + chunk * sums.scratch, workspace.address, 0]
            accumulating = sums._replace(extra=sums.extra._replace(accumulate=int(turn > 0)))
            numbers = _bits([*signature.values(problem), *accumulating.numbers])
            slots = np.array([*pointers, *(0 for _ in outputs), *memories, *numbers], np.int64)
            run(slots.ctypes.data, 0, sums.tasks[0], chunk)
    workspace = memory(merge.workspace)
    memories = [*(held.address for held in outputs), scratch.address, workspace.address, 0]
    numbers = _bits([*signature.values(problem), *merge.numbers])
    slots = np.array([*(0 for _ in inputs), *memories, *numbers], np.int64)
    finish(slots.ctypes.data, 0, merge.tasks[0], 0)
    assert all(map(_unchanged, inputs, held_arrays)), f"{kernel.name} wrote to an input"
    assert all(held.intact() for held in outputs), f"{kernel.name} wrote outside its outputs"
    assert all(held.intact() for held in (scratch, workspace, *workspaces)), f"{kernel.name} wrote outside its sums"
    return tuple(held.array(shape).copy() for held, shape in zip(outputs, problem.outputs, strict=True))


def _bits(numbers: Sequence[int | float]) -> list[int]:
    """Numbers as they lie in slots."""
    return [int(np.float64(v).view(np.int64)) if isinstance(v, float) else int(v) for v in numbers]


def _unchanged(held: Guarded | None, array: np.ndarray | None) -> bool:
    """Whether the memory of an input, None for one that is absent, still holds the array."""
    if held is None or array is None:
        return True
    same = np.array_equal(held.array(array.shape, array.dtype), array, equal_nan=array.dtype.kind == "f")
    return held.intact() and same


def _memory_of(array: np.ndarray, memory: type[Guarded]) -> Guarded:
    """Memory that holds a copy of the array."""
    held = memory(array.nbytes, array.itemsize)
    held.array(array.shape, array.dtype)[...] = array
    return held


def _held(kernel: Kernel, name: str, array: np.ndarray) -> np.ndarray:
    """The array as the kernel wants it in memory."""
    return to_blocks(array, kernel.width) if name in kernel.blocked else array


def _logical(kernel: Kernel, name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An output as the operator has it, after a look at the lanes that hold no channel."""
    if name not in kernel.blocked:
        return array
    plain = from_blocks(array, array.shape[1] * kernel.width)
    assert not plain[:, shape[1] :].view(np.uint32).any(), f"{kernel.name} wrote to lanes behind the channels of {name}"
    return np.ascontiguousarray(plain[:, : shape[1]])
