"""What a plan is: a flat list of kernel calls over named memory, still without an address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..graph import Graph
from ..kernels import Prefetching


@dataclass(frozen=True, eq=False)
class Memory:
    """One stretch of memory. ``kind`` says where it comes from:

    - ``arena``: at ``offset`` in the program's arena;
    - ``feed``: given at each run under ``name`` (a graph input or a state value);
    - ``output``: made fresh at each run, the output number ``index``;
    - ``constant``: ``array``, shared by all programs;
    - ``packed``: the program's own, filled once by the plan's ``setup`` calls;
    - ``scratch``: as arena, shared by the stages of one kernel;
    - ``verdict``: the program's own int64, 0 until a call that tries an update finds what is not finite;
    - ``local``: at ``offset`` in the memory that a thread has for the groups of a depth-first call.
    """

    kind: str
    nbytes: int
    name: str = ""
    index: int = 0
    array: np.ndarray | None = None


class Pointer(NamedTuple):
    """An argument slot that holds an address: ``offset`` bytes into ``memory``.

    In a depth-first call it moves ``group_stride`` bytes further for each group of images and ``chunk_stride`` for each
    chunk.
    """

    memory: Memory
    offset: int = 0
    group_stride: int = 0
    chunk_stride: int = 0


class PerGroup(NamedTuple):
    """An argument slot of a depth-first call that holds a number: ``group_stride`` more for each group of images."""

    number: int
    group_stride: int


class Accumulate(NamedTuple):
    """An argument slot of a depth-first call: 0 for the first group of a chunk, 1 for the others."""


class ShareEnd(NamedTuple):
    """An argument slot of a depth-first call: where the groups end that are the thread's share."""


Argument = Pointer | PerGroup | Accumulate | ShareEnd | int | float | None


class Call(NamedTuple):
    """One kernel on one problem: its stages run over the same arguments, one after the other.

    ``stages`` are (address, tasks) pairs; the address comes from a function, so that a plan can be made and looked at
    before anything is compiled. ``arguments`` are the slots as the kernel's signature orders them. ``small`` says that
    one thread had better do all the tasks, ``why`` says what else than ``kernel`` there was.

    ``kind`` is the kind of operator that the time of the call counts for (see :mod:`.small_calls`). ``flops`` are the
    operations of the direct way to compute the results, a multiply-add being two; ``nbytes`` those of each input, read
    once, and of each output, written once.

    A depth-first call has no stages but ``inner`` calls, each for a group of the batch's images. A thread does all of
    them for one group after the other of a chunk; ``chunks`` of ``groups`` are handed out to the threads, each of which
    has ``local`` bytes for what is made and read within a group. Calls together have ``inner`` calls of one stage each
    and no groups: they do not depend on each other, and all their tasks are handed out at once.

    ``writes`` is the memory of the results. Where ``prefetch`` is there, which is the kernel's, the slot
    ``prefetcher_slot`` may say what it prefetches with each of ``products`` multiply-adds of vectors.
    ``trial_slot`` is the argument slot of a call that can be tried (see :mod:`.trials`), or -1.
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
    writes: frozenset[Memory] = frozenset()
    prefetch: Prefetching | None = None
    prefetcher_slot: int = -1
    products: float = 0.0
    trial_slot: int = -1

    def each(self) -> tuple[Call, ...]:
        """The calls whose kernels do the work, with their part of it for the whole batch: the inner ones, or this."""
        times = self.groups or 1
        return tuple(c._replace(flops=times * c.flops, nbytes=times * c.nbytes) for c in self.inner) or (self,)

    def memories(self) -> tuple[Memory, ...]:
        """All that the arguments point to, those of inner calls too, each once."""
        arguments = (a for call in (self, *self.inner) for a in call.arguments)
        return tuple(dict.fromkeys(a.memory for a in arguments if isinstance(a, Pointer)))


def depth_first_call(inner: Sequence[Call], images: int, groups: int, chunks: int, local: int, layer: str = "") -> Call:
    """The call that does ``inner`` for ``groups`` of ``images`` each, as :class:`Call` says."""
    assert 1 <= chunks <= groups, "every chunk must have a group, or its sums would never begin"
    return Call(
        op="depth_first",
        kernel="depth first",
        layer=layer,
        stages=(),
        arguments=(),
        shapes=f"{groups} groups of {images} images in {chunks} chunks",
        why=lambda: "what one call makes for a group of images is in the cache when the next one reads it",
        kind="depth first",
        flops=groups * sum(c.flops for c in inner),
        nbytes=groups * sum(c.nbytes for c in inner),
        inner=tuple(inner),
        groups=groups,
        chunks=chunks,
        local=local,
        writes=frozenset().union(*(c.writes for c in inner)),
    )


class Plan(NamedTuple):
    """Everything that a program needs: ``calls`` in order (``setup`` once, before the first run), and how memory is
    laid out. From the call number ``guard`` on, and only there, calls store to what is given."""

    graph: Graph
    calls: tuple[Call, ...]
    setup: tuple[Call, ...]
    arena_bytes: int
    offsets: dict[Memory, int]
    guard: int = 0

    def __str__(self) -> str:
        lines = [("  " * depth + c.kernel, c) for depth, c in self._lines()]
        kernels = max((len(kernel) for kernel, _ in lines), default=0)
        shapes = max((len(c.shapes) for _, c in lines), default=0)
        rows = [f"{'kernel':{kernels}}  {'shapes':{shapes}}  {'MiB':>8}  {'MFLOP':>9}  layer"]
        for kernel, c in lines:
            work = f"{c.nbytes / 2**20:8.3f}  {c.flops / 1e6:9.3f}"
            rows.append(f"{kernel:{kernels}}  {c.shapes:{shapes}}  {work}  {c.layer}".rstrip())
        inside = sum(len(c.inner) for c in self.calls)
        calls = f"{len(self.calls)} calls" + (f" with {inside} inside" if inside else "")
        nbytes, flops = (sum(getattr(c, what) for c in self.calls) for what in ("nbytes", "flops"))
        total = f"{nbytes / 2**20:.1f} MiB read and written, {flops / 1e9:.3f} GFLOP"
        return "\n".join([*rows, f"{calls}, {total}, arena of {self.arena_bytes / 2**20:.2f} MiB"])

    def explain(self) -> str:
        """As printed, with the reason for the choice below each call."""
        lines = (("  " * depth, c) for depth, c in self._lines())
        return "\n".join(f"{i + c.kernel:32s} {c.shapes:56s} {c.layer}\n{i}    {c.why()}" for i, c in lines)

    def _lines(self) -> Iterator[tuple[int, Call]]:
        """The calls as they are printed: each, and below it those inside of it."""
        for call in self.calls:
            yield 0, call
            if call.inner:
                yield from ((1, inner) for inner in call.each())
