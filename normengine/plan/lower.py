"""From a fused graph to a plan: kernels chosen and called, node by node, and memory laid out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from ..compiling import DEFAULT, CompileOptions
from ..graph import Graph, Value
from ..kernels.cpu import backend, isas
from .arguments import Memory
from .call import Call
from .depth_first import Segment
from .emitter import Choice, Emitter, block_width
from .in_place import in_place
from .lower_node import lower_node
from .lower_segment import batch_of, lower_segment, segments_of
from .memory_layout import lay_out
from .merged_updates import merge_updates
from .placement import Placement
from .plan import Plan
from .prefetch import with_prefetch
from .updates import store_output, store_updates, updates_last, written_over


def make_plan(graph: Graph, options: CompileOptions = DEFAULT, tried: bool = False) -> Plan:
    """Lower a graph of kernel operators, chains and movements (see ``passes``) to a :class:`Plan`.

    With ``tried`` all updates are tried before the first of them is done.
    """
    compiled, width = backend() == "compiled", block_width(isas()) if options.blocks else 0
    choice = Choice(isas(), dict(options.kernels))
    depth_first = compiled and width > 0 and options.depth_first
    segments = segments_of(graph, choice) if depth_first else [Segment((node,), False) for node in graph.nodes]
    graph = replace(graph, nodes=tuple(node for segment in segments for node in segment.nodes))
    emitter = Emitter(Placement.of(graph, width, written_over(graph, graph.nodes)), choice)
    places, after_loss = _emit(emitter, graph, segments)
    first, last = updates_last(emitter.calls, tried)
    calls: list[Call] = [*first, *last]
    taken = in_place(calls) if options.in_place else {}
    if options.prefetch:
        first = [with_prefetch(call, taken, places) for call in first]
    if compiled and options.merged_updates:
        first, last = merge_updates(first), merge_updates(last)
    calls = [*first, *last]
    offsets, arena = lay_out(calls, taken, after_loss)
    return Plan(graph, tuple(calls), tuple(emitter.setup), arena, {**offsets, **places}, guard=len(first))


def _emit(emitter: Emitter, graph: Graph, segments: Collection[Segment]) -> tuple[dict[Memory, int], int]:
    """Append the calls of all segments, then those that store outputs and updates. Returns where local memories are in
    that of a thread, and the number of calls when the first output, the loss of a training step, is there."""
    lower = partial(lower_node, stored={new for _, new in graph.updates})
    results, read_by = frozenset(graph.results()), _readers(segments)
    places: dict[Memory, int] = {}
    after_loss = 0
    for segment in segments:
        if segment.images:

            def read_outside(value: Value, segment: Segment = segment) -> bool:
                return value in results or bool(read_by.get(value, set()) - {segment})

            places |= lower_segment(emitter, segment.nodes, batch_of(graph), lower, read_outside)
        else:
            lower(emitter, *segment.nodes)
        if graph.outputs and any(graph.outputs[0] in node.outputs for node in segment.nodes):
            store_output(emitter, graph.outputs[0], 0)
            after_loss = len(emitter.calls)
    for index, value in enumerate(graph.outputs):
        if index or not after_loss:
            store_output(emitter, value, index)
    store_updates(emitter, graph)
    return places, after_loss


def _readers(segments: Collection[Segment]) -> dict[Value, set[Segment]]:
    read_by: dict[Value, set[Segment]] = {}
    for segment in segments:
        for value in (v for node in segment.nodes for v in node.inputs):
            read_by.setdefault(value, set()).add(segment)
    return read_by
