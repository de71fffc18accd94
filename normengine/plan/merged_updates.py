"""Updates that do not depend on each other as one call, so that threads meet once after all of them; and trials of
updates."""

from __future__ import annotations

from collections.abc import Sequence

from .plan import Call, Memory
from .small_calls import SMALL_BYTES


def merge_updates(calls: Sequence[Call]) -> list[Call]:
    """``calls`` with each run of consecutive updates, or trials of updates, of which none writes what another reads or
    writes, as one."""
    runs: list[list[Call]] = []
    touched: set[Memory] = set()
    written: set[Memory] = set()
    for call in calls:
        memories = call.memories()
        independent = written.isdisjoint(memories) and touched.isdisjoint(call.writes)
        if runs and independent and _can_join(runs[-1][0]) and _can_join(call) and call.kind == runs[-1][0].kind:
            runs[-1].append(call)
        else:
            runs.append([call])
            touched, written = set(), set()
        touched.update(memories)
        written.update(call.writes)
    return [run[0] if len(run) == 1 else merged(run) for run in runs]


def merged(calls: Sequence[Call]) -> Call:
    """The call that does ``calls``, of one stage each, in any order."""
    nbytes = sum(c.nbytes for c in calls)
    return Call(
        op="merged updates",
        kernel="merged updates",
        layer="",
        stages=(),
        arguments=(),
        shapes=f"{len(calls)} calls",
        small=nbytes <= SMALL_BYTES,
        why=lambda: "none of these reads or writes what another one writes, so threads need not meet in between",
        kind=calls[0].kind,
        flops=sum(c.flops for c in calls),
        nbytes=nbytes,
        inner=tuple(calls),
        writes=frozenset().union(*(c.writes for c in calls)),
    )


def _can_join(call: Call) -> bool:
    return call.kind in ("update", "trial") and len(call.stages) == 1 and bool(call.writes)
