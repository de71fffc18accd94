"""From an ONNX model to a graph, for given extents of its inputs.

Extents are concrete, so the arithmetic that exporters write for shapes (``Shape``, ``Gather``, ``Concat``, ...) is
done while reading and never reaches the graph. What is known while reading is an array; what is not is a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..graph import DTYPES, Graph, Node, Spec, Value
from ..ops import Builder, OperatorError
from . import families  # noqa: F401  (fills the table)
from .import_context import ImportedNode, Padding, checked
from .node import OnnxError, OnnxNode
from .parse import OnnxModel, Port
from .schema import check_types
from .table import EVALUATORS, READERS


@np.errstate(all="ignore")
def import_graph(model: OnnxModel, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The graph of ``model`` for inputs of the given ``shapes``; its weights are the model's own arrays.

    Raises :class:`OnnxError` for operators that are not supported (all of them in one message), for nodes that break
    their operator's rules, and where an array would not fit into the machine's memory.
    """
    check_operators(model.source, model.nodes)
    reading = ImportContext(model, shapes)
    for node in model.nodes:
        reading.read(node)
    reading.refuse()
    return reading.builder.graph([reading.output(port) for port in model.outputs])


def check_operators(source: str, nodes: Sequence[OnnxNode]) -> None:
    """Raise :class:`OnnxError` for all nodes of operators that are not supported, whatever the inputs' extents."""
    _refuse(source, [n for n in nodes if n.domain or not (n.op_type in READERS or n.op_type in EVALUATORS)])


def _refuse(source: str, nodes: Sequence[OnnxNode]) -> None:
    named: dict[str, list[str]] = {}
    for node in nodes:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        named.setdefault(name, []).append(f"'{node.label}'")
    if named:
        listed = _some([f"{name} ({_some(labels, ', ')})" for name, labels in sorted(named.items())], "; ")
        raise OnnxError(f"{source} uses operators that are not supported: {listed}")


def _some(words: list[str], between: str, most: int = 20) -> str:
    more = [f"and {len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *more])


class ImportContext:
    """What each name of the file stands for so far: an array that is known, a value of the graph, or both.

    ``beyond`` are the names that could not be read since an operator is not supported, ``refused`` its nodes;
    ``makers`` has the graph's node for each value, ``taken`` counts the bytes of the arrays that were computed,
    ``pieces`` those that nodes cut arrays into or put together.
    """

    def __init__(self, model: OnnxModel, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self.limits = model.limits
        self.pieces = 0
        self.taken = -2 * sum(array.nbytes for array in model.weights.values())
        self.builder = Builder()
        self.makers: dict[Value, Node] = {}
        self.known: dict[str, np.ndarray] = dict(model.weights)
        self.values: dict[str, Value] = {}
        self.refused: list[OnnxNode] = []
        self.beyond: set[str] = set()
        self.paddings: dict[Value, Padding] = {}
        self.readers = Counter(name for node in model.nodes for name in node.inputs if name)
        self.readers.update(port.name for port in model.outputs)
        for port in model.inputs:
            spec = Spec(shapes[port.name], "int64" if port.dtype == "int32" else port.dtype)
            try:
                self.values[port.name] = self.builder.input(port.name, checked(spec, self.limits))
            except OperatorError as error:
                raise OnnxError(f"{model.source}: {error}") from None
            except OnnxError as error:
                raise OnnxError(f"{model.source}: input '{port.name}': {error}") from None

    def take(self, nbytes: int) -> None:
        """Count an array that is about to be computed. The weights' own size comes off twice, since each of them may
        be laid out anew, or scaled, for the node that reads it."""
        self.taken += nbytes
        if self.taken > self.limits.constant_bytes:
            words = f"the arrays that are computed while the network is read come to {self.taken} bytes here"
            self.limits.check("constant_bytes", self.taken, words)

    def refuse(self) -> None:
        """Raise for the nodes that could not be read because their operator is only supported on known arrays."""
        _refuse(self.model.source, self.refused)

    def read(self, node: OnnxNode) -> None:
        for name in node.inputs:
            if name and not (name in self.known or name in self.values or name in self.beyond):
                raise OnnxError(f"{self.model.source}: {node} reads '{name}', which nothing before it makes")
        computed = any(name and name not in self.known for name in node.inputs)
        beyond = any(name in self.beyond for name in node.inputs)
        if beyond or (computed and node.op_type not in READERS):
            self.beyond.update(node.outputs)
            self.refused += [] if beyond else [node]
            return
        call = ImportedNode(self, node)
        try:
            if not self.known.keys().isdisjoint(node.inputs):
                check_types(node, [self._known_type(name) for name in node.inputs], self.model.opset)
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
        for i, name in enumerate(node.outputs[len(results) :], len(results)):
            if self.readers[name]:
                raise OnnxError(f"{self.model.source}: {node}: its output {i}, '{name}', is not supported")

    def _known_type(self, name: str) -> str:
        """The element type of a known array; empty for a value, whose type the graph's operators check."""
        array = self.known.get(name)
        return "" if array is None else array.dtype.name

    def _results(self, call: ImportedNode) -> Sequence[Value | np.ndarray]:
        node = call.node
        evaluator = EVALUATORS.get(node.op_type)
        if evaluator is not None and all(name in self.known for name in node.inputs if name):
            try:
                return [np.asarray(a) for a in evaluator(call)]
            except (ValueError, IndexError, TypeError, ArithmeticError, MemoryError) as error:
                raise error if isinstance(error, OnnxError) else OnnxError(f"cannot be computed: {error}") from None
        results = READERS[node.op_type](call)
        return [results] if isinstance(results, (Value, np.ndarray)) else results

    def value(self, name: str, what: str) -> Value:
        """The value of that name; a known array becomes a constant of the graph."""
        if name not in self.values:
            if name not in self.known:
                raise OnnxError(f"nothing makes '{name}', {what} of the network")
            self.values[name] = self.constant(self.known[name], name)
        return self.values[name]

    def output(self, port: Port) -> Value:
        try:
            value = self.value(port.name, "an output")
        except OnnxError as error:
            raise OnnxError(f"{self.model.source}: {error}") from None
        if value.dtype != ("int64" if port.dtype == "int32" else port.dtype):
            raise OnnxError(
                f"{self.model.source}: output '{port.name}' is declared as {port.dtype}, "
                f"but the network makes {value.dtype}"
            )
        return value

    def constant(self, array: np.ndarray, name: str | None = None) -> Value:
        """A constant; an array that repeats one element or row by strides of zero stays as small as it is."""
        if array.dtype == np.int32:
            self.take(2 * array.nbytes)
            array = array.astype(np.int64)
        if array.dtype.name not in DTYPES:
            raise OnnxError(f"'{name}' has the element type {array.dtype}, which is not supported")
        checked(Spec.of(array), self.limits)
        kept = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)
        small = array[kept] if array.size else array
        if not small.flags.c_contiguous:
            self.take(small.nbytes)
        value = self.builder.constant(np.ascontiguousarray(small).reshape(small.shape), name)
        return value if small.shape == array.shape else self.builder.add("expand", value, shape=array.shape)
