"""New values of state: which are written straight over the old ones, and what stores the others, and the outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..graph import Graph, Node, Value
from .access import Access
from .arguments import Memory
from .call import Call, KernelCall
from .emitter import Emitter
from .placement import is_view
from .trials import stores, trials


def written_over(graph: Graph, nodes: Sequence[Node]) -> dict[Value, Value]:
    """New values that can be written straight over the old: made by a chain after which nobody reads the old, and whose
    results all are such ones, stored once and read by nobody, so that it can run when all else is done. ``nodes`` are
    those of ``graph`` in the order in which they are lowered."""
    producers, readers = graph.producers(), graph.consumers()
    position = {node: i for i, node in enumerate(nodes)}
    last_read: dict[Value, int] = {}
    base: dict[Value, Value] = {}
    for node in nodes:
        for value in node.inputs:
            last_read[base.get(value, value)] = position[node]
        if is_view(node):
            base[node.outputs[0]] = base.get(node.inputs[0], node.inputs[0])
    outputs = set(graph.outputs)
    read_at_end = {base.get(v, v) for v in graph.results()}
    legal: dict[Value, Value] = {}
    times = Counter(new for _, new in graph.updates)
    for old, new in graph.updates:
        producer = producers.get(new)
        if producer is None or "nodes" not in producer.attrs or times[new] > 1 or old in read_at_end:
            continue
        if new in outputs or new in readers:
            continue
        through_view = any(base.get(v) is old for v in producer.inputs)
        if last_read.get(old, -1) <= position[producer] and not through_view:
            legal[new] = old
    return {new: old for new, old in legal.items() if all(v in legal for v in producers[new].outputs)}


def store_output(emitter: Emitter, value: Value, index: int) -> None:
    """Copy an output that is a view or lies in memory with another purpose."""
    access = emitter.access(value)
    memory = emitter.placement.home(access.base)
    if memory.kind != "output" or memory.index != index or not access.dense:
        result = Value(value.name, value.spec)
        emitter.placement.memory[result] = Memory("output", value.spec.nbytes, index=index)
        emitter.copy(access, Access.whole(result), "")


def store_updates(emitter: Emitter, graph: Graph) -> None:
    """Copy state that was not written over."""
    copies = []
    for old, new in graph.updates:
        if emitter.placement.over.get(new) is old:
            continue
        access = emitter.access(new)
        if emitter.placement.home(access.base).kind == "feed":
            fresh = Value(new.name, new.spec)
            emitter.copy(access, Access.whole(fresh), "")
            access = Access.whole(fresh)
        copies.append((access, Access.whole(old)))
    for source, target in copies:
        emitter.copy(source, target, "")


def updates_last(calls: Sequence[Call], tried: bool) -> tuple[list[Call], list[Call]]:
    """The calls with those behind that store to state, none of which reads what another one of them has stored; where
    updates are ``tried``, trials of them come in between."""
    last = [call for call in calls if stores(call)]
    first = [call for call in calls if not stores(call)]
    tries = trials([call for call in last if isinstance(call, KernelCall)]) if tried else []
    return [*first, *tries], last
