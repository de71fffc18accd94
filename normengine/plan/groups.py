"""One group of a batch's images, for a segment that goes depth first: what stands for what, and where it is.

Values of the graph stand for all images of a batch, others for those of one group. What is known outside of the segment
is read where it is, group by group; what nobody outside reads lives in the local memory of a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..graph import Node, Value
from .arena import Lifetime, place
from .plan import Argument, Call, Memory, Pointer


@dataclass(eq=False)
class Group:
    """A group of ``images`` images, one of ``groups``, which are gathered in ``chunks``.

    ``part`` maps values of the graph to the group's, of which ``known`` has all; ``bound`` maps some to where they are
    in memory of the whole batch: the memory, bytes into it, and bytes from one group to the next. ``sums`` maps a
    group's sums of rows to those of the batch. ``outer`` are the calls before the segment, ``after`` makes those behind
    it.
    """

    images: int
    groups: int
    chunks: int
    outer: list[Call]
    part: dict[Value, Value] = field(default_factory=dict)
    known: set[Value] = field(default_factory=set)
    bound: dict[Value, tuple[Memory, int, int]] = field(default_factory=dict)
    sums: dict[Value, Value] = field(default_factory=dict)
    after: list[Callable[[], None]] = field(default_factory=list)

    def make(self, value: Value) -> Value:
        """The group's part of ``value``."""
        made = Value(value.name, replace(value.spec, shape=(self.images, *value.shape[1:])))
        self.known.add(made)
        self.part[value] = made
        return made

    def whole(self, value: Value) -> Value:
        """For all images what ``value`` is for a group's."""
        return Value(value.name, replace(value.spec, shape=(self.groups * self.images, *value.shape[1:])))

    def bind(self, value: Value, memory: Memory, start: int = 0) -> None:
        """The group's ``value`` is in ``memory``, which begins with the first group's at ``start``."""
        self.known.add(value)
        self.bound[value] = (memory, start, value.spec.nbytes)

    def node(self, node: Node, images: Container[int]) -> Node:
        """``node`` on the images of one group; ``images`` are the positions of the inputs that go with them."""
        inputs = tuple(self.part[v] if i in images else v for i, v in enumerate(node.inputs))
        outputs = tuple(self.part.get(v, v) for v in node.outputs)
        if node.op != "chain":
            return replace(node, inputs=inputs, outputs=outputs)
        now = dict(zip(node.inputs, inputs, strict=True))
        for inner in node.attrs["nodes"]:
            (made,) = inner.outputs
            now[made] = self.part.get(made) or self.make(made)
        attrs = {key: tuple(_renamed(inner, now) for inner in nodes) for key, nodes in node.attrs.items()}
        return replace(node, inputs=inputs, outputs=outputs, attrs=MappingProxyType(attrs))


def _renamed(node: Node, now: Mapping[Value, Value]) -> Node:
    inputs, outputs = (tuple(now.get(v, v) for v in values) for values in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)


def moved(call: Call, homes: Mapping[Memory, tuple[Memory, int]]) -> Call:
    """``call`` with the local memories that are keys of ``homes`` in memory of the whole batch instead, which moves on
    by so many bytes a group."""

    def argument(a: Argument) -> Argument:
        if isinstance(a, Pointer) and a.memory in homes:
            memory, step = homes[a.memory]
            return Pointer(memory, a.offset, group_stride=step)
        return a

    writes = frozenset(homes[m][0] if m in homes else m for m in call.writes)
    return call._replace(arguments=tuple(map(argument, call.arguments)), writes=writes)


def local_places(calls: Sequence[Call]) -> tuple[dict[Memory, int], int]:
    """Where each of the calls' local memories is, and how many bytes they all take."""
    alive: dict[Memory, tuple[int, int]] = {}
    for i, call in enumerate(calls):
        for a in call.arguments:
            if isinstance(a, Pointer) and a.memory.kind == "local":
                first, _ = alive.get(a.memory, (i, i))
                alive[a.memory] = (first, i)
    offsets, total = place([Lifetime(m.nbytes, first, last) for m, (first, last) in alive.items()])
    return dict(zip(alive, offsets, strict=True)), total
