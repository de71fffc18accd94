"""The calls that a plan consists of: a kernel on one problem, kernels on one group of images after the other (depth
first), and updates of which threads do all at once (merged)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..kernels import Prefetching
from .arguments import Argument, Memory, Pointer


class Work(NamedTuple):
    """What a call does, for profiles and for people.

    ``why`` says what else than the call's kernel there was. ``kind`` is the kind of operator that its time counts for
    (see :class:`~normengine.ops.base.Op`); loops over elements are "elementwise", or "update" where state is all that
    they write. ``flops`` are the operations of the direct way to compute the results, a multiply-add being two;
    ``nbytes`` those of each input, read once, and of each output, written once.
    """

    why: Callable[[], str]
    kind: str
    flops: int = 0
    nbytes: int = 0


class Prefetches(NamedTuple):
    """That a call prefetches for those behind it: how its kernel does, the argument slot of the thread's prefetcher,
    and the multiply-adds of vectors with which it can."""

    how: Prefetching
    slot: int
    products: float


class KernelCall(NamedTuple):
    """One kernel on one problem: its stages run over the same arguments, one after the other.

    ``stages`` are (address, tasks) pairs; the address comes from a function, so that a plan can be made and looked at
    before anything is compiled. ``arguments`` are the slots as the kernel's signature orders them; ``workspace`` bytes
    for each thread are put into ``workspace_slot``. ``small`` says that one thread had better do all the tasks.
    ``writes`` is the memory of the results. ``trial_slot`` is the argument slot of a call that can be tried (see
    :mod:`.trials`), or -1.
    """

    op: str
    kernel: str
    layer: str
    stages: tuple[tuple[Callable[[], int], int], ...]
    arguments: tuple[Argument, ...]
    work: Work
    workspace: int = 0
    workspace_slot: int = -1
    shapes: str = ""
    small: bool = False
    writes: frozenset[Memory] = frozenset()
    prefetches: Prefetches | None = None
    trial_slot: int = -1

    @property
    def inner(self) -> tuple[KernelCall, ...]:
        return ()

    @property
    def thread_bytes(self) -> int:
        """Memory that each thread has for it."""
        return self.workspace

    def each(self) -> tuple[KernelCall, ...]:
        """The calls whose kernels do the work, with their part of it for the whole batch."""
        return (self,)

    def memories(self) -> tuple[Memory, ...]:
        """All that the arguments point to, each once."""
        return tuple(dict.fromkeys(a.memory for a in self.arguments if isinstance(a, Pointer)))


class DepthFirstCall(NamedTuple):
    """``inner`` calls for one group of ``images`` images after the other of a chunk; ``chunks`` of ``groups`` are
    handed out to the threads, each of which has ``local`` bytes for what is made and read within a group."""

    inner: tuple[KernelCall, ...]
    images: int
    groups: int
    chunks: int
    local: int
    layer: str
    work: Work
    op: str = "depth_first"
    kernel: str = "depth first"

    @property
    def shapes(self) -> str:
        return f"{self.groups} groups of {self.images} images in {self.chunks} chunks"

    @property
    def writes(self) -> frozenset[Memory]:
        return _written(self.inner)

    @property
    def thread_bytes(self) -> int:
        """Memory that each thread has for it."""
        return self.local

    def each(self) -> tuple[KernelCall, ...]:
        """The calls whose kernels do the work, with their part of it for the whole batch."""
        return tuple(c._replace(work=_times(c.work, self.groups)) for c in self.inner)

    def memories(self) -> tuple[Memory, ...]:
        """All that the arguments of the inner calls point to, each once."""
        return _pointed_to(self.inner)


class MergedCall(NamedTuple):
    """``inner`` calls of one stage each that do not depend on each other: all their tasks are handed out at once."""

    inner: tuple[KernelCall, ...]
    small: bool
    work: Work
    op: str = "merged updates"
    kernel: str = "merged updates"
    layer: str = ""
    thread_bytes: int = 0

    @property
    def shapes(self) -> str:
        return f"{len(self.inner)} calls"

    @property
    def writes(self) -> frozenset[Memory]:
        return _written(self.inner)

    def each(self) -> tuple[KernelCall, ...]:
        """The calls whose kernels do the work."""
        return self.inner

    def memories(self) -> tuple[Memory, ...]:
        """All that the arguments of the inner calls point to, each once."""
        return _pointed_to(self.inner)


Call = KernelCall | DepthFirstCall | MergedCall


def depth_first_call(
    inner: Sequence[KernelCall], images: int, groups: int, chunks: int, local: int, layer: str = ""
) -> DepthFirstCall:
    """The call that does ``inner`` for ``groups`` of ``images`` each."""
    assert 1 <= chunks <= groups, "every chunk must have a group, or its sums would never begin"
    flops, nbytes = (groups * sum(getattr(c.work, what) for c in inner) for what in ("flops", "nbytes"))
    work = Work(_why_depth_first, "depth first", flops, nbytes)
    return DepthFirstCall(tuple(inner), images, groups, chunks, local, layer, work)


def _why_depth_first() -> str:
    return "what one call makes for a group of images is in the cache when the next one reads it"


def _times(work: Work, times: int) -> Work:
    return work._replace(flops=times * work.flops, nbytes=times * work.nbytes)


def _written(calls: Sequence[KernelCall]) -> frozenset[Memory]:
    return frozenset().union(*(c.writes for c in calls))


def _pointed_to(calls: Sequence[KernelCall]) -> tuple[Memory, ...]:
    return tuple(dict.fromkeys(memory for call in calls for memory in call.memories()))
