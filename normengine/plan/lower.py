"""From a fused graph to a plan: kernels chosen and called, node by node, and memory laid out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..graph import Graph, Value
from ..kernels import REGISTRY
from ..kernels.cpu import backend, isas
from ..passes.pipeline import BLOCKS, DEPTH_FIRST, IN_PLACE, MERGED_UPDATES, PREFETCH
from .arguments import Memory
from .call import Call
from .depth_first import Segment
from .emitter import Choice, Emitter, block_width
from .in_place import in_place
from .lower_node import NodeLowering
from .lower_segment import batch_of, lower_segment, segments_of
from .memory_layout import lay_out
from .merged_updates import merge_updates
from .placement import Placement
from .plan import Plan
from .prefetch import with_prefetch
from .updates import store_output, store_updates, updates_last, written_over


def make_plan(
    graph: Graph, off: Collection[str] = (), kernels: Mapping[str, str] | None = None, tried: bool = False
) -> Plan:
    """Lower a graph of kernel operators, chains and movements (see ``passes``) to a :class:`Plan`.

    With ``tried`` all updates are tried before the first of them is done. ``off`` names what is left out (see
    ``passes/pipeline.py``): "blocks", and activations are never held in blocks of channels; "depth_first", and every
    call is for all images of the batch; "in_place", and no group of images writes over what it has read; "prefetch",
    and none prefetches; "merged_updates", and every update is a call of its own. The last four need the compiled
    executor. ``kernels`` are algorithms by operator to use wherever they can be (see ``kernels/override.py``).
    """
    compiled, width = backend() == "compiled", 0 if BLOCKS in off else block_width(isas())
    choice = Choice(isas(), REGISTRY.preferred(kernels))
    depth_first = compiled and width > 0 and DEPTH_FIRST not in off
    segments = segments_of(graph, choice) if depth_first else [Segment((node,), False) for node in graph.nodes]
    graph = replace(graph, nodes=tuple(node for segment in segments for node in segment.nodes))
    emitter = Emitter(Placement.of(graph, width, written_over(graph, graph.nodes)), choice)
    places, after_loss = _emit(emitter, graph, segments)
    first, last = updates_last(emitter.calls, tried)
    calls: list[Call] = [*first, *last]
    taken = {} if IN_PLACE in off else in_place(calls)
    if PREFETCH not in off:
        first = [with_prefetch(call, taken, places) for call in first]
    if compiled and MERGED_UPDATES not in off:
        first, last = merge_updates(first), merge_updates(last)
    calls = [*first, *last]
    offsets, arena = lay_out(calls, taken, after_loss)
    return Plan(graph, tuple(calls), tuple(emitter.setup), arena, {**offsets, **places}, guard=len(first))


def _emit(emitter: Emitter, graph: Graph, segments: Collection[Segment]) -> tuple[dict[Memory, int], int]:
    """Append the calls of all segments, then those that store outputs and updates. Returns where local memories are in
    that of a thread, and the number of calls when the first output, the loss of a training step, is there."""
    lower_node = NodeLowering({new for _, new in graph.updates})
    results, read_by = frozenset(graph.results()), _readers(segments)
    places: dict[Memory, int] = {}
    after_loss = 0
    for segment in segments:
        if segment.images:

            def read_outside(value: Value, segment: Segment = segment) -> bool:
                return value in results or bool(read_by.get(value, set()) - {segment})

            places |= lower_segment(emitter, segment.nodes, batch_of(graph), lower_node, read_outside)
        else:
            lower_node(emitter, *segment.nodes)
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
