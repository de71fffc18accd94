"""The first call of a depth-first group: it tells the others what to ask for while they multiply, which is where
results go that are written late, and what the next group reads."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ..kernels.compiled.prefetch import slots
from .plan import Argument, Call, Memory, PerGroup, Pointer, ShareEnd

LINE_BYTES = 64
MOST_ARRAYS = 4
"""As many as the kernels' list of them has (SOON_PARTS)."""
MOST_BYTES = 256 << 10
"""What is asked for in a group, at most: a share of the L2 cache, beside what the group works on."""
RATE = 1 << 20
"""Multiply-adds of vectors for which a call is told how many lines to ask for."""
MARGIN = 1.1
"""All lines are asked for a little before the multiply-adds end."""


def with_prefetch(call: Call, near: Container[Memory]) -> Call:
    """A depth-first call, as :func:`prefetch_calls` begins each of its groups."""
    return call._replace(inner=(*prefetch_calls(call.inner, call.groups, near), *call.inner))


def is_prefetch(call: Call) -> bool:
    """Whether the call does nothing but ask."""
    return call.op == "prefetch"


def prefetch_calls(calls: Sequence[Call], groups: int, near: Container[Memory] = ()) -> list[Call]:
    """The call to be made before ``calls``, which are made for each of so many groups; none where nothing can ask, or
    where there is nothing to ask for. A group's part of memory that is ``near`` is in the cache when it is written."""
    asking = [call for call in calls if call.asks is not None]
    own = _affordable([p for p in _written_late(calls) if p.memory not in near], [])
    arrays = _affordable(_read_next(calls), own)
    products = sum(call.products for call in asking)
    if groups < 2 or not arrays or not products:
        return []
    lines = [pointer.group_stride // LINE_BYTES for pointer in arrays]
    rate = int(MARGIN * RATE * sum(lines) / products)
    arguments: tuple[Argument, ...]
    arguments = slots(PerGroup(0, 1), ShareEnd(), rate, len(own), list(zip(arrays, lines, strict=True)))
    begin = asking[0].asks
    assert begin is not None
    return [
        Call(
            op="prefetch",
            kernel="prefetch",
            layer="",
            stages=((begin, 1),),
            arguments=arguments,
            shapes=f"{LINE_BYTES * sum(lines)} bytes of a group",
            why=lambda: "memory is asked for while kernels multiply",
            kind="others",
        )
    ]


def _written_late(calls: Sequence[Call]) -> list[Pointer]:
    """Where results go in memory of all groups that no kernel asks for by itself."""
    written = {memory for call in calls if call.writes_late for memory in call.writes}
    return [p for p in _moving(calls) if p.memory in written]


def _read_next(calls: Sequence[Call]) -> list[Pointer]:
    """What there is of all groups and calls read, in the order in which they do, where the next group has its part."""
    written = {memory for call in calls for memory in call.writes}
    return [
        Pointer(p.memory, p.offset + p.group_stride, p.group_stride) for p in _moving(calls) if p.memory not in written
    ]


def _moving(calls: Sequence[Call]) -> Iterator[Pointer]:
    """Each place in memory of all groups once."""
    pointers = (a for call in calls for a in call.arguments if isinstance(a, Pointer) and a.group_stride > 0)
    yield from {(p.memory, p.offset): p for p in pointers}.values()


def _affordable(arrays: Sequence[Pointer], before: Sequence[Pointer]) -> list[Pointer]:
    """Those ``before``, and behind them as many of the arrays as are asked for too."""
    taken = [*before]
    for pointer in arrays:
        if len(taken) < MOST_ARRAYS and pointer.group_stride + sum(p.group_stride for p in taken) <= MOST_BYTES:
            taken.append(pointer)
    return taken
