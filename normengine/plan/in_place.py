"""Buffer reuse: results of a depth-first call lie in the memory of what its groups have read for the last time: the
lines that a group writes are then in the cache already, and need not be fetched only to be overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .arguments import Memory, Pointer
from .call import Call, DepthFirstCall
from .prefetch import is_prefetch


@dataclass
class Span:
    """The inner calls that use memory, from ``first`` to ``last``; ``parted`` says that each group uses its part alone,
    which begins ``group_stride`` bytes behind that of the group before."""

    first: int
    last: int
    group_stride: int
    parted: bool


def in_place(calls: Sequence[Call]) -> dict[Memory, Memory]:
    """For results that may have it, the memory of something else that is of no use any more when they are written."""
    used: dict[Memory, list[int]] = {}
    for i, call in enumerate(calls):
        for memory in call.memories():
            used.setdefault(memory, []).append(i)
    taken: dict[Memory, Memory] = {}
    for i, call in enumerate(calls):
        if not isinstance(call, DepthFirstCall):
            continue
        spans = {memory: span for memory, span in spans_of(call).items() if span.parted and memory.kind == "arena"}
        ending = [memory for memory in spans if used[memory][0] < i == used[memory][-1]]
        for memory, span in spans.items():
            if used[memory][0] < i or used[memory][-1] == i:
                continue
            free = [m for m in ending if m.nbytes == memory.nbytes and spans[m].last < span.first]
            if free:
                taken[memory] = max(free, key=lambda m: spans[m].last)
                ending.remove(taken[memory])
    return taken


def spans_of(call: DepthFirstCall) -> dict[Memory, Span]:
    """How the inner calls of a depth-first call use memory of all groups."""
    spans: dict[Memory, Span] = {}
    for i, inner in enumerate(call.inner):
        if is_prefetch(inner):
            continue
        for a in inner.arguments:
            if not isinstance(a, Pointer):
                continue
            span = spans.setdefault(a.memory, Span(i, i, a.group_stride, True))
            whole = a.group_stride * call.groups == a.memory.nbytes and a.offset == 0 and a.chunk_stride == 0
            span.last, span.parted = i, span.parted and whole and a.group_stride == span.group_stride
    return spans
