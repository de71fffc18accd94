"""Places along an axis as runs of equal steps, and the elements at them as slices that are put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ..graph import Value


class Run(NamedTuple):
    """Places ``start``, ``start + step``, ... of an axis, ``extent`` of them; a step of 0 repeats one."""

    start: int
    step: int
    extent: int


class Adds(Protocol):
    """What adds nodes and constants to a graph, as :class:`~.builder.Builder` does."""

    def add(self, op: str, *inputs: Value, **attrs: object) -> Value: ...

    def constant(self, array: np.ndarray, name: str | None = None) -> Value: ...


def runs(places: np.ndarray) -> Iterator[Run]:
    """``places`` as runs one behind the other; each goes on as far as its steps are equal."""
    steps = np.diff(np.asarray(places, np.int64))
    changes = np.flatnonzero(steps[1:] != steps[:-1]) + 1  # where a place is not one step behind the last
    first, last = 0, len(places) - 1
    while first <= last:
        end = first
        if first < last:
            i = int(np.searchsorted(changes, first, side="right"))
            end = int(changes[i]) if i < len(changes) else last
        yield Run(int(places[first]), int(steps[first]) if end > first else 1, end - first + 1)
        first = end + 1


def take_run(builder: Adds, x: Value, axis: int, run: Run) -> Value:
    """The elements of one run, as a view where they are not repeated."""
    start, step, extent = run
    if step == 0:
        one = take_run(builder, x, axis, Run(start, 1, 1))
        return builder.add("expand", one, shape=(*x.shape[:axis], extent, *x.shape[axis + 1 :]))
    low, stride = (start, step) if step > 0 else (start + step * (extent - 1), -step)
    if (low, stride, extent) != (0, 1, x.shape[axis]):
        rank = x.spec.rank
        x = builder.add(
            "slice",
            x,
            starts=tuple(low if a == axis else 0 for a in range(rank)),
            stops=tuple(low + stride * (extent - 1) + 1 if a == axis else n for a, n in enumerate(x.shape)),
            steps=tuple(stride if a == axis and extent > 1 else 1 for a in range(rank)),
        )
    return builder.add("flip", x, axes=(axis,)) if step < 0 else x


def take_runs(builder: Adds, x: Value, axis: int, found: Sequence[Run]) -> Value:
    """The runs one behind the other along ``axis``."""
    parts = [take_run(builder, x, axis, run) for run in found]
    return parts[0] if len(parts) == 1 else builder.add("concat", *parts, axis=axis)
