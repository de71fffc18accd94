"""A plan's calls in numbers: the slots of their arguments, and the rows that the executor walks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import setitem
from typing import NamedTuple

import numpy as np

from ..kernels.machine import whole_lines
from ..plan import (
    Accumulate,
    Call,
    DepthFirstCall,
    KernelCall,
    Memory,
    MergedCall,
    PerGroup,
    Plan,
    Pointer,
    ShareEnd,
)
from .composite_calls import DepthFirst, Merged, Part, Patch, PatchKind, Stage
from .executor import address_of
from .memory import aligned_bytes


class Inside(NamedTuple):
    """What is known of a call's ``calls`` inner calls: whose each stage is, and the slot for the address of the array
    in which the stages' times are counted."""

    calls: int
    stages: tuple[int, ...]
    seconds: int

    def shares(self, counted: np.ndarray) -> list[float]:
        """The inner calls' shares of the time that ``counted`` ``(threads, stages)`` has in all."""
        spent = np.zeros(self.calls)
        np.add.at(spent, list(self.stages), counted.sum(axis=0))
        total = spent.sum()
        return (spent / total if total else np.full(self.calls, 1 / self.calls)).tolist()


class Tables:
    """``rows`` of the calls, first the plan's setup: each a function, the address of its arguments, tasks, and how many
    of them a thread takes at a time. Row ``r`` is of call ``row_calls[r]``, whose rows begin at ``first_row``.

    The slots of ``feeds`` and ``outputs``, by name and by number, are to be filled in at each run, with the address of
    the array and the bytes that come with the slot; those of ``workspaces`` with memory for ``workspace`` bytes a
    thread, those of ``team_sizes`` with the number of threads. ``verdict`` is where calls that try updates say that one
    is not finite. ``inside`` tells of the calls with inner calls, by their number.
    """

    def __init__(self, plan: Plan, arena: np.ndarray) -> None:
        calls = (*plan.setup, *plan.calls)
        self.slots = np.zeros(sum(_size(call) for call in calls), np.int64)
        self.rows: list[tuple[int, int, int, int]] = []
        self.row_calls: list[int] = []
        self.first_row: list[int] = []
        self.feeds: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self.outputs: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self.workspaces: list[int] = []
        self.team_sizes: list[int] = []
        self.workspace = 0
        self.packed: dict[Memory, np.ndarray] = {}
        self.verdict = np.zeros((), np.int64)
        self.inside: dict[int, Inside] = {}
        self._arena = arena
        self._offsets = plan.offsets
        self._keep: list[np.ndarray] = []
        self._code: list[int] = []
        self._used = 0
        for i, call in enumerate(calls):
            self.first_row.append(len(self.rows))
            if isinstance(call, DepthFirstCall):
                self.inside[i] = self._depth_first(call)
            elif isinstance(call, MergedCall):
                self.inside[i] = self._merged(call)
            else:
                start = self._arguments(call)
                for function, tasks in call.stages:
                    self._row(self._function(function), start, tasks, tasks if call.small else 0)
            self.row_calls += [i] * (len(self.rows) - self.first_row[-1])
        self.first_row.append(len(self.rows))

    @property
    def nbytes(self) -> int:
        """Bytes of packed weights."""
        return sum(array.nbytes for array in self.packed.values())

    @contextmanager
    def counting(self, threads: int) -> Iterator[dict[int, np.ndarray]]:
        """Within the block the time of inner calls is counted, in the arrays that are given: those of each call that
        has some, by its number, ``(threads, stages)`` in seconds."""
        counted = {i: np.zeros((threads, len(inside.stages))) for i, inside in self.inside.items()}
        slots = [inside.seconds for inside in self.inside.values()]
        stop = partial(setitem, self.slots, slots, 0)  # one call of a C function, which no signal cuts in two
        try:
            self.slots[slots] = [array.ctypes.data for array in counted.values()]
            yield counted
        finally:
            stop()

    def _row(self, function: int, start: int, tasks: int, grain: int) -> None:
        self.rows.append((function, self._address(start), tasks, grain))

    def _function(self, function: Callable[[], int]) -> int:
        """The address of a kernel's function, whose code the tables own (see :class:`normengine.kernels.code.Code`)."""
        address = function()
        self._code.append(address)
        return address

    def _address(self, slot: int) -> int:
        return self.slots.ctypes.data + 8 * slot

    def _take(self, count: int) -> int:
        self._used += count
        return self._used - count

    def _table(self, rows: Sequence[tuple[int, ...]]) -> int:
        """The address of a table."""
        table = np.array(rows, np.int64)
        self._keep.append(table)
        return table.ctypes.data

    # Calls with inner calls.

    def _depth_first(self, call: DepthFirstCall) -> Inside:
        header = self._take(len(DepthFirst._fields))
        template = self._used
        stages: list[Stage] = []
        patches: list[Patch] = []
        for inner in call.inner:
            first = self._arguments(inner) - template
            stages += [Stage(self._function(function), tasks, first) for function, tasks in inner.stages]
            patches += [p for slot, argument in enumerate(inner.arguments, first) if (p := _patch(slot, argument))]
        slots = self._used - template
        own = whole_lines(8 * slots)
        for patch in patches:
            if patch.kind == PatchKind.OWN:
                self.slots[template + patch.slot] += own
        stride = own + whole_lines(call.local)
        self.slots[header:template] = DepthFirst(
            stages=self._table(stages),
            stage_count=len(stages),
            patches=self._table(patches),
            patch_count=len(patches),
            template=self._address(template),
            slots=slots,
            groups=call.groups,
            chunks=call.chunks,
            memory=0,
            threads=1,
            stride=stride,
            seconds=0,
        )
        self._row(address_of("depth_first"), header, call.chunks, 1)
        self.workspaces.append(header + DepthFirst._fields.index("memory"))
        self.team_sizes.append(header + DepthFirst._fields.index("threads"))
        self.workspace = max(self.workspace, stride)
        owners = tuple(i for i, inner in enumerate(call.inner) for _ in inner.stages)
        return Inside(len(call.inner), owners, header + DepthFirst._fields.index("seconds"))

    def _merged(self, call: MergedCall) -> Inside:
        header = self._take(len(Merged._fields))
        parts: list[Part] = []
        before = 0
        for inner in call.inner:
            ((function, tasks),) = inner.stages
            args = self._address(self._arguments(inner))
            parts.append(Part(self._function(function), args, before, tasks))
            before += tasks
        self.slots[header : header + len(Merged._fields)] = Merged(self._table(parts), len(parts), seconds=0)
        self._row(address_of("merged"), header, before, before if call.small else 0)
        return Inside(len(parts), tuple(range(len(parts))), header + Merged._fields.index("seconds"))

    # Arguments.

    def _arguments(self, call: KernelCall) -> int:
        """Write the arguments down; returns where they begin."""
        start = self._take(len(call.arguments))
        for slot, argument in enumerate(call.arguments, start):
            if isinstance(argument, Pointer):
                self._pointer(slot, argument)
            elif isinstance(argument, float):
                self.slots[slot : slot + 1].view(np.float64)[0] = argument
            elif isinstance(argument, PerGroup):
                self.slots[slot] = argument.number
            elif argument is not None and not isinstance(argument, (Accumulate, ShareEnd)):
                self.slots[slot] = argument
        if call.workspace and call.arguments[call.workspace_slot] is None:
            self.workspaces.append(start + call.workspace_slot)
            self.workspace = max(self.workspace, call.workspace)
        return start

    def _pointer(self, slot: int, pointer: Pointer) -> None:
        memory = pointer.memory
        if memory.kind == "feed":
            self.feeds[memory.name].append((slot, pointer.offset))
        elif memory.kind == "output":
            self.outputs[memory.index].append((slot, pointer.offset))
        elif memory.kind == "constant":
            assert memory.array is not None and memory.array.flags.c_contiguous
            self._keep.append(memory.array)
            self.slots[slot] = memory.array.ctypes.data + pointer.offset
        elif memory.kind == "packed":
            if memory not in self.packed:
                self.packed[memory] = aligned_bytes(memory.nbytes)
            self.slots[slot] = self.packed[memory].ctypes.data + pointer.offset
        elif memory.kind == "verdict":
            self.slots[slot] = self.verdict.ctypes.data
        elif memory.kind == "local":
            self.slots[slot] = self._offsets[memory] + pointer.offset
        else:
            self.slots[slot] = self._arena.ctypes.data + self._offsets[memory] + pointer.offset


def _size(call: Call) -> int:
    """How many slots the call needs."""
    if isinstance(call, KernelCall):
        return len(call.arguments)
    header = DepthFirst if isinstance(call, DepthFirstCall) else Merged
    return len(header._fields) + sum(len(inner.arguments) for inner in call.inner)


def _patch(slot: int, argument: object) -> Patch | None:
    """How an argument is another for each group of images or each thread."""
    if isinstance(argument, Accumulate):
        return Patch(slot, PatchKind.ACCUMULATE)
    if isinstance(argument, ShareEnd):
        return Patch(slot, PatchKind.SHARE_END)
    if isinstance(argument, PerGroup):
        return Patch(slot, PatchKind.MOVING, argument.group_stride)
    if isinstance(argument, Pointer) and argument.memory.kind == "local":
        return Patch(slot, PatchKind.OWN)
    if isinstance(argument, Pointer) and (argument.group_stride or argument.chunk_stride):
        return Patch(slot, PatchKind.MOVING, argument.group_stride, argument.chunk_stride)
    return None
