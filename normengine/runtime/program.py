"""Programs: a plan in memory, with addresses in place of names, one arena, and the executor that walks the calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import is_

import numpy as np

from ..compiling import DEFAULT, CompileOptions
from ..graph import Graph, Spec
from ..locks import is_held, new_lock
from ..passes import prepare
from ..plan import Call, Plan, make_plan
from .executor import Counters, Executor, all_writeable, data_address
from .memory import aligned_bytes, check_memory, new_array
from .tables import Tables
from .threads import get_num_threads


def compile_graph(
    graph: Graph, options: CompileOptions = DEFAULT, *, tried: bool = False, threads: int | None = None
) -> Program:
    """The program of ``graph``: prepared by the passes, planned, in memory.

    With ``tried`` the program finds out whether all that it stores is finite before it stores any of it. ``threads`` is
    how many it runs on, by default as many as the process's programs do.
    """
    return Program(make_plan(prepare(graph, options.without), options, tried), threads)


class Program:
    """Runs a plan over and over. One run at a time; others wait for it, but for one that a signal handler or finalizer
    starts within it: that has a program of its own.

    Raises ValueError if it would own more memory than the machine has or the system gives.
    """

    def __init__(self, plan: Plan, threads: int | None = None) -> None:
        self.plan = plan
        self._threads = threads
        check_memory(plan, self.threads)
        self._lock = new_lock()
        self._is_running = partial(is_held, self._lock)
        self._arena = aligned_bytes(plan.arena_bytes)
        self._tables = Tables(plan, self._arena)
        self._workspace_threads = self._team_size = 0
        given = (*plan.graph.inputs, *plan.graph.state)
        self._specs = {v.name: (v.spec, v.shape, np.dtype(v.dtype)) for v in given}
        self._stored = {old.name for old, _ in plan.graph.updates}
        # State and scalars are arrays that mostly are those of the run before; of others none is held on to.
        self._kept = [v.name for v in plan.graph.state] + [v.name for v in plan.graph.inputs if not v.shape]
        self._given = [v.name for v in plan.graph.inputs if v.shape]
        self._results = [(v.shape, np.dtype(v.dtype)) for v in plan.graph.outputs]
        self._bound: list[np.ndarray] | None = None
        self._written: list[np.ndarray] = []

        first_row = self._tables.first_row
        self._executor = Executor(np.array(self._tables.rows, np.int64).reshape(-1, 4))
        self._begin = first_row[len(plan.setup)]
        self._guard = first_row[len(plan.setup) + plan.guard]
        self._end = first_row[-1]
        if plan.setup:
            self._executor.run(0, self._begin, self._team())

    def __str__(self) -> str:
        return str(self.plan)

    @property
    def programs(self) -> tuple[Program, ...]:
        """This one: the programs that a batch runs on, as :class:`~.microbatches.MicrobatchedProgram` has several."""
        return (self,)

    @property
    def threads(self) -> int:
        """How many threads the next run has."""
        return get_num_threads() if self._threads is None else self._threads

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of state and scalars, whose arrays mostly are those of the run before."""
        return tuple(self._kept)

    @property
    def finite(self) -> bool:
        """Whether all is finite that the last run was to store, as far as that was tried; known when ``check`` is
        called."""
        return not self._tables.verdict

    @property
    def nbytes(self) -> int:
        """Bytes that the program owns from run to run: its arena, packed weights, and the threads' workspaces."""
        tables = self._tables
        return self._arena.nbytes + tables.nbytes + tables.workspace * self._workspace_threads

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        check: Callable[[np.ndarray], None] | None = None,
        counters: Counters | None = None,
        kept: Sequence[np.ndarray] = (),
    ) -> list[np.ndarray]:
        """Run once and return fresh arrays for the outputs.

        ``feeds`` holds a C-contiguous array of exactly the declared shape and dtype for every graph input and state
        value, by name; arrays that the graph updates are changed in place. ``check`` is called with output 0 before
        the first of them is changed; if it raises, none is. ``counters`` are one more when
        state has changed: no signal handler sees the one without the other. Arrays that ``kept`` gives, in the order of
        :attr:`kept`, are not looked for in ``feeds``.
        """
        if self._is_running():
            return Program(self.plan, self._threads).run(feeds, check, counters, kept)
        counted = () if counters is None else (counters,)
        with self._lock:
            results = self._bind(feeds, kept)
            threads = self._team()
            if check is None:
                self._executor.run(self._begin, self._end, threads, *counted)
            else:
                self._tables.verdict[()] = 0
                self._executor.run(self._begin, self._guard, threads)
                check(results[0])
                self._executor.run(self._guard, self._end, threads, *counted)
            return results

    def run_alike(self, feeds: object) -> list[np.ndarray] | None:
        """As :meth:`run`, if ``feeds`` is a dict of just the arrays that this program takes; else None, and nothing has
        run.

        What Python does between two runs begins with empty caches, so that each of its steps costs microseconds: of a
        small network this looks at every array once.
        """
        if type(feeds) is not dict or len(feeds) != len(self._given) or self._kept or self._is_running():
            return None
        with self._lock:
            for name in self._given:
                array = feeds.get(name)
                if type(array) is not np.ndarray or not self._fits(name, array):
                    return None
                self._point(self._tables.feeds[name], data_address(array))
            results = self._outputs()
            self._executor.run(self._begin, self._end, self._team())
            return results

    def profile(self, feeds: Mapping[str, np.ndarray]) -> list[tuple[Call, float]]:
        """Run once and return every call with its time in seconds; in place of one with inner calls, those.

        What the threads spent in each of them divides the time of the whole.
        """
        if self._is_running():
            return Program(self.plan, self._threads).profile(feeds)
        with self._lock:
            results = self._bind(feeds)
            threads = self._team()
            with self._tables.counting(threads) as counted:
                seconds = self._executor.profile(self._begin, self._end, threads)
            del results
        spent = np.zeros(len(self.plan.setup) + len(self.plan.calls))
        np.add.at(spent, self._tables.row_calls[self._begin :], seconds)
        timed: list[tuple[Call, float]] = []
        for i, call in enumerate(self.plan.calls, len(self.plan.setup)):
            shares = self._tables.inside[i].shares(counted[i]) if call.inner else [1.0]
            timed += [(each, share * float(spent[i])) for each, share in zip(call.each(), shares, strict=True)]
        return timed

    def release(self) -> None:
        """Let go of the arrays of the last run that the program holds on to, so that it need not look at them again."""
        with self._lock:
            self._bound, self._written = None, []

    def _bind(self, feeds: Mapping[str, np.ndarray], kept: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
        """Point the slots to the arrays that were given and to fresh ones for the outputs, which are returned."""
        bound = self._bound
        given = kept or map(feeds.get, self._kept)
        if bound is None or not all(map(is_, given, bound)) or not all_writeable(self._written):
            self._bound = None
            found = dict(zip(self._kept, kept, strict=True)) if kept else feeds
            arrays = [self._checked(name, found) for name in self._kept]
            for name, array in zip(self._kept, arrays, strict=True):
                self._point(self._tables.feeds[name], data_address(array))
            self._written = [a for name, a in zip(self._kept, arrays, strict=True) if name in self._stored]
            self._bound = arrays
        for name in self._given:
            self._point(self._tables.feeds[name], data_address(self._checked(name, feeds)))
        return self._outputs()

    def _outputs(self) -> list[np.ndarray]:
        """Fresh arrays for the outputs, to which their slots point."""
        results = [new_array(shape, dtype) for shape, dtype in self._results]
        for index, slots in self._tables.outputs.items():
            self._point(slots, data_address(results[index]))
        return results

    def _checked(self, name: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The array given for an input or state value, if kernels can work on it."""
        spec = self._specs[name][0]
        array = feeds.get(name)
        if array is None:
            raise ValueError(f"program: '{name}' ({spec}) was not given")
        if not self._fits(name, array):
            raise ValueError(
                f"program: '{name}' must be a C-contiguous, aligned {spec}, got {Spec.of(array)}{_layout(array)}"
            )
        if name in self._stored and not array.flags.writeable:
            raise ValueError(f"program: '{name}' is updated, but its array is read-only")
        return array

    def _fits(self, name: str, array: np.ndarray) -> bool:
        """Whether the array is as declared, and lies in memory as kernels read it."""
        _, shape, dtype = self._specs[name]
        flags = array.flags
        return array.shape == shape and array.dtype == dtype and flags.c_contiguous and flags.aligned

    def _point(self, slots: list[tuple[int, int]], address: int) -> None:
        for slot, offset in slots:
            self._tables.slots[slot] = address + offset

    def _team(self) -> int:
        """How many threads run this time; there is workspace for so many."""
        threads = get_num_threads() if self._threads is None else self._threads
        if self._tables.workspace and threads > self._workspace_threads:
            # In this order, so that whatever a signal cuts off is done again.
            self._workspace_threads = 0
            self._workspace = aligned_bytes(self._tables.workspace * threads)
            self._tables.slots[self._tables.workspaces] = self._workspace.ctypes.data
            self._workspace_threads = threads
        if threads != self._team_size:
            self._tables.slots[self._tables.team_sizes] = threads
            self._team_size = threads
        return threads


def _layout(array: np.ndarray) -> str:
    """What of an array's memory a kernel cannot read."""
    found = {
        "not contiguous": not array.flags.c_contiguous,
        "not aligned": not array.flags.aligned,
        "in the other byte order": not array.dtype.isnative,
    }
    return "".join(f", {what}" for what, is_so in found.items() if is_so)
