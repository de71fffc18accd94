"""Updates are tried before any of them is done: whether all that they store is finite is then known while the old state
is still there."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import Memory, Pointer
from .call import Call, KernelCall


def stores(call: Call) -> bool:
    """Whether the call writes to what was given."""
    return any(memory.kind == "feed" for memory in call.writes)


def trials(calls: Sequence[KernelCall]) -> list[KernelCall]:
    """For each of ``calls`` that stores floating-point numbers one that computes the same and stores nothing but the
    program's verdict."""
    return [_trial(call) for call in calls if call.trial_slot >= 0]


def _trial(call: KernelCall) -> KernelCall:
    arguments = list(call.arguments)
    # Memory of this call alone, as far as planning knows: all calls write the same to it.
    arguments[call.trial_slot] = Pointer(verdict := Memory("verdict", 8))
    why = "stores nothing: whether the results are finite has to be known before the first of them is stored"
    writes = frozenset((verdict,))
    work = call.work._replace(kind="trial", why=lambda: why)
    return call._replace(arguments=tuple(arguments), writes=writes, work=work)
