"""One graph for every batch size: what two traces at batch 2 and 3 have in common, and that at batch n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..graph import Graph, Node, Spec, Value
from .base import OperatorError
from .builder import Builder
from .rules import depends_on_batch, place
from .table import OPS


def with_batch(graph: Graph, n: int) -> Graph:
    """``graph`` on inputs whose leading extent is ``n``; scalar inputs, state and constants stay as they are.

    Raises :class:`OperatorError` naming the layer where an operator's attributes hold another batch size.
    """
    inputs = tuple(Value(v.name, Spec((n, *v.shape[1:]), v.dtype)) if v.shape else v for v in graph.inputs)
    return _replayed(graph, inputs, [node.attrs for node in graph.nodes])


def merge_batches(at2: Graph, at3: Graph) -> Graph:
    """The graph of ``at2`` with the attributes that differ from ``at3`` in a form that holds for every batch size.

    ``at2`` and ``at3`` are traces of one function at batch 2 and batch 3. Extents of reshape become 0 (the input's) or
    -1 (what remains), those of expand and unslice -1 (the input's), ends of slices :data:`~.shape.TO_END`.
    Raises :class:`OperatorError` where the function depends on the batch size in any other way.
    """
    return _replayed(at2, at2.inputs, _common(at2, at3))


def is_same_at(graph: Graph, other: Graph) -> bool:
    """Whether two graphs of one network, read at two batch sizes, are that of every batch size: what they do and the
    numbers that they compute with do not depend on it."""
    try:
        _common(graph, other)
    except OperatorError:
        return False
    return True


def _common(at2: Graph, at3: Graph) -> list[Mapping[str, Any]]:
    """The attributes of each node in a form that holds for both graphs."""
    if [n.op for n in at2.nodes] != [n.op for n in at3.nodes]:
        raise OperatorError("the network does different things at batch 2 and 3; its forward must not branch on it")
    partner = _same_wiring(at2, at3)
    _same_constants(at2, at3, partner)
    return [_merged(a, b) for a, b in zip(at2.nodes, at3.nodes, strict=True)]


def _replayed(graph: Graph, inputs: Sequence[Value], attrs: Sequence[Mapping[str, Any]]) -> Graph:
    """The nodes of ``graph`` on other inputs and with other attributes."""
    now: dict[Value, Value] = dict(zip(graph.inputs, inputs, strict=True))
    builder = Builder.rewriting(replace(graph, inputs=tuple(inputs)))
    for node, own in zip(graph.nodes, attrs, strict=True):
        outputs = builder.replay(replace(node, attrs=own), [now.get(v, v) for v in node.inputs])
        now.update(zip(node.outputs, outputs, strict=True))
    for old, new in graph.updates:
        builder.update(now.get(old, old), now.get(new, new))
    return builder.graph([now.get(v, v) for v in graph.outputs])


def _same_wiring(at2: Graph, at3: Graph) -> dict[Value, Value]:
    """Each value of ``at2`` and its partner in ``at3``."""
    partner: dict[Value, Value] = {}

    def pair(ours: Sequence[Value], theirs: Sequence[Value], place: str) -> None:
        if len(ours) != len(theirs):
            raise OperatorError(f"{place}: {len(ours)} values at batch 2, {len(theirs)} at batch 3")
        partner.update(zip(ours, theirs, strict=True))

    pair(at2.inputs, at3.inputs, "inputs")
    pair(at2.state, at3.state, "parameters and buffers")
    pair(tuple(at2.constants), tuple(at3.constants), "constants")
    for a, b in zip(at2.nodes, at3.nodes, strict=True):
        if [partner[v] for v in a.inputs] != list(b.inputs):
            raise OperatorError(f"{place(a)} reads different values at batch 2 and 3")
        pair(a.outputs, b.outputs, place(a))
    if [partner[v] for v in at2.results()] != list(at3.results()):
        raise OperatorError("the network returns different values at batch 2 and 3")
    return partner


def _same_constants(at2: Graph, at3: Graph, partner: Mapping[Value, Value]) -> None:
    readers = at2.consumers()
    for value, array in at2.constants.items():
        other = at3.constants[partner[value]]
        if array is other:
            continue
        if array.shape != other.shape or not np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
            reader = place(readers[value][0]) if value in readers else "a result"
            raise OperatorError(f"{reader} uses a number computed from the batch size; use an operator such as mean")


def _merged(a: Node, b: Node) -> Mapping[str, Any]:
    if dict(a.attrs) == dict(b.attrs):
        return a.attrs
    rule = OPS[a.op].at_every_batch
    if rule is None:
        raise depends_on_batch(a, b, *(name for name in a.attrs if a.attrs[name] != b.attrs[name]))
    return rule(a, b)
