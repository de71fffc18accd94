"""Software prefetch in depth-first groups. The first call of a group says what the others prefetch while they multiply:
where results go that are written late, and what the next group reads."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ..kernels.compiled.prefetch import MOST_ARRAYS, PREFETCHER_BYTES, RATE, slots
from ..kernels.machine import MACHINE, l2
from .arguments import Argument, Memory, PerGroup, Pointer, ShareEnd
from .call import Call, DepthFirstCall, KernelCall, Work

MOST_BYTES = l2(1 / 4)
"""What is prefetched in a group, at most: a share of the L2 cache, beside what the group works on."""
MARGIN = 1.1
"""All lines are prefetched a little before the multiply-adds end."""


def with_prefetch(call: Call, near: Container[Memory], places: dict[Memory, int]) -> Call:
    """A depth-first call whose groups begin by saying what is prefetched; the same where nothing is, and of others.
    ``places`` learns where the prefetcher lies in the thread's memory, of which all kernels of the group get the
    address."""
    if not isinstance(call, DepthFirstCall):
        return call
    prefetcher = Memory("local", PREFETCHER_BYTES)
    first = prefetch_calls(call.inner, call.groups, prefetcher, near)
    if not first:
        return call
    places[prefetcher] = start = -(-call.local // MACHINE.line_bytes) * MACHINE.line_bytes
    others = [_with_prefetcher(c, prefetcher) for c in call.inner]
    return call._replace(inner=(*first, *others), local=start + prefetcher.nbytes)


def is_prefetch(call: Call) -> bool:
    """Whether the call only says what others prefetch."""
    return call.op == "prefetch"


def prefetch_calls(
    calls: Sequence[KernelCall], groups: int, prefetcher: Memory, near: Container[Memory] = ()
) -> list[KernelCall]:
    """The call to be made before ``calls``, which are made for each of so many groups; none where none of them can
    prefetch, or where there is nothing to prefetch. A group's part of memory that is ``near`` is in the cache when it
    is written."""
    prefetching = [call.prefetches for call in calls if call.prefetches is not None]
    own = _affordable([p for p in _written_late(calls) if p.memory not in near], [])
    arrays = _affordable(_read_next(calls), own)
    products = sum(p.products for p in prefetching)
    if groups < 2 or not arrays or not products:
        return []
    lines = [pointer.group_stride // MACHINE.line_bytes for pointer in arrays]
    rate = int(MARGIN * RATE * sum(lines) / products)
    arguments: tuple[Argument, ...]
    arguments = slots(
        Pointer(prefetcher), PerGroup(0, 1), ShareEnd(), rate, len(own), list(zip(arrays, lines, strict=True))
    )
    return [
        KernelCall(
            op="prefetch",
            kernel="prefetch",
            layer="",
            stages=((prefetching[0].how.begin, 1),),
            arguments=arguments,
            work=Work(_why, "others"),
            shapes=f"{MACHINE.line_bytes * sum(lines)} bytes of a group",
        )
    ]


def _why() -> str:
    return "memory is asked for while kernels multiply"


def _with_prefetcher(call: KernelCall, prefetcher: Memory) -> KernelCall:
    if call.prefetches is None:
        return call
    arguments = list(call.arguments)
    arguments[call.prefetches.slot] = Pointer(prefetcher)
    return call._replace(arguments=tuple(arguments))


def _written_late(calls: Sequence[KernelCall]) -> list[Pointer]:
    """Where results go in memory of all groups that no kernel prefetches by itself."""
    written = {
        memory for call in calls if call.prefetches and call.prefetches.how.writes_late for memory in call.writes
    }
    return [p for p in _moving(calls) if p.memory in written]


def _read_next(calls: Sequence[KernelCall]) -> list[Pointer]:
    """What there is of all groups and calls read, in the order in which they do, where the next group has its part."""
    written = {memory for call in calls for memory in call.writes}
    return [
        Pointer(p.memory, p.offset + p.group_stride, p.group_stride) for p in _moving(calls) if p.memory not in written
    ]


def _moving(calls: Sequence[KernelCall]) -> Iterator[Pointer]:
    """Each place in memory of all groups once."""
    pointers = (a for call in calls for a in call.arguments if isinstance(a, Pointer) and a.group_stride > 0)
    yield from {(p.memory, p.offset): p for p in pointers}.values()


def _affordable(arrays: Sequence[Pointer], before: Sequence[Pointer]) -> list[Pointer]:
    """Those ``before``, and behind them as many of the arrays as are prefetched too."""
    taken = [*before]
    for pointer in arrays:
        if len(taken) < MOST_ARRAYS and pointer.group_stride + sum(p.group_stride for p in taken) <= MOST_BYTES:
            taken.append(pointer)
    return taken
