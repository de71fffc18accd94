"""What a family's reading function works with: one ONNX node, what is known of its inputs, and the graph to add to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..graph import MAX_RANK, MEMORY, Node, Spec, Value
from .limits import FileLimits
from .node import OnnxError, OnnxNode

if TYPE_CHECKING:
    from .importer import ImportContext


class Padding(NamedTuple):
    """How a padded value was made: ``source`` with ``before`` and ``after`` elements of ``fill`` on each axis."""

    source: Value
    before: tuple[int, ...]
    after: tuple[int, ...]
    fill: float


class ImportedNode:
    """One node being read: its inputs by position, its attributes, and the graph to add to."""

    def __init__(self, reading: ImportContext, node: OnnxNode) -> None:
        self._reading = reading
        self.node = node
        self.opset = reading.model.opset
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
            raise OnnxError(f"{what} must be known before the network runs, but '{self.name(index)}' is computed by it")
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

    def alone(self, index: int) -> bool:
        """Whether no other node reads this input and it is no output of the network."""
        return self._reading.readers[self.name(index)] == 1

    def producer(self, value: Value) -> Node | None:
        """The node that makes ``value``."""
        return self._reading.makers.get(value)

    def constant(self, array: np.ndarray | float, name: str | None = None) -> Value:
        array = np.asarray(array, np.float32) if isinstance(array, (int, float)) else array
        return self._reading.constant(array, name)

    def add(self, op: str, *inputs: Value, **attrs: Any) -> Value:
        if op != "cast" and any(v.dtype == "float64" for v in inputs):
            raise OnnxError("computes in DOUBLE, which is not supported; export the network in float32")
        builder, limits = self._reading.builder, self._reading.limits
        made = builder.add(op, *inputs, **attrs)
        checked(made.spec, limits)
        self._reading.makers[made] = builder.nodes[-1]
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


def checked(spec: Spec, limits: FileLimits) -> Spec:
    """The spec of an array that the network computes, which has elements and not too many axes."""
    if spec.rank > limits.rank:
        limits.check("rank", spec.rank, f"an array has {spec.rank} axes")
    if spec.size == 0:
        raise OnnxError(f"an array of shape {spec.shape} has no elements, and networks compute with none of those")
    return spec
