"""Graphs are made here: a builder infers each node's outputs and names the layer in every error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np

from ..graph import Graph, Node, Spec, Value, check
from .inference import RULES, OperatorError
from .rules import require_size


class Builder:
    """Collects values and nodes, then becomes a :class:`~normengine.graph.Graph`."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.state: dict[str, Value] = {}
        self.constants: dict[Value, np.ndarray] = {}
        self.nodes: list[Node] = []
        self.updates: dict[Value, Value] = {}
        self._layer = ""
        self._kind = ""
        self._count = 0

    @classmethod
    def extending(cls, graph: Graph) -> Builder:
        """A builder that holds everything of ``graph`` and goes on from there."""
        builder = cls()
        builder.inputs = list(graph.inputs)
        builder.state = {v.name: v for v in graph.state}
        builder.constants = dict(graph.constants)
        builder.nodes = list(graph.nodes)
        builder.updates = dict(graph.updates)
        builder._count = sum(len(n.outputs) for n in graph.nodes) + len(graph.constants)
        return builder

    @classmethod
    def rewriting(cls, graph: Graph) -> Builder:
        """A builder with the inputs, state and constants of ``graph`` but none of its nodes: where a pass starts."""
        builder = cls.extending(graph)
        builder.nodes, builder.updates = [], {}
        return builder

    def copy(self) -> Builder:
        """A builder that holds the same, and goes on by itself."""
        other = Builder()
        other.inputs, other.state, other.constants = list(self.inputs), dict(self.state), dict(self.constants)
        other.nodes, other.updates, other._count = list(self.nodes), dict(self.updates), self._count
        return other

    @contextmanager
    def at(self, layer: str, kind: str = "") -> Iterator[None]:
        """Nodes added inside belong to ``layer``; ``kind`` (``Conv2d``) goes before the name in errors."""
        before = self._layer, self._kind
        self._layer, self._kind = layer, kind
        try:
            yield
        finally:
            self._layer, self._kind = before

    def input(self, name: str, spec: Spec) -> Value:
        """A new input; raises :class:`OperatorError` for more axes or bytes than an array may have."""
        require_size(f"input '{name}'", spec)
        value = Value(name, spec)
        self.inputs.append(value)
        return value

    def state_value(self, name: str, spec: Spec) -> Value:
        """The state value of that name, made on first use."""
        if name not in self.state:
            self.state[name] = Value(name, spec)
        return self.state[name]

    def constant(self, array: np.ndarray | float, name: str | None = None) -> Value:
        array = np.asarray(array, dtype=np.float32 if isinstance(array, (int, float)) else None)
        value = Value(name or self._fresh("c"), Spec.of(array))
        self.constants[value] = array
        return value

    def update(self, old: Value, new: Value) -> None:
        """Store ``new`` over the state value or input ``old`` when the graph has run."""
        self.updates[old] = new

    def add(self, op: str, *inputs: Value, **attrs: object) -> Value:
        """Append a node with one output and return it."""
        (value,) = self.add_multi(op, *inputs, **attrs)
        return value

    def add_multi(self, op: str, *inputs: Value, **attrs: object) -> tuple[Value, ...]:
        """Append a node and return all its outputs."""
        try:
            specs = RULES[op]([v.spec for v in inputs], attrs)
            for spec in specs:
                require_size("the result", spec)
        except OperatorError as error:
            place = f"{self._kind or op} '{self._layer}'" if self._layer else (self._kind or op)
            raise OperatorError(f"{place}: {error}") from None
        outputs = tuple(Value(self._fresh(op), spec) for spec in specs)
        self.nodes.append(Node(op, tuple(inputs), outputs, MappingProxyType(dict(attrs)), self._layer))
        return outputs

    def replay(self, node: Node, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Append ``node`` again on other inputs, its layer kept."""
        with self.at(node.layer):
            return self.add_multi(node.op, *inputs, **node.attrs)

    def graph(self, outputs: Sequence[Value]) -> Graph:
        """The checked graph of all that was added, without what ``outputs`` and updates do not need."""
        graph = Graph(
            inputs=tuple(self.inputs),
            outputs=tuple(outputs),
            nodes=tuple(self.nodes),
            state=tuple(self.state.values()),
            constants=dict(self.constants),
            updates=tuple(self.updates.items()),
        )
        return check(graph.pruned())

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"
