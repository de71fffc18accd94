"""The state of an import: what each name of the file stands for so far, and the one node that a family's function
reads, with what is known of its inputs and the graph to add to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..graph import DTYPES, MAX_RANK, MEMORY, Node, Spec, Value
from ..ops import OPS, Builder, OperatorError
from .expansion import expansion, is_expandable
from .node import Body, OnnxError, OnnxNode, UnknownInputError
from .old_forms import in_newer_form
from .parse import OnnxModel, Port
from .schema import check_types
from .scope import Origins, names_within, renamed
from .tensors import held
from .values import INTEGERS, NARROW, as_declared, checked
from .values import Padding as Padding

Result = Value | np.ndarray | None
Results = Sequence[Result]
"""What the outputs of a node stand for; None where an operator that is not supported would have to make them."""


class ImportContext:
    """What each name of the file stands for so far: an array that is known, a value of the graph, or both.

    ``readers`` and ``evaluators`` are the tables of operators (see :mod:`.table`), ``inputs`` the arrays of those
    inputs that are known. ``opset`` is the version of the operators that are being read, ``origins`` has what each name
    is computed from. ``reads`` counts how often each name is read, ``beyond`` are the names that could not be read
    since an operator is not supported, ``refused`` its nodes; ``makers`` has the graph's node for each value, ``taken``
    counts the bytes of the arrays that were computed, ``pieces`` those that nodes cut arrays into or put together.
    """

    def __init__(
        self,
        model: OnnxModel,
        shapes: Mapping[str, tuple[int, ...]],
        readers: Mapping[str, Reader],
        evaluators: Mapping[str, Evaluator],
        inputs: Mapping[str, np.ndarray],
    ) -> None:
        self.model = model
        self.opset = model.opset
        self.limits = model.limits
        self._readers = readers
        self._evaluators = evaluators
        self.pieces = 0
        self.taken = -2 * sum(array.nbytes for array in model.weights.values())
        self.builder = Builder()
        self.makers: dict[Value, Node] = {}
        self.known: dict[str, np.ndarray] = dict(model.weights)
        self.values: dict[str, Value] = {}
        self.origins = Origins()
        self.refused: list[OnnxNode] = []
        self.beyond: set[str] = set()
        self.paddings: dict[Value, Padding] = {}
        self.reads = Counter(name for node in model.nodes for name in node.inputs if name)
        self.reads.update(port.name for port in model.outputs)
        for port in model.inputs:
            if port.name in inputs:
                self.known[port.name] = as_declared(port, inputs[port.name])
                continue
            if shapes[port.name] == (0,):  # as of axes where there are none, it is known though nobody gave it
                self.known[port.name] = as_declared(port, np.empty(0, port.held))
                continue
            spec = Spec(shapes[port.name], port.held)
            try:
                value = self.builder.input(port.name, checked(spec, self.limits))
            except OperatorError as error:
                raise OnnxError(f"{model.source}: {error}") from None
            except OnnxError as error:
                raise OnnxError(f"{model.source}: input '{port.name}': {error}") from None
            self.values[port.name] = self.origins.inputs[port.name] = value

    def take(self, nbytes: int) -> None:
        """Count an array that is about to be computed. The weights' own size comes off twice, since each of them may
        be laid out anew, or scaled, for the node that reads it."""
        self.taken += nbytes
        if self.taken > self.limits.constant_bytes:
            words = f"the arrays that are computed while the network is read come to {self.taken} bytes here"
            self.limits.check("constant_bytes", self.taken, words)

    def read(self, node: OnnxNode) -> None:
        """Add to the graph what the node computes, or compute it where all that it reads is known."""
        for name in node.inputs:
            if name and not (name in self.known or name in self.values or name in self.beyond):
                raise OnnxError(f"{self.model.source}: {node} reads '{name}', which nothing before it makes")
        self.origins.add(node)
        try:
            results = self._results_of(node)
        except OperatorError as error:
            raise OnnxError(f"{self.model.source}: {error}") from None
        except OnnxError as error:
            raise self._placed(error, f"{self.model.source}: {node}: ") from None
        for name, result in zip(node.outputs, results, strict=False):
            if not name:
                continue
            if name in self.known or name in self.values:
                raise OnnxError(f"{self.model.source}: {node} makes '{name}', which exists already")
            if isinstance(result, Value):
                self.values[name] = result
            elif result is None:
                self.beyond.add(name)
            else:
                self.known[name] = result
        for i, name in enumerate(node.outputs[len(results) :], len(results)):
            if self.reads[name]:
                raise OnnxError(f"{self.model.source}: {node}: its output {i}, '{name}', is not supported")

    def _placed(self, error: OnnxError, place: str) -> OnnxError:
        """The error with its place, which one of a node within this one has already."""
        text = str(error) if str(error).startswith(f"{self.model.source}: ") else f"{place}{error}"
        return UnknownInputError(text, error.names) if isinstance(error, UnknownInputError) else OnnxError(text)

    def _results_of(self, node: OnnxNode) -> Results:
        """What the node's outputs stand for; None for each where an operator is not supported, which is remembered."""
        beyond = any(name in self.beyond for name in node.inputs)
        if beyond or not self._is_supported(node):
            self.refused += [] if beyond else [node]
            return [None] * len(node.outputs)
        if not self.known.keys().isdisjoint(node.own_inputs):
            check_types(node, [self._known_type(name) for name in node.own_inputs], self.opset)
        node = in_newer_form(node, self.opset, self) if self.opset < 7 else node
        call = ImportedNode(self, node)
        with self.builder.at(node.label, node.op_type):
            results = self._results(call)
            if any(self.reads[name] for name in node.outputs[len(results) :]) and self._is_expandable(node):
                return call.expand()
            return results

    def _is_supported(self, node: OnnxNode) -> bool:
        """Whether the node can be read, with what is known of its inputs.

        Raises :class:`UnknownInputError` where it could be if the values of some of the network's inputs were known.
        """
        if not node.domain and (node.op_type in self._readers or self._is_expandable(node)):
            return True
        if node.domain or node.op_type not in self._evaluators:
            return False
        unknown = [name for name in node.inputs if name and name not in self.known]
        deciding = [self.origins.deciding(name, self.known, floats=1) for name in unknown]
        if unknown and all(deciding):
            raise UnknownInputError("its inputs must be known before the network runs", set().union(*deciding))
        return not unknown

    def _is_expandable(self, node: OnnxNode) -> bool:
        return node.op_type not in self._evaluators and is_expandable(node.op_type, self.opset)

    def place(self, node: OnnxNode, body: Body, arguments: Sequence[str]) -> Results:
        """Read the nodes of ``body``, whose own inputs are ``arguments``, and return what its outputs stand for."""
        names = names_within(node, body, arguments)
        for name, array in body.weights.items():
            self.known[names[name]] = array
            self.taken -= 2 * array.nbytes
        outputs = [names.get(name, name) for name in body.outputs]
        placed = [renamed(inner, names, node.label) for inner in body.nodes]
        self.reads.update(name for inner in placed for name in inner.inputs if name)
        self.reads.update(outputs)
        before, self.opset = self.opset, body.opset or self.opset
        try:
            for inner in placed:
                self.read(inner)
        finally:
            self.opset = before
        return [self._found(name) for name in outputs]

    def _found(self, name: str) -> Result:
        if name in self.beyond:
            return None
        return self.known[name] if name in self.known else self.value(name, "an output")

    def spec(self, name: str) -> Spec | None:
        """What is known of a name's array; None where there is none."""
        if name in self.known:
            array = self.known[name]
            return Spec(array.shape, array.dtype.name)
        return self.values[name].spec if name else None

    def _known_type(self, name: str) -> str:
        """The element type of a known array; empty for a value, whose type the graph's operators check."""
        array = self.known.get(name)
        return "" if array is None else array.dtype.name

    def _results(self, call: ImportedNode) -> Results:
        node = call.node
        evaluator = self._evaluators.get(node.op_type)
        if evaluator is not None and all(name in self.known for name in node.inputs if name):
            try:
                return [np.asarray(a) for a in evaluator(call)]
            except (ValueError, IndexError, TypeError, ArithmeticError, MemoryError) as error:
                raise error if isinstance(error, OnnxError) else OnnxError(f"cannot be computed: {error}") from None
        if node.op_type not in self._readers:
            return call.expand()
        results = self._readers[node.op_type](call)
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
        if value.dtype != port.held and {value.dtype, port.held} <= INTEGERS:
            value = self.builder.add("cast", value, dtype=port.held)
        if value.dtype != port.held:
            raise OnnxError(
                f"{self.model.source}: output '{port.name}' is declared as {port.dtype}, "
                f"but the network makes {value.dtype}"
            )
        return value

    def constant(self, array: np.ndarray, name: str | None = None) -> Value:
        """A constant; an array that repeats one element or row by strides of zero stays as small as it is."""
        dtype = held(array.dtype.name)
        if array.dtype != dtype:
            self.take(array.size * np.dtype(dtype).itemsize)
            array = array.astype(dtype)
        if array.dtype.name not in DTYPES:
            raise OnnxError(f"'{name}' has the element type {array.dtype}, which is not supported")
        checked(Spec.of(array), self.limits)
        kept = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)
        small = array[kept] if array.size else array
        if not small.flags.c_contiguous:
            self.take(small.nbytes)
        value = self.builder.constant(np.ascontiguousarray(small).reshape(small.shape), name)
        return value if small.shape == array.shape else self.builder.add("expand", value, shape=array.shape)


