"""Segments of nodes that go depth first, as one call each: all of them for one group of images, then for the next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np

from ..graph import Graph, Node, Value
from .access import Access
from .calls import Calls
from .depth_first import Segment, image_inputs, image_outputs, image_positions, in_segments, sums_images
from .group_size import Joining, chunks_of, group_size, group_sizes
from .groups import Group, local_places, moved
from .plan import Call, Memory, depth_first_call


def batch_of(graph: Graph) -> int:
    """The number of images that the graph is given, or 0."""
    return next((v.shape[0] for v in graph.inputs if len(v.shape) == 4), 0)


def segments_of(graph: Graph, isas: Sequence[str], preferred: Mapping[str, str]) -> list[Segment]:
    """The nodes of ``graph`` in the order in which they are lowered, those together that go depth first."""
    batch = batch_of(graph)
    if not group_sizes(batch):
        return [Segment((node,), False) for node in graph.nodes]
    segments = in_segments(graph, batch, Joining(batch, isas, preferred))
    return [Segment(segment.nodes, segment.images and len(segment.nodes) > 1) for segment in segments]


class Segments(Calls):
    """Lowers the nodes of a segment for one group, and gathers the calls; ``places`` are those of local memory."""

    def __init__(self, graph: Graph, width: int, isas: Sequence[str], preferred: Mapping[str, str]) -> None:
        super().__init__(graph, width, isas, preferred)
        self.places: dict[Memory, int] = {}

    @abstractmethod
    def lower_node(self, node: Node) -> None:
        """Append the calls of one node."""

    def lower_segment(self, nodes: Sequence[Node], read_outside: Callable[[Value], bool]) -> None:
        """Append one call for ``nodes``, and what comes before and after it."""
        batch = batch_of(self.graph)
        images = group_size(nodes, batch)
        groups = batch // images
        chunks = chunks_of(groups) if any(map(sums_images, nodes)) else groups
        group = Group(images, groups, chunks, self.calls)
        made = dict.fromkeys(v for node in nodes for v in image_outputs(node))
        for node in nodes:
            for value in image_inputs(node, batch):
                if value not in made and value not in group.part:
                    self._enter(value, group, node.layer)
        for value in made:
            group.make(value)
        self.group, self.calls = group, []
        for node in nodes:
            part = group.node(node, image_positions(node, batch))
            if sums_images(node):
                self.sum_over_groups(part)
            else:
                self.lower_node(part)
        leaving: dict[Memory, Value] = {}
        for value in filter(read_outside, made):
            leaving[self._own_memory(group.part[value], group, leaving)] = value
        inner, self.group, self.calls = self.calls, None, group.outer
        homes = {memory: self._whole_memory(value, group) for memory, value in leaving.items()}
        self.calls.append(self._gathered([moved(call, homes) for call in inner], group))
        for append in group.after:
            append()

    def _enter(self, value: Value, group: Group, layer: str) -> None:
        """What is known of all images becomes known of each group's."""
        part = group.make(value)
        if value in self.held:
            access = self.access(self.held[value])
            self.held[part] = group.make(self.held[value])
            group.bind(self.held[part], self.home(access.base), _start(access))
        if value in self.only_held:
            self.only_held.add(part)
        else:
            access = self.dense(value, layer)
            group.bind(part, self.home(access.base), _start(access))

    def _own_memory(self, part: Value, group: Group, taken: Container[Memory]) -> Memory:
        """The local memory that holds what a group makes, all of it and nothing else; it is copied there if need be."""
        made = self.held.get(part, part)
        access = self.access(made)
        memory = None if access.base in group.bound else self.home(access.base)
        if memory is None or memory in taken or memory.kind != "local" or access.base.spec.nbytes != made.spec.nbytes:
            copy = Access.whole(self.like(part, Value(made.name, made.spec)))
            self.copy(access, copy, "")
            self.accesses[made] = copy
            memory = self.home(copy.base)
        return memory

    def _whole_memory(self, value: Value, group: Group) -> tuple[Memory, int]:
        """Where ``value`` is for all images, in blocks if a group's part is, and the bytes of a group's part."""
        part = group.part[value]
        if part in self.held:
            return self.home(self.hold(value)), self.held[part].spec.nbytes
        return self.home(value), part.spec.nbytes

    def _gathered(self, calls: Sequence[Call], group: Group) -> Call:
        """The depth-first call of ``calls``."""
        places, local = local_places(calls)
        self.places.update(places)
        layer = next((call.layer for call in calls if call.layer), "")
        return depth_first_call(calls, group.images, group.groups, group.chunks, local, layer)


def _start(access: Access) -> int:
    return access.offset * np.dtype(access.base.dtype).itemsize
