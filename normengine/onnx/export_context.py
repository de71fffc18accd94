"""The state of an export: names for values, nodes in order, and initializers of an ONNX graph as it is being
written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..graph import Graph, Node, Value
from ..ops import OPS
from ..passes.labels import labels
from .node import OnnxError

BATCH = "N"
"""The name of the dynamic batch axis."""


class Emitted(NamedTuple):
    """One ONNX node to be."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class ExportContext:
    """``nodes`` and ``initializers`` are filled in by :meth:`write`, one node of the graph after the other.

    ``writers`` is the table of operators (see :mod:`.table`); ``settings`` holds, by layer, attributes that only the
    layer knows (batch normalization's momentum).
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[str],
        opset: int,
        settings: Mapping[str, Any],
        writers: Mapping[str, Writer],
    ) -> None:
        self.opset = opset
        self.settings = settings
        self.nodes: list[Emitted] = []
        self.initializers: dict[str, np.ndarray] = {}
        self._writers = writers
        self._graph = graph
        self._labels = labels(graph)
        self._taken: set[str] = {v.name for v in graph.inputs} | set(outputs)
        self._node_names: set[str] = set()
        self._names: dict[Value, str] = {v: v.name for v in graph.inputs}
        self._small: dict[tuple[Any, ...], str] = {}
        self._copies: list[tuple[Value, str]] = []
        for value, name in zip(graph.outputs, outputs, strict=True):
            if value in self._names or value in graph.constants:
                self._copies.append((value, name))
            else:
                self._names[value] = name
        for value in graph.constants:
            self._names[value] = self._unique(value.name)

    def write(self) -> None:
        for node in self._graph.nodes:
            writer = self._writers.get(node.op)
            if writer is not None:
                writer(self, node)
            elif OPS[node.op].onnx is not None:
                self._write_mapped(node)
            else:
                raise OnnxError(f"'{self._labels[node]}': {node.op} has no form in ONNX")
        for value, name in self._copies:
            self._append("Identity", (self.name(value),), (name,), name, {})

    def name(self, value: Value) -> str:
        """The ONNX name of a value; a constant becomes an initializer when it is first asked for."""
        if value in self._graph.constants:
            self.initializers.setdefault(self._names[value], self._graph.constants[value])
        return self._names[value]

    def array(self, value: Value) -> np.ndarray | None:
        return self._graph.constants.get(value)

    def label(self, node: Node) -> str:
        return self._labels[node]

    def make(
        self, node: Node, op_type: str, *inputs: str | Value, result: Value | None = None, **attributes: object
    ) -> None:
        """The ONNX node that makes ``result``, by default the graph node's outputs."""
        results = node.outputs if result is None else (result,)
        for value in results:
            if value not in self._names:
                self._names[value] = self._unique(f"{self._labels[node]}.output")
        names = tuple(self._names[value] for value in results)
        self._append(op_type, self._inputs(inputs), names, self._labels[node], attributes)

    def step(self, node: Node, op_type: str, *inputs: str | Value, **attributes: object) -> str:
        """An ONNX node on the way to the graph node's outputs; returns its output's name."""
        output = self._unique(f"{self._labels[node]}.{op_type}")
        self._append(op_type, self._inputs(inputs), (output,), output, attributes)
        return output

    def constant(self, array: np.ndarray | Sequence[int] | float, stem: str) -> str:
        """The name of an initializer of these values, one for all nodes that need the same."""
        array = np.asarray(array, np.float32 if isinstance(array, float) else None)
        key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self._small:
            self._small[key] = self._unique(stem)
            self.initializers[self._small[key]] = array
        return self._small[key]

    def integers(self, numbers: Sequence[int], stem: str) -> str:
        return self.constant(np.array(numbers, np.int64), stem)

    def _inputs(self, inputs: Sequence[str | Value]) -> tuple[str, ...]:
        return tuple(v if isinstance(v, str) else self.name(v) for v in inputs)

    def _append(
        self, op_type: str, inputs: tuple[str, ...], outputs: tuple[str, ...], stem: str, attributes: Mapping[str, Any]
    ) -> None:
        self.nodes.append(Emitted(op_type, _free(stem, self._node_names), inputs, outputs, attributes))

    def _write_mapped(self, node: Node) -> None:
        mapping = OPS[node.op].onnx
        assert mapping is not None
        attributes = {theirs: node.attrs[ours] for ours, theirs in mapping.attributes.items()}
        self.make(node, mapping.op_type, *node.inputs, **attributes)

    def _unique(self, stem: str) -> str:
        return _free(stem, self._taken)


def _free(stem: str, taken: set[str]) -> str:
    """``stem``, or ``stem_2`` and so on where it is taken; taken from now on."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


Writer = Callable[[ExportContext, Node], None]
"""Adds ONNX nodes that make the outputs of a node of the graph."""
