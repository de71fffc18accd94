"""What a plan is: a flat list of kernel calls over named memory, still without an address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..graph import Graph


@dataclass(frozen=True, eq=False)
class Memory:
    """One stretch of memory. ``kind`` says where it comes from:

    - ``arena``: at ``offset`` in the program's arena;
    - ``feed``: given at each run under ``name`` (a graph input or a state value);
    - ``output``: made fresh at each run, the output number ``index``;
    - ``constant``: ``array``, shared by all programs;
    - ``packed``: the program's own, filled once by the plan's ``setup`` calls;
    - ``scratch``: as arena, shared by the stages of one kernel;
    - ``local``: at ``offset`` in the memory that a thread has for the groups of a depth-first call.
    """

    kind: str
    nbytes: int
    name: str = ""
    index: int = 0
    array: np.ndarray | None = None


@dataclass(frozen=True)
class Pointer:
    """An argument slot that holds an address: ``offset`` bytes into ``memory``.

    In a depth-first call it moves ``a_group`` bytes further for each group of images and ``a_chunk`` for each chunk.
    """

    memory: Memory
    offset: int = 0
    a_group: int = 0
    a_chunk: int = 0


@dataclass(frozen=True)
class Moving:
    """An argument slot of a depth-first call that holds a number: ``a_group`` more for each group of images."""

    number: int
    a_group: int


@dataclass(frozen=True)
class Later:
    """An argument slot of a depth-first call: 0 for the first group of a chunk, 1 for the others."""


@dataclass(frozen=True)
class Workspace:
    """The two slots of a kernel's memory for each thread: where it begins, and bytes a thread."""

    nbytes: int


Argument = Pointer | Moving | Later | int | float | None


@dataclass(frozen=True)
class Call:
    """One kernel on one problem: its stages run over the same arguments, one after the other.

    ``stages`` are (address, tasks) pairs; the address comes from a function, so that a plan can be made and looked at
    before anything is compiled. ``arguments`` are the slots as the kernel's signature orders them. ``small`` says that
    one thread had better do all the tasks, ``why`` says what else than ``kernel`` there was.

    ``kind`` is the kind of operator that the time of the call counts for (see :mod:`.effort`). ``flops`` are the
    operations of the direct way to compute the results, a multiply-add being two; ``nbytes`` those of each input, read
    once, and of each output, written once.

    A depth-first call has no stages but ``inner`` calls, each for a group of the batch's images. A thread does all of
    them for one group after the other of a chunk; ``chunks`` of ``groups`` are handed out to the threads, each of which
    has ``local`` bytes for what is made and read within a group.
    """

    op: str
    kernel: str
    layer: str
    stages: tuple[tuple[Callable[[], int], int], ...]
    arguments: tuple[Argument, ...]
    workspace: int = 0
    workspace_slot: int = -1
    shapes: str = ""
    small: bool = False
    why: Callable[[], str] = lambda: "elementwise nodes in one loop, compiled by Numba"
    kind: str = "elementwise"
    flops: int = 0
    nbytes: int = 0
    inner: tuple[Call, ...] = ()
    groups: int = 0
    chunks: int = 0
    local: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything that a program needs: ``calls`` in order (``setup`` once, before the first run), and how memory is
    laid out. ``guard`` is the index of the first call after the one that makes output 0."""

    graph: Graph
    calls: tuple[Call, ...]
    setup: tuple[Call, ...]
    arena_bytes: int
    offsets: dict[Memory, int] = field(repr=False)
    guard: int = 0

    def __str__(self) -> str:
        kernels = max((len(c.kernel) for c in self.calls), default=0)
        shapes = max((len(c.shapes) for c in self.calls), default=0)
        rows = [f"{'kernel':{kernels}}  {'shapes':{shapes}}  {'MiB':>8}  {'MFLOP':>9}  layer"]
        for c in self.calls:
            work = f"{c.nbytes / 2**20:8.3f}  {c.flops / 1e6:9.3f}"
            rows.append(f"{c.kernel:{kernels}}  {c.shapes:{shapes}}  {work}  {c.layer}".rstrip())
        nbytes, flops = (sum(getattr(c, what) for c in self.calls) for what in ("nbytes", "flops"))
        total = f"{nbytes / 2**20:.1f} MiB read and written, {flops / 1e9:.3f} GFLOP"
        return "\n".join([*rows, f"{len(self.calls)} calls, {total}, arena of {self.arena_bytes / 2**20:.2f} MiB"])

    def explain(self) -> str:
        """As printed, with the reason for the choice below each call."""
        return "\n".join(f"{c.kernel:32s} {c.shapes:56s} {c.layer}\n    {c.why()}" for c in self.calls)
