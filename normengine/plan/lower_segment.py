"""A segment of nodes as one call, depth first: all of them for one group of images, then for the next."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np

from ..graph import Graph, Node, Value
from .access import Access
from .arguments import Memory
from .call import KernelCall, depth_first_call
from .depth_first import Segment, image_inputs, image_outputs, image_positions, in_segments, sums_images
from .emitter import Choice, Emitter
from .group_size import Joining, chunks_of, group_size, group_sizes
from .groups import Group, local_places, moved


def batch_of(graph: Graph) -> int:
    """The number of images that the graph is given, or 0."""
    return next((v.shape[0] for v in graph.inputs if len(v.shape) == 4), 0)


def segments_of(graph: Graph, choice: Choice) -> list[Segment]:
    """The nodes of ``graph`` in the order in which they are lowered, those together that go depth first."""
    batch = batch_of(graph)
    if not group_sizes(batch):
        return [Segment((node,), False) for node in graph.nodes]
    segments = in_segments(graph, batch, Joining(batch, choice.isas, choice.preferred))
    return [Segment(segment.nodes, segment.images and len(segment.nodes) > 1) for segment in segments]


def lower_segment(
    emitter: Emitter,
    nodes: Sequence[Node],
    batch: int,
    lower_node: Callable[[Emitter, Node], None],
    read_outside: Callable[[Value], bool],
) -> Mapping[Memory, int]:
    """Append one call for ``nodes``, and what comes before and after it; returns where the call's local memories are in
    that of a thread. ``read_outside`` tells the values that are read outside of the segment."""
    group, made = _group_of(emitter, nodes, batch)
    inside = emitter.for_group(group)
    for node in nodes:
        part = group.node(node, image_positions(node, batch))
        if sums_images(node):
            inside.sum_over_groups(part)
        else:
            lower_node(inside, part)
    leaving: dict[Memory, Value] = {}
    for value in filter(read_outside, made):
        leaving[_own_memory(inside, group.part[value], leaving)] = value
    homes = {memory: _whole_memory(emitter, value, group) for memory, value in leaving.items()}
    calls: list[KernelCall] = [moved(call, homes) for call in inside.calls if isinstance(call, KernelCall)]
    places, local = local_places(calls)
    layer = next((call.layer for call in calls if call.layer), "")
    emitter.calls.append(depth_first_call(calls, group.images, group.groups, group.chunks, local, layer))
    for append in group.after:
        append()
    return places


def _group_of(emitter: Emitter, nodes: Sequence[Node], batch: int) -> tuple[Group, list[Value]]:
    """A group of the segment's images, which knows its part of all that the segment reads of them and makes; and the
    values that are made."""
    images = group_size(nodes, batch)
    groups = batch // images
    chunks = chunks_of(groups) if any(map(sums_images, nodes)) else groups
    group = Group(images, groups, chunks, emitter.placement)
    made = list(dict.fromkeys(v for node in nodes for v in image_outputs(node)))
    outside = set(made)
    for node in nodes:
        for value in image_inputs(node, batch):
            if value not in outside and value not in group.part:
                _enter(emitter, value, group, node.layer)
    for value in made:
        group.make(value)
    return group, made


def _enter(emitter: Emitter, value: Value, group: Group, layer: str) -> None:
    """What is known of all images becomes known of each group's."""
    placement, part = emitter.placement, group.make(value)
    if value in placement.held:
        access = emitter.access(placement.held[value])
        placement.held[part] = group.make(placement.held[value])
        placement.bind(placement.held[part], placement.home(access.base), _start(access))
    if value in placement.only_held:
        placement.only_held.add(part)
    else:
        access = emitter.dense(value, layer)
        placement.bind(part, placement.home(access.base), _start(access))


def _own_memory(inside: Emitter, part: Value, taken: Container[Memory]) -> Memory:
    """The local memory that holds what a group makes, all of it and nothing else; it is copied there if need be."""
    placement = inside.placement
    made = placement.held.get(part, part)
    access = inside.access(made)
    memory = None if access.base in placement.bound else placement.home(access.base)
    if memory is None or memory in taken or memory.kind != "local" or access.base.spec.nbytes != made.spec.nbytes:
        copy = Access.whole(placement.like(part, Value(made.name, made.spec)))
        inside.copy(access, copy, "")
        placement.accesses[made] = copy
        memory = placement.home(copy.base)
    return memory


def _whole_memory(emitter: Emitter, value: Value, group: Group) -> tuple[Memory, int]:
    """Where ``value`` is for all images, in blocks if a group's part is, and the bytes of a group's part."""
    placement, part = emitter.placement, group.part[value]
    if part in placement.held:
        return placement.home(placement.hold(value)), placement.held[part].spec.nbytes
    return placement.home(value), part.spec.nbytes


def _start(access: Access) -> int:
    return access.offset * np.dtype(access.base.dtype).itemsize
