"""Who takes an affine map of each channel: the layers before it, through whatever carries it there, or those behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..graph import Node, Value
from ..ops import OPS
from ..ops.carries import Affine, NotCarried
from .node_editor import FAR, NodeEditor

_Parameters = tuple[np.ndarray, np.ndarray]
_Apply = Callable[[Node, np.ndarray, np.ndarray, Affine], _Parameters]


class CannotFold(Exception):
    """Why an affine map cannot be taken, or not in one direction; no words where there is nothing that could."""


class Absorption:
    """The changes by which the map ``affine`` that ``norm`` makes of its input ``x`` disappears: :meth:`before` or
    :meth:`behind` finds them or raises :class:`CannotFold`, :meth:`commit` makes them. Nothing is changed before."""

    def __init__(self, editor: NodeEditor, norm: Node, x: Value, affine: Affine) -> None:
        self._editor = editor
        self._norm = norm
        self._x = x
        self._affine = affine
        self._weights: dict[Node, tuple[np.ndarray, np.ndarray]] = {}
        self._constants: dict[Node, dict[int, np.ndarray]] = {}
        self._inputs: dict[Node, tuple[Value, ...]] = {}
        self._outputs: dict[Node, tuple[Value, ...]] = {}

    def before(self) -> None:
        """Find who takes the map among those that make the input."""
        names = self._editor.names
        first, found = self._maker(self._x, self._norm), []
        waiting, passed = [(first, self._affine)], 0
        while waiting:
            node, affine = waiting.pop()
            op = OPS[node.op]
            if op.folds_norms:
                found.append((node, affine))
                continue
            if op.carries is None:
                raise CannotFold(f"its input comes from '{names[node]}', neither a convolution nor a linear layer")
            if (passed := passed + 1) > FAR:
                raise CannotFold(f"there are more than {FAR} nodes between it and what could take it")
            known = [self._editor.array(value) is not None for value in node.inputs]
            try:
                maps = list(op.carries.back(node, affine, known))
            except NotCarried as reason:
                raise CannotFold(f"'{names[node]}' before it {reason}") from None
            for position, (value, carried) in reversed(list(enumerate(zip(node.inputs, maps, strict=True)))):
                if carried is None:
                    continue
                if known[position]:
                    self._change(node, position, carried)
                elif not carried.is_identity or self._affine.is_identity:
                    waiting.append((self._maker(value, node), carried))
        self._take(found, self._columns)
        self._outputs[first] = self._norm.outputs

    def behind(self) -> None:
        """Find who takes the map among those that read the output: all of them, each for itself."""
        found = []
        waiting, passed = deque([(self._norm.outputs[0], self._affine)]), 0
        while waiting:
            value, affine = waiting.popleft()
            if value in self._editor.results or (passed := passed + 1) > FAR:
                raise CannotFold
            for node in self._editor.readers(value):
                op, places = OPS[node.op], [i for i, v in enumerate(node.inputs) if v is value]
                if op.folds_norms and places == [0]:
                    found.append((node, affine))
                elif op.carries is not None and len(places) == 1:
                    try:
                        waiting.append((node.outputs[0], op.carries.forth(node, places[0], affine)))
                    except NotCarried as reason:
                        raise CannotFold(str(reason) and f"'{self._editor.names[node]}' after it {reason}") from None
                else:
                    raise CannotFold
        padding = [node for node, affine in found if any(affine.shift) and _meets_zeros(node)]
        if padding:
            raise CannotFold(f"{self._editor.named(padding)} after it pads with zeros")
        self._take(found, self._rows)
        (y,) = self._norm.outputs
        for node in self._editor.readers(y):
            self._inputs[node] = tuple(self._x if value is y else value for value in node.inputs)

    def commit(self) -> tuple[str, ...]:
        """Make the changes; returns the names of those that took the map, of neighbours where it was the identity."""
        taking = self._editor.ordered({*self._weights, *self._constants} or {*self._outputs, *self._inputs})
        names = tuple(self._editor.names[node] for node in taking)
        for node in dict.fromkeys([*taking, *self._inputs, *self._outputs]):
            inputs = list(self._inputs.get(node, node.inputs))
            if node in self._weights:
                inputs = [inputs[0], *self._parameters(node)]
            for position, array in self._constants.get(node, {}).items():
                inputs[position] = self._editor.constant(inputs[position].name, array)
            self._editor.exchange(node, tuple(inputs), self._outputs.get(node, node.outputs))
        self._editor.take_out(self._norm)
        return names

    def _maker(self, value: Value, reader: Node) -> Node:
        """The node that makes what ``reader`` reads, which nobody else may read."""
        editor = self._editor
        what = "its input" if reader is self._norm else f"the input of '{editor.names[reader]}'"
        node = editor.maker(value)
        if node is None:
            kind = "an input" if editor.array(value) is None else "a constant"
            raise CannotFold(f"{what} {editor.beyond.get(value, f'is {kind} of the network')}")
        if not OPS[node.op].folds_norms and OPS[node.op].carries is None:
            raise CannotFold(f"{what} comes from '{editor.names[node]}', neither a convolution nor a linear layer")
        if value in editor.results:
            raise CannotFold(f"{what} {editor.beyond.get(value, 'is also an output of the network')}")
        others = [n for n in editor.readers(value) if n is not reader]
        if others:
            raise CannotFold(f"{what} is also read by {editor.named(others)}")
        if reader.inputs.count(value) > 1:
            raise CannotFold(f"{editor.named([reader])} reads it twice")
        return node

    def _change(self, node: Node, position: int, affine: Affine) -> None:
        """Note that a constant that ``node`` reads is to be mapped; others that read it keep theirs."""
        if affine.is_identity:
            return
        array = self._editor.array(node.inputs[position])
        assert array is not None
        behind = [1] * (array.ndim - affine.axis - 1)
        mapped = array * affine.scale.reshape(-1, *behind) + affine.shift.reshape(-1, *behind)
        self._constants.setdefault(node, {})[position] = _fitting(mapped)

    def _take(self, found: Iterable[tuple[Node, Affine]], apply: _Apply) -> None:
        for node, affine in found:
            if affine.axis != 1:
                raise CannotFold(f"{self._editor.named([node])} does not keep the channels apart")
            weight, bias = apply(node, *self._weights.get(node, self._exact(node)), affine)
            self._weights[node] = _fitting(weight), _fitting(bias)

    def _columns(self, node: Node, weight: np.ndarray, bias: np.ndarray, affine: Affine) -> _Parameters:
        """``scale * (W x + b) + shift = (scale W) x + (scale b + shift)``."""
        rows = _grouped(node, weight)
        scaled = rows * affine.scale.reshape(len(rows), -1, 1, 1)
        return _ungrouped(node, scaled, weight.shape), bias * affine.scale + affine.shift

    def _rows(self, node: Node, weight: np.ndarray, bias: np.ndarray, affine: Affine) -> _Parameters:
        """``W (scale x + shift) + b = (W scale) x + (b + sum W shift)``."""
        rows = _grouped(node, weight)
        scale, shift = (vector.reshape(len(rows), 1, -1, 1) for vector in (affine.scale, affine.shift))
        return _ungrouped(node, rows * scale, weight.shape), bias + (rows * shift).sum(axis=(2, 3)).reshape(-1)

    def _exact(self, node: Node) -> _Parameters:
        """Weight and bias in float64, the bias zero where the layer has none."""
        arrays = [self._editor.array(value) for value in node.inputs[1:]]
        if any(array is None for array in arrays):
            raise CannotFold(f"the weight of {self._editor.named([node])} is not a constant")
        weight = np.asarray(arrays[0], np.float64)
        bias = np.asarray(arrays[1], np.float64) if len(arrays) > 1 else np.zeros(node.outputs[0].shape[1])
        return weight, bias

    def _parameters(self, node: Node) -> tuple[Value, Value]:
        """A layer's new constants, under the old names; a bias that it did not have gets its name and ``.bias``."""
        weight, bias = self._weights[node]
        stem = node.inputs[1].name
        stem = stem.removesuffix(".weight") if stem.endswith(".weight") else node.layer or stem
        bias_name = node.inputs[2].name if len(node.inputs) > 2 else f"{stem}.bias"
        return self._editor.constant(node.inputs[1].name, weight), self._editor.constant(bias_name, bias)


def _meets_zeros(node: Node) -> bool:
    """Whether the layer computes with zeros beside or between what it reads, which no shift reaches."""
    padded = any(any(node.attrs.get(name, ())) for name in ("padding", "output_padding"))
    if OPS[node.op].weight_outputs == 0:
        return padded
    apart = any(n != 1 for n in (*node.attrs.get("stride", ()), *node.inputs[1].shape[2:]))
    return padded or apart


def _grouped(node: Node, weight: np.ndarray) -> np.ndarray:
    """The weight as (groups, outputs, inputs, taps)."""
    groups = node.attrs.get("groups", 1)
    rows = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return rows if OPS[node.op].weight_outputs == 0 else rows.swapaxes(1, 2)


def _ungrouped(node: Node, rows: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return (rows if OPS[node.op].weight_outputs == 0 else rows.swapaxes(1, 2)).reshape(shape)


def _fitting(array: np.ndarray) -> np.ndarray:
    if not fits(array):
        raise CannotFold("the folded weight is no finite float32 number")
    return array


def fits(array: np.ndarray) -> bool:
    """Whether every number stays finite in float32."""
    return bool(np.all(np.abs(array) <= np.finfo(np.float32).max))
