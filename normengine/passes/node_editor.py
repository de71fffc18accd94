"""A graph while some of its nodes are exchanged or taken out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..graph import Graph, Node, Spec, Value, check
from ..ops import OPS
from .labels import labels

FAR = 64
"""Nodes without arithmetic of their own that may lie between a batch normalization and what takes it."""


class NodeEditor:
    """Values keep their identity, so that no reader has to be told. A node that takes another's place has its position,
    and its name.

    ``results`` are the values that are read after the run, ``names`` what to call each node, ``origins`` the given
    graph's node that each exchanged one was; ``beyond`` says of inputs and outputs where they come from and go to,
    where that is another part of the network.
    """

    def __init__(self, graph: Graph, beyond: Mapping[Value, str]) -> None:
        self.beyond = beyond
        self.results = set(graph.results())
        self.names = labels(graph)
        self.origins: dict[Node, Node] = {}
        self._graph = graph
        self._nodes: dict[int, Node] = dict(enumerate(graph.nodes))
        self._position = {node: i for i, node in self._nodes.items()}
        self._makers = graph.producers()
        self._readers: dict[Value, dict[int, None]] = {}
        for i, node in self._nodes.items():
            self._read(node, i)
        self._changed: set[int] = set()
        self._constants = dict(graph.constants)
        self._exact: dict[Value, np.ndarray] = {}

    def graph(self) -> Graph:
        """The graph as it is now, without what no result needs any more."""
        nodes = tuple(self._nodes[i] for i in sorted(self._nodes))
        return check(replace(self._graph, nodes=nodes, constants=self._constants).pruned())

    def at(self, position: int) -> Node:
        """The node in that position of the given graph."""
        return self._nodes[position]

    def maker(self, value: Value) -> Node | None:
        """The node that makes the value."""
        return self._makers.get(value)

    def readers(self, value: Value) -> list[Node]:
        """The nodes that read the value, in order."""
        return [self._nodes[i] for i in sorted(self._readers.get(value, ()))]

    def ordered(self, nodes: Collection[Node]) -> list[Node]:
        """Nodes in the order in which they run."""
        return sorted(nodes, key=self._position.__getitem__)

    def named(self, nodes: Collection[Node]) -> str:
        """The names of nodes as messages have them."""
        return ", ".join(f"'{self.names[n]}'" for n in nodes)

    def array(self, value: Value) -> np.ndarray | None:
        """A constant, before it was rounded if it was made here."""
        return self._exact.get(value, self._constants.get(value))

    def constant(self, name: str, exact: np.ndarray) -> Value:
        """A new constant, rounded; what is folded into it later starts from ``exact``."""
        value = Value(name, Spec(exact.shape))
        self._constants[value] = np.ascontiguousarray(exact, dtype=np.float32)
        self._exact[value] = exact
        return value

    def exchange(self, node: Node, inputs: tuple[Value, ...], outputs: tuple[Value, ...]) -> None:
        """Let ``node`` read and make other values."""
        made = replace(node, inputs=inputs, outputs=outputs)
        self.names[made] = self.names[node]
        self.origins[made] = self.origins.get(node, node)
        position = self.take_out(node)
        self._nodes[position] = made
        self._position[made] = position
        self._makers.update(dict.fromkeys(made.outputs, made))
        self._read(made, position)
        self._touch(made)

    def take_out(self, node: Node) -> int:
        """Remove ``node``; returns its position."""
        position = self._position.pop(node)
        del self._nodes[position]
        for value in dict.fromkeys(node.inputs):
            del self._readers[value][position]
        self._touch(node)
        return position

    def take_changed(self) -> set[int]:
        """The positions of nodes whose neighbours have been exchanged since this was asked last, and of those that see
        them through nodes that carry affine maps."""
        reached, waiting, passed = set(self._changed), list(self._changed), 0
        while waiting and passed < FAR:
            node = self._nodes.get(waiting.pop())
            if node is not None and OPS[node.op].carries is not None:
                passed += 1
                new = set(self._beside(node)) - reached
                reached |= new
                waiting += sorted(new)
        self._changed = set()
        return reached

    def _read(self, node: Node, position: int) -> None:
        for value in node.inputs:
            self._readers.setdefault(value, {})[position] = None

    def _touch(self, node: Node) -> None:
        """Note that the neighbours of ``node`` are no longer what they were."""
        self._changed.update(self._beside(node))

    def _beside(self, node: Node) -> Iterator[int]:
        for value in node.inputs:
            if value in self._makers and (maker := self._position.get(self._makers[value])) is not None:
                yield maker
            yield from self._readers.get(value, ())
        for value in node.outputs:
            yield from self._readers.get(value, ())
