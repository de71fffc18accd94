"""Batch normalization with constant statistics is an affine map of each channel: a convolution or linear layer next
to it takes it into its own weight and bias.

With ``scale = weight / sqrt(running_var + eps)`` and ``shift = bias - running_mean * scale``:

- behind a layer, ``scale * (W x + b) + shift = (scale W) x + (scale b + shift)``, always;
- before a layer, ``W (scale x + shift) + b = (W scale) x + (b + sum W shift)``, where the layer pads with nothing or
  ``shift`` is zero: zeros that a convolution pads with would have to be shifted too.

Everything is computed in float64 and rounded to float32 once. See Jacob et al., arXiv 1712.05877, section 3.2.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..graph import Graph, Node, Spec, Value, check
from ..ops import OPS


class Folding(NamedTuple):
    """What became of one batch normalization: ``into`` names the layers that took it, or ``reason`` says why it
    stayed (``into`` is empty then)."""

    batch_norm: str
    into: tuple[str, ...] = ()
    reason: str = ""


def unfolded(graph: Graph, reason: str) -> tuple[Folding, ...]:
    """A row for each batch normalization of ``graph``, all staying for the same reason."""
    names = labels(graph)
    return tuple(Folding(names[node], reason=reason) for node in graph.nodes if OPS[node.op].normalizes)


class _CannotFold(Exception):
    """Why a batch normalization cannot be folded, or not in one direction."""


@np.errstate(all="ignore")
def fold_batchnorm(graph: Graph) -> tuple[Graph, tuple[Folding, ...]]:
    """Fold each ``batch_norm`` node of ``graph`` into the ``conv2d`` or ``linear`` nodes beside it where that is exact.

    Only constants can be folded: bind the state to its arrays first. Returns the new graph and what became of each
    batch normalization, in the graph's order. A folded weight keeps its name; a bias that a layer did not have gets
    the layer's name and ``.bias``.
    """
    editor = _Editor(graph)
    norms = {position: node for position, node in enumerate(graph.nodes) if OPS[node.op].normalizes}
    found: dict[int, Folding] = {}
    waiting = [(0, position) for position in norms]  # round and position: a heap, since it is sorted
    queued = set(waiting)
    while waiting:
        turn, position = heapq.heappop(waiting)
        if position in found and found[position].into:
            continue
        found[position] = editor.fold(norms[position])
        for other in editor.take_changed() & norms.keys():  # what one leaves behind may let another go
            again = (turn if other > position else turn + 1, other)
            if again not in queued:
                queued.add(again)
                heapq.heappush(waiting, again)
    return editor.graph(), tuple(found[position] for position in norms)


class _Editor:
    """The graph while nodes are exchanged: values keep their identity, so no reader has to be told. A node that takes
    another's place has its position."""

    def __init__(self, graph: Graph) -> None:
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
        self._results = set(graph.results())
        self._labels = labels(graph)

    def graph(self) -> Graph:
        whole = replace(
            self._graph, nodes=tuple(self._nodes[i] for i in sorted(self._nodes)), constants=self._constants
        )
        return check(whole.pruned())

    def take_changed(self) -> set[int]:
        """The positions of nodes that have had other neighbours since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def _read(self, node: Node, position: int) -> None:
        for value in node.inputs:
            self._readers.setdefault(value, {})[position] = None

    def _readers_of(self, value: Value) -> list[Node]:
        return [self._nodes[i] for i in sorted(self._readers.get(value, ()))]

    def _take_out(self, node: Node) -> int:
        """Remove ``node``; returns its position."""
        position = self._position.pop(node)
        del self._nodes[position]
        for value in dict.fromkeys(node.inputs):
            del self._readers[value][position]
        self._touch(node)
        return position

    def _put_in(self, node: Node, position: int) -> None:
        self._nodes[position] = node
        self._position[node] = position
        self._makers.update(dict.fromkeys(node.outputs, node))
        self._read(node, position)
        self._touch(node)

    def _touch(self, node: Node) -> None:
        """Note that the neighbours of ``node`` are no longer what they were."""
        for value in node.inputs:
            if value in self._makers and (maker := self._position.get(self._makers[value])) is not None:
                self._changed.add(maker)
            self._changed.update(self._readers.get(value, ()))
        for value in node.outputs:
            self._changed.update(self._readers.get(value, ()))

    def fold(self, norm: Node) -> Folding:
        name = self._labels[norm]
        reasons: list[str] = []
        try:
            scale, shift = self._affine(norm)
            for direction in (self._into_layer_before, self._into_layers_behind):
                try:
                    return Folding(name, direction(norm, scale, shift))
                except _CannotFold as reason:
                    reasons.append(str(reason))
        except _CannotFold as reason:
            reasons.append(str(reason))
        return Folding(name, reason=", and ".join(filter(None, reasons)))

    def _affine(self, norm: Node) -> tuple[np.ndarray, np.ndarray]:
        affine = OPS[norm.op].affine
        if affine is None:
            raise _CannotFold("it normalizes with the statistics of each batch")
        if any(v not in self._constants for v in norm.inputs[1:]):
            raise _CannotFold("its weight and statistics are not constants")
        scale, shift = affine([self._constants[v] for v in norm.inputs[1:]], norm.attrs)
        if not (_fits(scale) and _fits(shift)):
            raise _CannotFold("its scale or shift is no finite float32 number")
        return scale, shift

    def _into_layer_before(self, norm: Node, scale: np.ndarray, shift: np.ndarray) -> tuple[str, ...]:
        x = norm.inputs[0]
        layer = self._makers.get(x)
        if layer is None:
            raise _CannotFold("its input is an input of the network")
        if not OPS[layer.op].folds_norms:
            raise _CannotFold(f"its input comes from '{self._labels[layer]}', neither a convolution nor a linear layer")
        if x in self._results:
            raise _CannotFold("its input is also an output of the network")
        others = [n for n in self._readers_of(x) if n is not norm]
        if others:
            raise _CannotFold(f"its input is also read by {self._named(others)}")
        weight, bias = self._parameters(layer)
        columns = scale.reshape(-1, *[1] * (weight.ndim - 1))
        self._exchange(layer, layer.inputs[0], weight * columns, bias * scale + shift, norm.outputs)
        self._take_out(norm)
        return (self._labels[layer],)

    def _into_layers_behind(self, norm: Node, scale: np.ndarray, shift: np.ndarray) -> tuple[str, ...]:
        (y,) = norm.outputs
        readers = self._readers_of(y)
        if y in self._results or any(not OPS[n.op].folds_norms or n.inputs[0] is not y for n in readers):
            raise _CannotFold  # no layer follows that could take it, which needs no words
        padding = [n for n in readers if any(n.attrs.get("padding", ()))]
        if padding and any(shift):
            raise _CannotFold(f"{self._named(padding)} after it pads with zeros")
        folded = []
        for layer in readers:
            weight, bias = self._parameters(layer)
            groups = layer.attrs.get("groups", 1)
            rows = weight.reshape(groups, weight.shape[0] // groups, -1)  # one group: (outputs, inputs * kernel)
            kernel = weight[0, 0].size
            scales = np.repeat(scale.reshape(groups, 1, -1), kernel, axis=2)
            shifts = np.repeat(shift.reshape(groups, 1, -1), kernel, axis=2)
            folded.append(((rows * scales).reshape(weight.shape), bias + (rows * shifts).sum(axis=2).reshape(-1)))
        if not all(_fits(w) and _fits(b) for w, b in folded):
            raise _CannotFold("the folded weight is no finite float32 number")
        for layer, (weight, bias) in zip(readers, folded, strict=True):
            self._exchange(layer, norm.inputs[0], weight, bias, layer.outputs)
        self._take_out(norm)
        return tuple(self._labels[layer] for layer in readers)

    def _named(self, nodes: Sequence[Node]) -> str:
        return ", ".join(f"'{self._labels[n]}'" for n in nodes)

    def _parameters(self, layer: Node) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias in float64, the bias zero where the layer has none."""
        arrays = [self._exact.get(v, self._constants.get(v)) for v in layer.inputs[1:]]
        if any(a is None for a in arrays):
            raise _CannotFold(f"the weight of '{self._labels[layer]}' is not a constant")
        weight = np.asarray(arrays[0], np.float64)
        bias = np.asarray(arrays[1], np.float64) if len(arrays) > 1 else np.zeros(weight.shape[0])
        return weight, bias

    def _exchange(
        self, layer: Node, x: Value, weight: np.ndarray, bias: np.ndarray, outputs: tuple[Value, ...]
    ) -> None:
        """Put ``layer`` on the input ``x`` with new parameters, making ``outputs``."""
        if not (_fits(weight) and _fits(bias)):
            raise _CannotFold("the folded weight is no finite float32 number")
        stem = layer.inputs[1].name
        stem = stem.removesuffix(".weight") if stem.endswith(".weight") else layer.layer or stem
        bias_name = layer.inputs[2].name if len(layer.inputs) > 2 else f"{stem}.bias"
        parameters = (self._constant(layer.inputs[1].name, weight), self._constant(bias_name, bias))
        made = replace(layer, inputs=(x, *parameters), outputs=outputs)
        self._put_in(made, self._take_out(layer))
        self._labels[made] = self._labels[layer]

    def _constant(self, name: str, exact: np.ndarray) -> Value:
        """The constant rounded; what is folded into it later starts from ``exact``."""
        value = Value(name, Spec(exact.shape))
        self._constants[value] = np.ascontiguousarray(exact, dtype=np.float32)
        self._exact[value] = exact
        return value


def labels(graph: Graph) -> dict[Node, str]:
    """What to call each node: its layer, where that names this node alone, else the layer and the operator."""
    layers = Counter(node.layer for node in graph.nodes)
    containers = {layer[:i] for layer in layers for i, c in enumerate(layer) if c == "."} | {""}
    alone = {layer for layer, count in layers.items() if count == 1 and layer not in containers}
    names: dict[Node, str] = {}
    for node in graph.nodes:
        main = OPS[node.op].folds_norms or OPS[node.op].normalizes
        own = node.layer in alone or (main and node.layer not in containers)
        names[node] = node.layer if own else f"{node.layer}.{node.op}".lstrip(".")
    return names


def _fits(array: np.ndarray) -> bool:
    """Whether every number stays finite in float32."""
    return bool(np.all(np.abs(array) <= np.finfo(np.float32).max))
