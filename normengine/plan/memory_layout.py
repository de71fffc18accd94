"""Where memory lies in the arena: from the calls that use it to offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .arena import Lifetime, place, side_by_side
from .arguments import Memory
from .call import Call


def lay_out(calls: Sequence[Call], taken: Mapping[Memory, Memory], after_loss: int) -> tuple[dict[Memory, int], int]:
    """Where everything lies in the arena, and its size. ``taken`` maps results to the memory whose place they take.
    Gradients, which are what updates read of all that is made by the calls ``after_loss``, lie side by side in the
    order of the updates."""
    alive: dict[Memory, Lifetime] = {}
    homes: dict[Memory, Memory] = {}
    for i, call in enumerate(calls):
        for memory in call.memories():
            if memory.kind in ("arena", "scratch"):
                home = homes[memory] = homes.get(memory) or _home_of(memory, taken)
                alive[home] = Lifetime(home.nbytes, alive[home].first if home in alive else i, i)
    gradients = {m: alive[m] for m in _read_by_updates(calls) if m in alive and alive[m].first >= after_loss}
    others = {m: lifetime for m, lifetime in alive.items() if m not in gradients}
    block, begins = side_by_side(list(gradients.values()))
    (start, *offsets), total = place([block, *others.values()], shared=True)
    at = {m: start + begin for m, begin in zip(gradients, begins, strict=True)}
    at |= dict(zip(others, offsets, strict=True))
    return {memory: at[home] for memory, home in homes.items()}, total


def _read_by_updates(calls: Sequence[Call]) -> dict[Memory, None]:
    updates = [call for outer in calls for call in outer.each() if call.work.kind == "update"]
    return dict.fromkeys(m for call in updates for m in call.memories() if m not in call.writes)


def _home_of(memory: Memory, taken: Mapping[Memory, Memory]) -> Memory:
    """The memory that was there first where results take another's place."""
    while memory in taken:
        memory = taken[memory]
    return memory
