"""Rematerialization: values that a loop can compute again from what it reads anyway are not read from memory.

Of a loop over images, memory limits the speed: a few more multiplications cost nothing. A value ``v`` that one chain
makes and another reads is computed again by the reader where the reader then reads fewer arrays, or as many and nobody
reads ``v`` any more, so that it need not be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..graph import Graph, Node, Value, check
from ..ops import OPS
from .fuse import MAX_OPERATIONS, operations

MAX_NODES = 12
"""Nodes, at most, that are computed again for one value."""
MAX_OPERANDS = 16


def rematerialize(graph: Graph) -> Graph:
    """``graph``, as ``fuse`` made it, with values computed again in the chains that read them."""
    chains = _Chains(graph)
    for node in graph.nodes:
        if node.op == "chain":
            chains.shorten(node)
    return check(chains.graph())


class _Chains:
    """The graph's chains as they change; ``now`` has the current form of each of the graph's nodes."""

    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.now = {node: node for node in graph.nodes}
        self.maker = {v: node for node in graph.nodes for v in node.outputs}
        self.results = set(graph.results())
        self.readers = {v: set(nodes) for v, nodes in graph.consumers().items()}

    def graph(self) -> Graph:
        g = self.source
        nodes = list(self._without_unread())
        return Graph(g.inputs, g.outputs, tuple(nodes), g.state, g.constants, g.updates)

    def shorten(self, node: Node) -> None:
        """Compute inputs of ``node`` in it, one after the other, as long as that saves anything."""
        for value in node.inputs:
            chain = self.now[node]
            if value in chain.inputs and value.shape == _shape(chain) and self._saves(chain, value):
                self._inline(node, value)

    def _saves(self, chain: Node, value: Value) -> bool:
        tree = self._tree(value)
        if tree is None or len(_operands(chain, tree) - {value}) > MAX_OPERANDS or not _has_room(chain, tree):
            return False
        before, after = _large(chain.inputs, _shape(chain)), _large(_operands(chain, tree), _shape(chain)) - {value}
        if len(after) < len(before):
            return True
        return len(after) == len(before) and value not in self.results and self._can_do_without(value)

    def _can_do_without(self, value: Value) -> bool:
        """Whether every chain that reads ``value`` can compute it while it reads no more than now."""
        tree = self._tree(value)
        assert tree is not None
        for node in self.readers[value]:
            reader = self.now[node]
            if reader.op != "chain" or _shape(reader) != value.shape or not _has_room(reader, tree):
                return False
            operands = _operands(reader, tree) - {value}
            shape = _shape(reader)
            if len(operands) > MAX_OPERANDS or len(_large(operands, shape)) > len(_large(reader.inputs, shape)):
                return False
        return True

    def _tree(self, value: Value) -> list[Node] | None:
        """The nodes that make ``value`` inside its chain, in order; None where they are none, too many or too dear."""
        maker = self.maker.get(value)
        if maker is None or maker.op != "chain" or any(value in n.outputs for n in maker.attrs.get("sums", ())):
            return None
        tree = steps_to(value, self.now[maker].attrs["nodes"])
        cheap = all(map(is_cheap, tree)) and len(tree) <= MAX_NODES
        return tree if tree and cheap else None

    def _inline(self, node: Node, value: Value) -> None:
        chain, tree = self.now[node], self._tree(value)
        assert tree is not None
        again: dict[Value, Value] = {}
        copies = []
        for step in tree:
            (made,) = step.outputs
            again[made] = Value(made.name, made.spec)
            copies.append(replace(step, inputs=tuple(again.get(v, v) for v in step.inputs), outputs=(again[made],)))
        attrs = {
            key: tuple(replace(n, inputs=tuple(again.get(v, v) for v in n.inputs)) for n in nodes)
            for key, nodes in chain.attrs.items()
        }
        attrs["nodes"] = (*copies, *attrs["nodes"])
        inputs = tuple(operands_of([*attrs["nodes"], *attrs.get("sums", ())]))
        self.now[node] = replace(chain, inputs=inputs, attrs=MappingProxyType(attrs))
        for read in chain.inputs:
            self.readers[read].discard(node)
        for read in inputs:
            self.readers.setdefault(read, set()).add(node)

    def _without_unread(self) -> Iterable[Node]:
        """The nodes in order, chains without what nobody reads."""
        read = set(self.results)
        kept: list[Node] = []
        for original in reversed(self.source.nodes):
            node = self.now[original]
            if node.op == "chain":
                node = _pruned(node, read)
            if any(v in read for v in node.outputs) or not original.outputs:
                kept.append(node)
                read.update(node.inputs)
        return reversed(kept)


def _pruned(chain: Node, read: set[Value]) -> Node:
    outputs = tuple(v for v in chain.outputs if v in read)
    sums = tuple(n for n in chain.attrs.get("sums", ()) if n.outputs[0] in read)
    wanted = {*outputs, *(v for n in sums for v in n.inputs)}
    nodes = []
    for node in reversed(chain.attrs["nodes"]):
        if node.outputs[0] in wanted:
            nodes.append(node)
            wanted.update(node.inputs)
    attrs: Mapping[str, tuple[Node, ...]] = {"nodes": tuple(reversed(nodes)), **({"sums": sums} if sums else {})}
    inputs = tuple(operands_of([*attrs["nodes"], *sums]))
    return replace(chain, inputs=inputs, outputs=outputs, attrs=MappingProxyType(attrs))


def _shape(chain: Node) -> tuple[int, ...]:
    shape: tuple[int, ...] = chain.attrs["nodes"][0].outputs[0].shape
    return shape


def _has_room(chain: Node, tree: list[Node]) -> bool:
    """Whether a chain stays as short as ``fuse`` makes them if it has the nodes of ``tree`` too."""
    return operations((*chain.attrs["nodes"], *tree)) <= MAX_OPERATIONS


def is_cheap(node: Node) -> bool:
    """Whether the node takes a few instructions; others are worth a pass over memory."""
    scalar = OPS[node.op].scalar
    return scalar is not None and scalar.cheap


def steps_to(value: Value, nodes: Sequence[Node]) -> list[Node]:
    """Those of a chain's nodes that ``value`` is made by, in order."""
    wanted, steps = {value}, []
    for node in reversed(nodes):
        if node.outputs[0] in wanted:
            steps.append(node)
            wanted.update(node.inputs)
    return steps[::-1]


def operands_of(nodes: Iterable[Node]) -> list[Value]:
    """What the nodes read and do not make, in order, each once."""
    nodes = list(nodes)
    made = {v for n in nodes for v in n.outputs}
    return list(dict.fromkeys(v for n in nodes for v in n.inputs if v not in made))


def _operands(chain: Node, tree: list[Node]) -> set[Value]:
    return {*chain.inputs, *operands_of(tree)}


def _large(values: Iterable[Value], shape: tuple[int, ...]) -> set[Value]:
    """The values that are read element by element."""
    return {v for v in values if v.shape == shape}