class ImportedNode:
    """One node being read: its inputs by position, its attributes, and the graph to add to."""

    def __init__(self, reading: ImportContext, node: OnnxNode) -> None:
        self._reading = reading
        self.node = node
        self.opset = reading.opset
        self._pieces = 0

    def given(self, index: int) -> bool:
        """Whether the optional input is there."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def value(self, index: int) -> Value:
        return self._reading.value(self.name(index), f"input {index}")

    def values(self, *counts: int) -> list[Value]:
        """All inputs, of which there must be one of ``counts`` (any but none by default)."""
        given = len(self.node.inputs)
        if not given or (counts and given not in counts):
            raise OnnxError(f"needs {' or '.join(map(str, counts)) or 'at least 1'} inputs, got {given}")
        return [self.value(i) for i in range(given)]

    def shape(self, index: int) -> tuple[int, ...]:
        """The input's extents, whether it is known or computed."""
        known = self.known(index)
        return self.value(index).shape if known is None else known.shape

    def known(self, index: int) -> np.ndarray | None:
        """The input's array where it is known while reading."""
        return self._reading.known.get(self.name(index))

    def array(self, index: int, what: str) -> np.ndarray:
        """The input's array, which must be known; ``what`` names it in the error."""
        found = self.known(index)
        if found is None:
            name = self.name(index)
            text = f"{what} must be known before the network runs, but '{name}' is computed by it"
            raise UnknownInputError(text, self._reading.origins.deciding(name, self._reading.known))
        return found

    def integers(self, index: int, what: str, most: int = 2 * MAX_RANK) -> tuple[int, ...]:
        """A known input as integers that say something of each axis: at most two for it, if ``most`` is not given."""
        found = self.array(index, what)
        if found.dtype.kind not in "iu":
            raise OnnxError(f"{what} must be integers, got {found.dtype}")
        if found.size > most:
            raise OnnxError(f"{what} must be at most {most} integers, got {found.size}")
        return tuple(map(int, found.reshape(-1)))

    def scalar(self, index: int, what: str) -> float:
        """A known input of one element."""
        found = self.array(index, what)
        if found.size != 1:
            raise OnnxError(f"{what} must be one number, got shape {found.shape}")
        return float(found.reshape(()))

    def integers_anywhere(self, attribute: str, index: int, most: int = 2 * MAX_RANK) -> tuple[int, ...] | None:
        """Integers that are an attribute in older opsets and an input in newer ones; None where absent."""
        if self.given(index):
            return self.integers(index, attribute, most)
        return self.node.integers(attribute, most=most) if attribute in self.node.attributes else None

    def wanted(self, index: int) -> bool:
        """Whether some node reads this output, or it is one of the network."""
        outputs = self.node.outputs
        return index < len(outputs) and self._reading.reads[outputs[index]] > 0

    def alone(self, index: int) -> bool:
        """Whether no other node reads this input and it is no output of the network."""
        return self._reading.reads[self.name(index)] == 1

    def producer(self, value: Value) -> Node | None:
        """The node that makes ``value``."""
        return self._reading.makers.get(value)

    def constant(self, array: np.ndarray | float, name: str | None = None) -> Value:
        array = np.asarray(array, np.float32) if isinstance(array, (int, float)) else array
        return self._reading.constant(array, name)

    def add(self, op: str, *inputs: Value, **attrs: object) -> Value:
        """Add a node with one output, and return it."""
        (made,) = self.add_multi(op, *inputs, **attrs)
        return made

    def add_multi(self, op: str, *inputs: Value, **attrs: object) -> tuple[Value, ...]:
        """Add a node and return its outputs. Operators that compute with integers read narrow ones as int64."""
        builder, limits = self._reading.builder, self._reading.limits
        if OPS[op].integers == "all" and any(v.dtype in NARROW for v in inputs):
            inputs = tuple(builder.add("cast", v, dtype="int64") if v.dtype in NARROW else v for v in inputs)
        made = builder.add_multi(op, *inputs, **attrs)
        for value in made:
            checked(value.spec, limits)
            self._reading.makers[value] = builder.nodes[-1]
        if len(builder.nodes) > limits.nodes:
            limits.check("nodes", len(builder.nodes), f"the network becomes {len(builder.nodes)} nodes here")
        return made

    def pieces(self, count: int) -> None:
        """Raise where the node would cut an array into so many, or put so many together; in all of the network these
        count as nodes do."""
        limits, reading = self._reading.limits, self._reading
        limits.check("pieces", count, f"its array would be one of {count} pieces")
        reading.pieces += count - self._pieces
        self._pieces = count
        limits.check("nodes", reading.pieces, f"with it, {reading.pieces} pieces of arrays are cut or put together")

    def bounded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """``shape``, checked before a view of it is made, which takes no memory."""
        shape = tuple(int(n) for n in shape)
        self._reading.limits.check("rank", len(shape), f"an array has {len(shape)} axes")
        if any(n < 0 for n in shape) or math.prod(max(n, 1) for n in shape) * 8 > MEMORY:
            raise OnnxError(f"an array of shape {shape} cannot be made: extents are negative or exceed the memory")
        return shape

    def room(self, shape: Sequence[int], itemsize: int = 8) -> tuple[int, ...]:
        """``shape``, checked before an array of it is computed, and counted among all that are."""
        shape = self.bounded(shape)
        self._reading.take(math.prod(shape) * itemsize)
        return shape

    def pad(self, value: Value, padding: Padding) -> Value:
        """Remember how ``value`` was padded, so that a layer that reads it can pad by itself."""
        self._reading.paddings[value] = padding
        return value

    def padding(self, index: int) -> Padding | None:
        name = self.name(index)
        return self._reading.paddings.get(self._reading.values[name]) if name in self._reading.values else None

    def place(self, body: Body, arguments: Sequence[str]) -> Results:
        """What the outputs of ``body`` stand for, whose nodes are read here; its own inputs are ``arguments``."""
        return self._reading.place(self.node, body, arguments)

    def expand(self) -> Results:
        """What the outputs stand for if the operators of which ONNX makes this one are read in its place."""
        reading, node = self._reading, self.node
        body = expansion(node, [reading.spec(name) for name in node.inputs], self.opset, reading.limits)
        results = iter(reading.place(node, body, node.inputs))
        return [next(results, None) if name else None for name in node.outputs]

    def axis(self, axis: int, rank: int) -> int:
        """``axis`` counted from the front."""
        if not -rank <= axis < rank:
            raise OnnxError(f"axis {axis} is not one of the {rank} axes of its input")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        return tuple(sorted({self.axis(a, rank) for a in axes}))

    def name(self, index: int) -> str:
        if not self.given(index):
            raise OnnxError(f"input {index} is missing")
        return self.node.inputs[index]


Reader = Callable[[ImportedNode], "Value | np.ndarray | Results"]
"""Adds nodes that mean the same as an ONNX node and returns what its outputs stand for, in order."""
Evaluator = Callable[[ImportedNode], Sequence[np.ndarray]]
"""The outputs' arrays of an ONNX node whose inputs are all known arrays."""
