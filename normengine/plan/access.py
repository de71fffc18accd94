"""How elements are found in memory: views that share another value's memory, and loops over several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..graph import Node, Value
from ..ops import OPS
from ..ops.rules import dense_strides

Strides = tuple[int, ...]


class Access(NamedTuple):
    """The elements of a value inside the memory of ``base``; offset and strides count elements. ``repeated`` says that
    the lanes of a block of channels are there as often as a loop takes pixels together."""

    base: Value
    shape: tuple[int, ...]
    offset: int
    strides: Strides
    repeated: bool = False

    @classmethod
    def whole(cls, value: Value) -> Access:
        return cls(value, value.shape, 0, dense_strides(value.shape))

    @property
    def dense(self) -> bool:
        """Whether the elements lie one after the other in row-major order, wherever they begin."""
        packed = dense_strides(self.shape)
        return all(n == 1 or s == p for n, s, p in zip(self.shape, self.strides, packed, strict=True))

    def broadcast(self, shape: tuple[int, ...]) -> Access:
        """The same elements repeated to ``shape`` by NumPy's rules."""
        lead = len(shape) - len(self.shape)
        own = [0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)]
        return Access(self.base, shape, self.offset, (0,) * lead + tuple(own))

    def sliced(self, starts: Sequence[int], steps: Sequence[int], shape: tuple[int, ...]) -> Access:
        offset = self.offset + sum(b * s for b, s in zip(starts, self.strides, strict=True))
        # The step of an axis with one element says nothing, and may be any number.
        strides = (s * k if n > 1 else s for s, k, n in zip(self.strides, steps, shape, strict=True))
        return Access(self.base, shape, offset, tuple(strides))


def view_of(node: Node, source: Access) -> Access | None:
    """Where the result of ``node`` lies in the memory of its input, or None if it needs memory of its own."""
    view = OPS[node.op].view
    found = None if view is None else view(node, source.offset, source.strides)
    return None if found is None else Access(source.base, node.outputs[0].shape, *found)


def collapse(shape: tuple[int, ...], strides: Sequence[Strides]) -> tuple[tuple[int, ...], list[Strides]]:
    """The same loop over fewer dimensions: extents of 1 dropped, neighbours joined where every operand allows it."""
    kept = [d for d, n in enumerate(shape) if n != 1]
    extents: list[int] = []
    merged: list[list[int]] = [[] for _ in strides]
    for d in kept:
        if extents and all(m[-1] == s[d] * shape[d] for m, s in zip(merged, strides, strict=True)):
            extents[-1] *= shape[d]
            for m, s in zip(merged, strides, strict=True):
                m[-1] = s[d]
        else:
            extents.append(shape[d])
            for m, s in zip(merged, strides, strict=True):
                m.append(s[d])
    if not extents:
        return (math.prod(shape),), [(0,) for _ in strides]
    return tuple(extents), [tuple(m) for m in merged]
