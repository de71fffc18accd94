"""What makes a graph well formed, as one function that every pass's result must satisfy."""

from __future__ import annotations

from .graph import Graph, Value
from .spec import DTYPES, Spec


class GraphError(ValueError):
    """A graph breaks a rule of the representation; the message names the node or value."""


def check(graph: Graph) -> Graph:
    """Return ``graph`` if it is well formed, else raise :class:`GraphError`.

    Every value has one source (input, state, constant or one node), is made before it is read, and has a known
    dtype and non-negative extents; constants match their specs; updates store equal specs over state or inputs.
    """
    known: set[Value] = set()

    def define(value: Value, source: str) -> None:
        if value in known:
            raise GraphError(f"value %{value.name} has two sources, the second is {source}")
        if value.dtype not in DTYPES:
            raise GraphError(f"value %{value.name} ({source}): dtype {value.dtype} is not one of {', '.join(DTYPES)}")
        if any(n < 0 for n in value.shape):
            raise GraphError(f"value %{value.name} ({source}): shape {value.shape} has a negative extent")
        known.add(value)

    for value in graph.inputs:
        define(value, "an input")
    for value in graph.state:
        define(value, "state")
    for value, array in graph.constants.items():
        define(value, "a constant")
        if Spec.of(array) != value.spec:
            raise GraphError(f"constant %{value.name} is declared {value.spec}, its array is {Spec.of(array)}")
    for node in graph.nodes:
        for value in node.inputs:
            if value not in known:
                raise GraphError(f"{node.op} '{node.layer}' reads %{value.name} before anything makes it")
        for value in node.outputs:
            define(value, f"{node.op} '{node.layer}'")
    sources = set(graph.inputs) | set(graph.state)
    for old, new in graph.updates:
        if old not in sources:
            raise GraphError(f"update of %{old.name}: only inputs and state can be stored to")
        if new not in known:
            raise GraphError(f"update of %{old.name}: nothing makes %{new.name}")
        if old.spec != new.spec:
            raise GraphError(f"update of %{old.name} ({old.spec}) from %{new.name} ({new.spec}): the specs differ")
    for value in graph.outputs:
        if value not in known:
            raise GraphError(f"output %{value.name}: nothing makes it")
    return graph
