"""Where each value lies while a plan is made: in memory of its own, in another value's, in blocks of channels or
not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Graph, Node, Spec, Value
from ..kernels.blocks import blocked_shape
from ..ops import OPS
from .access import Access, view_of
from .arguments import Memory, Pointer


class Placement:
    """The places of values; nothing here makes a call.

    An activation is held as the graph has it, in blocks of ``width`` channels, or both: ``held`` maps it to the value
    that stands for its blocks, ``only_held`` has those that are nowhere else. ``accesses`` has the values that lie in
    another's memory. Of a group of images (see :mod:`.groups`), ``local`` are the values that a thread has for itself,
    and ``bound`` maps those that lie in memory of the whole batch to it: the memory, bytes into it, and bytes from one
    group to the next. ``repeated`` are values of channels that lie there once for each pixel of a few: by what holds
    them, offset, rows and times. ``over`` maps new values that are written straight over old ones to these.
    """

    def __init__(self, width: int, over: Mapping[Value, Value]) -> None:
        self.width = width
        self.over = over
        self.memory: dict[Value, Memory] = {}
        self.accesses: dict[Value, Access] = {}
        self.held: dict[Value, Value] = {}
        self.only_held: set[Value] = set()
        self.local: set[Value] = set()
        self.bound: dict[Value, tuple[Memory, int, int]] = {}
        self.repeated: dict[tuple[Value, int, int, int], Access] = {}

    @classmethod
    def of(cls, graph: Graph, width: int, over: Mapping[Value, Value]) -> Placement:
        """With what ``graph`` is given, its constants, and its outputs, but for those that are views."""
        placed = cls(width, over)
        for value in (*graph.inputs, *graph.state):
            placed.memory[value] = Memory("feed", value.spec.nbytes, value.name)
        for value, array in graph.constants.items():
            placed.memory[value] = Memory("constant", value.spec.nbytes, value.name, array=array)
        for new, old in over.items():
            placed.memory[new] = placed.memory[old]
        producers = graph.producers()
        for index, value in enumerate(graph.outputs):
            while value in producers and _keeps_order(producers[value]):
                value = producers[value].inputs[0]
            if value in producers and not is_view(producers[value]) and value not in placed.memory:
                placed.memory[value] = Memory("output", value.spec.nbytes, index=index)
        return placed

    def like(self, value: Value, made: Value) -> Value:
        """``made``, which holds the elements of ``value``: if that is a group's, it is too."""
        if value in self.local:
            self.local.add(made)
        return made

    def hold(self, value: Value) -> Value:
        """The value that stands for ``value`` in blocks, which are about to be written."""
        if value in self.held:
            return self.held[value]
        spec = Spec(blocked_shape(value.shape, self.width), value.dtype)
        self.only_held.add(value)
        self.held[value] = self.like(value, Value(value.name, spec))
        return self.held[value]

    def same_in_blocks(self, value: Value) -> bool:
        """Whether the elements of an activation lie in blocks as they lie otherwise."""
        return value.shape[1] % self.width == 0 and value.shape[2:] == (1, 1)

    def home(self, value: Value) -> Memory:
        if value not in self.memory:
            self.memory[value] = Memory("local" if value in self.local else "arena", value.spec.nbytes)
        return self.memory[value]

    def pointer(self, access: Access) -> Pointer:
        offset = access.offset * np.dtype(access.base.dtype).itemsize
        if access.base in self.bound:
            memory, start, step = self.bound[access.base]
            return Pointer(memory, start + offset, group_stride=step)
        return Pointer(self.home(access.base), offset)

    def bind(self, value: Value, memory: Memory, start: int = 0) -> None:
        """A group's ``value`` is in ``memory``, which begins with the first group's at ``start``."""
        self.local.add(value)
        self.bound[value] = (memory, start, value.spec.nbytes)

    def is_constant(self, value: Value) -> bool:
        """Whether the elements are those of a constant, in their order."""
        access = self.accesses.get(value)
        base = access.base if access is not None and access.dense else value
        return base in self.memory and self.memory[base].kind == "constant"


def is_view(node: Node) -> bool:
    """Whether the result of ``node`` is in the memory of its input, or would be if that were dense."""
    return node.op in OPS and OPS[node.op].view is not None


def _keeps_order(node: Node) -> bool:
    """Whether the result of ``node`` has the elements of its input in their order."""
    view = view_of(node, Access.whole(node.inputs[0])) if is_view(node) else None
    return view is not None and view.dense and node.outputs[0].spec.size == node.inputs[0].spec.size
