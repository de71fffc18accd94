"""Tiling over the batch: one group of images, which a segment that goes depth first is lowered for.

Values of the graph stand for all images of a batch, others for those of one group. What is known outside of the segment
is read where it is, group by group; what nobody outside reads lives in the local memory of a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..graph import Node, Value
from .arena import Lifetime, place
from .arguments import Argument, Memory, Pointer
from .call import KernelCall
from .placement import Placement


class Group:
    """A group of ``images`` images, one of ``groups``, which are gathered in ``chunks``.

    ``part`` maps values of the graph to the group's; ``sums`` maps a group's sums of rows to those of the batch;
    ``after`` makes the calls behind the segment.
    """

    def __init__(self, images: int, groups: int, chunks: int, placement: Placement) -> None:
        self.images = images
        self.groups = groups
        self.chunks = chunks
        self.placement = placement
        self.part: dict[Value, Value] = {}
        self.sums: dict[Value, Value] = {}
        self.after: list[Callable[[], None]] = []

    def make(self, value: Value) -> Value:
        """The group's part of ``value``."""
        made = Value(value.name, replace(value.spec, shape=(self.images, *value.shape[1:])))
        self.placement.local.add(made)
        self.part[value] = made
        return made

    def whole(self, value: Value) -> Value:
        """For all images what ``value`` is for a group's."""
        return Value(value.name, replace(value.spec, shape=(self.groups * self.images, *value.shape[1:])))

    def node(self, node: Node, images: Container[int]) -> Node:
        """``node`` on the images of one group; ``images`` are the positions of the inputs that go with them."""
        inputs = tuple(self.part[v] if i in images else v for i, v in enumerate(node.inputs))
        outputs = tuple(self.part.get(v, v) for v in node.outputs)
        if "nodes" not in node.attrs:
            return replace(node, inputs=inputs, outputs=outputs)
        now = dict(zip((*node.inputs, *node.outputs), (*inputs, *outputs), strict=True))
        for inner in node.attrs["nodes"]:
            (made,) = inner.outputs
            now[made] = self.part.get(made) or self.make(made)
        attrs = {key: tuple(_renamed(inner, now) for inner in nodes) for key, nodes in node.attrs.items()}
        return replace(node, inputs=inputs, outputs=outputs, attrs=MappingProxyType(attrs))


def _renamed(node: Node, now: Mapping[Value, Value]) -> Node:
    inputs, outputs = (tuple(now.get(v, v) for v in values) for values in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)


def moved(call: KernelCall, homes: Mapping[Memory, tuple[Memory, int]]) -> KernelCall:
    """``call`` with the local memories that are keys of ``homes`` in memory of the whole batch instead, which moves on
    by so many bytes a group."""

    def argument(a: Argument) -> Argument:
        if isinstance(a, Pointer) and a.memory in homes:
            memory, step = homes[a.memory]
            return Pointer(memory, a.offset, group_stride=step)
        return a

    writes = frozenset(homes[m][0] if m in homes else m for m in call.writes)
    return call._replace(arguments=tuple(map(argument, call.arguments)), writes=writes)


def local_places(calls: Sequence[KernelCall]) -> tuple[dict[Memory, int], int]:
    """Where each of the calls' local memories is, and how many bytes they all take."""
    alive: dict[Memory, tuple[int, int]] = {}
    for i, call in enumerate(calls):
        for a in call.arguments:
            if isinstance(a, Pointer) and a.memory.kind == "local":
                first, _ = alive.get(a.memory, (i, i))
                alive[a.memory] = (first, i)
    offsets, total = place([Lifetime(m.nbytes, first, last) for m, (first, last) in alive.items()])
    return dict(zip(alive, offsets, strict=True)), total
