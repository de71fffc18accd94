"""Updates that do not depend on each other as one call, so that threads meet once after all of them; and trials of
updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from .arguments import Memory
from .call import Call, KernelCall, MergedCall, Work
from .small_calls import SMALL_BYTES


def merge_updates(calls: Sequence[Call]) -> list[Call]:
    """``calls`` with each run of consecutive updates, or trials of updates, of which none writes what another reads or
    writes, as one."""
    made: list[Call] = []
    joined: list[KernelCall] = []
    touched: set[Memory] = set()
    written: set[Memory] = set()

    def close() -> None:
        if joined:
            made.append(joined[0] if len(joined) == 1 else merged(joined))
        joined.clear()
        touched.clear()
        written.clear()

    for call in calls:
        if not _can_join(call):
            close()
            made.append(call)
            continue
        memories = call.memories()
        independent = written.isdisjoint(memories) and touched.isdisjoint(call.writes)
        if joined and not (independent and call.work.kind == joined[0].work.kind):
            close()
        joined.append(call)
        touched.update(memories)
        written.update(call.writes)
    close()
    return made


def merged(calls: Sequence[KernelCall]) -> MergedCall:
    """The call that does ``calls``, of one stage each, in any order."""
    flops, nbytes = (sum(getattr(c.work, what) for c in calls) for what in ("flops", "nbytes"))
    work = Work(_why, calls[0].work.kind, flops, nbytes)
    return MergedCall(tuple(calls), nbytes <= SMALL_BYTES, work)


def _why() -> str:
    return "none of these reads or writes what another one writes, so threads need not meet in between"


def _can_join(call: Call) -> TypeGuard[KernelCall]:
    if not isinstance(call, KernelCall):
        return False
    return call.work.kind in ("update", "trial") and len(call.stages) == 1 and bool(call.writes)
