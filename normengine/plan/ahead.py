"""The first call of a depth-first group: it tells the calls behind it what the next group reads from memory, which they
ask for while they multiply."""

from __future__ import annotations

from collections.abc import Sequence

from .plan import Argument, Call, Moving, Pointer

LINE_BYTES = 64
MOST_ARRAYS = 4
MOST_BYTES = 384 << 10
"""Of the next group, at most: a share of the L2 cache, beside what the present one works on."""
RATE = 1 << 20
"""Multiply-adds of vectors for which a call is told how many lines to ask for."""
MARGIN = 1.1
"""All lines are asked for a little before the multiply-adds end."""


def ask_ahead(calls: Sequence[Call], groups: int) -> list[Call]:
    """The call to be made before ``calls``, which are made for each of so many groups; none where nothing can ask, or
    where there is nothing to ask for."""
    asking = [call for call in calls if call.asks is not None]
    arrays = _read(calls)
    products = sum(call.products for call in asking)
    if groups < 2 or not arrays or not products:
        return []
    lines = [pointer.a_group // LINE_BYTES for pointer in arrays]
    arguments: list[Argument] = [Moving(0, 1), groups, int(MARGIN * RATE * sum(lines) / products), len(arrays)]
    for pointer, count in zip(arrays, lines, strict=True):
        arguments += [Pointer(pointer.memory, pointer.offset + pointer.a_group, pointer.a_group), count]
    begin = asking[0].asks
    assert begin is not None
    return [
        Call(
            op="ask_ahead",
            kernel="ask_ahead",
            layer="",
            stages=((begin, 1),),
            arguments=tuple(arguments),
            shapes=f"{LINE_BYTES * sum(lines)} bytes of the next group",
            why=lambda: "memory is asked for while kernels multiply",
            kind="others",
        )
    ]


def _read(calls: Sequence[Call]) -> list[Pointer]:
    """Where calls read what there is of all groups, in the order in which they do, as much as is asked for."""
    written = {memory for call in calls for memory in call.writes}
    pointers = (a for call in calls for a in call.arguments if isinstance(a, Pointer) and a.a_group > 0)
    arrays = {(p.memory, p.offset): p for p in pointers if p.memory not in written}
    taken: list[Pointer] = []
    for pointer in list(arrays.values())[:MOST_ARRAYS]:
        if pointer.a_group + sum(p.a_group for p in taken) <= MOST_BYTES:
            taken.append(pointer)
    return taken
