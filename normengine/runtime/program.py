"""A plan in memory: addresses in place of names, one arena, and the executor that walks the calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from operator import is_

import numpy as np

from ..graph import Graph, Spec
from ..passes import prepare, switched_off
from ..passes.pipeline import BLOCKS
from ..plan import Call, Memory, Plan, Pointer, make_plan
from .executor import Executor
from .locks import ForkSafeLock
from .threads import get_num_threads

_ALIGNMENT = 64


def compile_graph(graph: Graph, without: Collection[str] = ()) -> Program:
    """The program of ``graph``: prepared by the passes but those named by ``without``, planned, in memory.

    Raises ValueError for a name that no pass has (see :mod:`normengine.passes.pipeline`).
    """
    off = switched_off(without)
    return Program(make_plan(prepare(graph, off), blocks=BLOCKS not in off))


def aligned_bytes(size: int) -> np.ndarray:
    """``size`` bytes that begin at a multiple of 64."""
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size]


class Program:
    """Runs a plan over and over. One run at a time; others wait for it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lock = ForkSafeLock()
        self._arena = aligned_bytes(plan.arena_bytes)
        self._packed: dict[Memory, np.ndarray] = {}
        self._keep: list[np.ndarray] = []
        self._patches: dict[str, list[tuple[int, int]]] = {}
        self._outputs: dict[int, list[tuple[int, int]]] = {}
        self._workspace_slots: list[int] = []
        self._workspace_bytes = max((c.workspace for c in (*plan.setup, *plan.calls)), default=0)
        self._workspace_threads = 0
        given = (*plan.graph.inputs, *plan.graph.state)
        self._specs = {v.name: (v.spec, v.shape, np.dtype(v.dtype)) for v in given}
        self._stored = {old.name for old, _ in plan.graph.updates}
        # State and scalars are arrays that mostly are those of the run before; of others none is held on to.
        self._kept = [v.name for v in plan.graph.state] + [v.name for v in plan.graph.inputs if not v.shape]
        self._given = [v.name for v in plan.graph.inputs if v.shape]
        self._bound: list[np.ndarray] | None = None

        calls = (*plan.setup, *plan.calls)
        starts = np.cumsum([0] + [len(c.arguments) for c in calls])
        self._slots = np.zeros(int(starts[-1]), np.int64)
        rows: list[tuple[int, int, int, int]] = []
        self._first_row: list[int] = []
        self._row_calls: list[int] = []
        for i, (call, start) in enumerate(zip(calls, starts, strict=False)):
            self._write(call, int(start))
            self._first_row.append(len(rows))
            for address, tasks in call.stages:
                rows.append((address(), self._slots.ctypes.data + 8 * int(start), tasks, tasks if call.small else 0))
                self._row_calls.append(i)
        self._first_row.append(len(rows))
        self._executor = Executor(np.array(rows, np.int64).reshape(-1, 4))
        self._begin = self._first_row[len(plan.setup)]
        self._guard = self._first_row[len(plan.setup) + plan.guard]
        self._end = len(rows)
        if plan.setup:
            self._executor.run(0, self._begin, self._team())

    def __str__(self) -> str:
        return str(self.plan)

    @property
    def programs(self) -> tuple[Program, ...]:
        """This one: the programs that a batch runs on, as :class:`~.parts.ProgramOfParts` has several."""
        return (self,)

    @property
    def nbytes(self) -> int:
        """Bytes that the program owns from run to run: its arena, packed weights, and the threads' workspaces."""
        packed = sum(array.nbytes for array in self._packed.values())
        return self._arena.nbytes + packed + self._workspace_bytes * self._workspace_threads

    def run(
        self, feeds: Mapping[str, np.ndarray], check: Callable[[np.ndarray], None] | None = None
    ) -> list[np.ndarray]:
        """Run once and return fresh arrays for the outputs.

        ``feeds`` holds a C-contiguous array of exactly the declared shape and dtype for every graph input and state
        value, by name; arrays that the graph updates are changed in place. ``check`` is called with output 0 as soon
        as that is known; if it raises, nothing after it runs, so that no state has changed.
        """
        with self._lock:
            results = self._bind(feeds)
            threads = self._team()
            if check is None:
                self._executor.run(self._begin, self._end, threads)
            else:
                self._executor.run(self._begin, self._guard, threads)
                check(results[0])
                self._executor.run(self._guard, self._end, threads)
            return results

    def profile(self, feeds: Mapping[str, np.ndarray]) -> list[tuple[Call, float]]:
        """Run once and return every call with its time in seconds."""
        with self._lock:
            results = self._bind(feeds)
            seconds = self._executor.profile(self._begin, self._end, self._team())
            del results
        spent = [0.0] * len(self.plan.calls)
        for row, value in zip(range(self._begin, self._end), seconds, strict=True):
            spent[self._row_calls[row] - len(self.plan.setup)] += float(value)
        return list(zip(self.plan.calls, spent, strict=True))

    def release(self) -> None:
        """Let go of the arrays of the last run that the program holds on to, so that it need not look at them again."""
        with self._lock:
            self._bound = None

    def _write(self, call: Call, start: int) -> None:
        for i, argument in enumerate(call.arguments, start):
            if isinstance(argument, Pointer):
                self._write_pointer(i, argument)
            elif isinstance(argument, float):
                self._slots[i : i + 1].view(np.float64)[0] = argument
            elif argument is not None:
                self._slots[i] = argument
        if call.workspace:
            self._workspace_slots.append(start + call.workspace_slot)

    def _write_pointer(self, slot: int, pointer: Pointer) -> None:
        memory = pointer.memory
        if memory.kind == "feed":
            self._patches.setdefault(memory.name, []).append((slot, pointer.offset))
        elif memory.kind == "output":
            self._outputs.setdefault(memory.index, []).append((slot, pointer.offset))
        elif memory.kind == "constant":
            assert memory.array is not None and memory.array.flags.c_contiguous
            self._keep.append(memory.array)
            self._slots[slot] = memory.array.ctypes.data + pointer.offset
        elif memory.kind == "packed":
            if memory not in self._packed:
                self._packed[memory] = aligned_bytes(memory.nbytes)
            self._slots[slot] = self._packed[memory].ctypes.data + pointer.offset
        else:
            self._slots[slot] = self._arena.ctypes.data + self.plan.offsets[memory] + pointer.offset

    def _bind(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Point the slots to the arrays that were given and to fresh ones for the outputs, which are returned."""
        if self._bound is None or not all(map(is_, map(feeds.get, self._kept), self._bound)):
            self._bound = None
            arrays = [self._checked(name, feeds) for name in self._kept]
            for name, array in zip(self._kept, arrays, strict=True):
                self._point(self._patches.get(name, []), array.ctypes.data)
            self._bound = arrays
        for name in self._given:
            self._point(self._patches.get(name, []), self._checked(name, feeds).ctypes.data)
        results = [np.empty(v.shape, v.dtype) for v in self.plan.graph.outputs]
        for index, slots in self._outputs.items():
            self._point(slots, results[index].ctypes.data)
        return results

    def _checked(self, name: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The array given for an input or state value, if kernels can work on it."""
        spec, shape, dtype = self._specs[name]
        array = feeds.get(name)
        if array is None:
            raise ValueError(f"program: '{name}' ({spec}) was not given")
        flags = array.flags
        if array.dtype != dtype or array.shape != shape or not (flags.c_contiguous and flags.aligned):
            raise ValueError(
                f"program: '{name}' must be a C-contiguous, aligned {spec}, got {Spec.of(array)}{_layout(array)}"
            )
        if name in self._stored and not flags.writeable:
            raise ValueError(f"program: '{name}' is updated, but its array is read-only")
        return array

    def _point(self, slots: list[tuple[int, int]], address: int) -> None:
        for slot, offset in slots:
            self._slots[slot] = address + offset

    def _team(self) -> int:
        """How many threads run this time; there is workspace for so many."""
        threads = get_num_threads()
        if self._workspace_bytes and threads > self._workspace_threads:
            self._workspace = aligned_bytes(self._workspace_bytes * threads)
            self._workspace_threads = threads
            for slot in self._workspace_slots:
                self._slots[slot] = self._workspace.ctypes.data
        return threads


def _layout(array: np.ndarray) -> str:
    """What of an array's memory a kernel cannot read."""
    found = {
        "not contiguous": not array.flags.c_contiguous,
        "not aligned": not array.flags.aligned,
        "in the other byte order": not array.dtype.isnative,
    }
    return "".join(f", {what}" for what, is_so in found.items() if is_so)
