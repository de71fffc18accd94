"""From an ONNX model to a graph, for given extents of its inputs.

Extents are concrete, so the arithmetic that exporters write for shapes (``Shape``, ``Gather``, ``Concat``, ...) is
done while reading and never reaches the graph. What is known while reading is an array; what is not is a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..graph import DTYPES, Graph, Spec, Value
from ..ops import Builder, OperatorError
from . import families  # noqa: F401  (fills the table)
from .node import OnnxError, OnnxNode
from .reader import OnnxModel
from .reading import Call, Padding, checked
from .table import EVALUATORS, READERS


def import_graph(model: OnnxModel, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The graph of ``model`` for inputs of the given ``shapes``; its weights are the model's own arrays.

    Raises :class:`OnnxError` for operators that are not supported (all of them in one message), for nodes that break
    their operator's rules, and where an array would not fit into the machine's memory.
    """
    check_operators(model)
    reading = Reading(model, shapes)
    for node in model.nodes:
        reading.read(node)
    outputs = [reading.value(port.name, "an output") for port in model.outputs]
    return reading.builder.graph(outputs)


def check_operators(model: OnnxModel) -> None:
    unknown: dict[str, list[str]] = {}
    for node in model.nodes:
        if node.domain or (node.op_type not in READERS and node.op_type not in EVALUATORS):
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            unknown.setdefault(name, []).append(f"'{node.label}'")
    if unknown:
        listed = "; ".join(f"{name} ({', '.join(labels)})" for name, labels in sorted(unknown.items()))
        raise OnnxError(f"{model.source} uses operators that are not supported: {listed}")


class Reading:
    """What each name of the file stands for so far: an array that is known, a value of the graph, or both."""

    def __init__(self, model: OnnxModel, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self.builder = Builder()
        self.known: dict[str, np.ndarray] = dict(model.weights)
        self.values: dict[str, Value] = {}
        self.paddings: dict[Value, Padding] = {}
        self.readers = Counter(name for node in model.nodes for name in node.inputs if name)
        self.readers.update(port.name for port in model.outputs)
        for port in model.inputs:
            dtype = "int64" if port.dtype == "int32" else port.dtype
            self.values[port.name] = self.builder.input(port.name, checked(Spec(shapes[port.name], dtype)))

    def read(self, node: OnnxNode) -> None:
        for name in node.inputs:
            if name and name not in self.known and name not in self.values:
                raise OnnxError(f"{self.model.source}: {node} reads '{name}', which nothing before it makes")
        call = Call(self, node)
        try:
            with self.builder.at(node.label, node.op_type):
                results = self._results(call)
        except OperatorError as error:
            raise OnnxError(f"{self.model.source}: {error}") from None
        except OnnxError as error:
            raise OnnxError(f"{self.model.source}: {node}: {error}") from None
        for name, result in zip(node.outputs, results, strict=False):
            if not name:
                continue
            if name in self.known or name in self.values:
                raise OnnxError(f"{self.model.source}: {node} makes '{name}', which exists already")
            if isinstance(result, Value):
                self.values[name] = result
            else:
                self.known[name] = result

    def _results(self, call: Call) -> Sequence[Value | np.ndarray]:
        node = call.node
        evaluator = EVALUATORS.get(node.op_type)
        if evaluator is not None and all(name in self.known for name in node.inputs if name):
            try:
                return [np.asarray(a) for a in evaluator(call)]
            except (ValueError, IndexError, TypeError, OverflowError, ArithmeticError) as error:
                raise error if isinstance(error, OnnxError) else OnnxError(f"cannot be computed: {error}") from None
        reader = READERS.get(node.op_type)
        if reader is None:
            unknown = next(name for name in node.inputs if name and name not in self.known)
            raise OnnxError(f"is only supported on what is known before the network runs, and '{unknown}' is not")
        results = reader(call)
        return [results] if isinstance(results, (Value, np.ndarray)) else results

    def value(self, name: str, what: str) -> Value:
        """The value of that name; a known array becomes a constant of the graph."""
        if name not in self.values:
            if name not in self.known:
                raise OnnxError(f"{self.model.source}: nothing makes '{name}', {what} of the network")
            self.values[name] = self.constant(self.known[name], name)
        return self.values[name]

    def constant(self, array: np.ndarray, name: str | None = None) -> Value:
        """A constant; an array that repeats one element or row by strides of zero stays as small as it is."""
        if array.dtype == np.int32:
            array = array.astype(np.int64)
        if array.dtype.name not in DTYPES:
            raise OnnxError(f"'{name}' has the element type {array.dtype}, which is not supported")
        kept = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)
        small = array[kept] if array.size else array
        value = self.builder.constant(np.ascontiguousarray(small).reshape(small.shape), name)
        return value if small.shape == array.shape else self.builder.add("expand", value, shape=array.shape)
