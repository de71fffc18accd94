"""Batch normalization with constant statistics is an affine map of each channel: a convolution or linear layer next
to it takes it into its own weight and bias.

With ``scale = weight / sqrt(running_var + eps)`` and ``shift = bias - running_mean * scale``:

- behind a layer, ``scale * (W x + b) + shift = (scale W) x + (scale b + shift)``, always;
- before a layer, ``W (scale x + shift) + b = (W scale) x + (b + sum W shift)``, where the layer pads with nothing or
  ``shift`` is zero: zeros that a convolution pads with would have to be shifted too.

Between them may lie whatever an affine map goes through: reshapes and permutations that keep channels apart, averages,
maxima where no scale is negative, concatenations, sums, constants that are added or multiplied (which take their part).

Constants of each channel that are added or multiplied, which some exporters make of a batch normalization, go the same
way.

Everything is computed in float64 and rounded to float32 once. See Jacob et al., arXiv 1712.05877, section 3.2.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..graph import Graph, Node, Value
from ..ops import OPS
from ..ops.carries import Affine
from .absorption import Absorption, CannotFold, fits
from .labels import labels
from .node_editor import NodeEditor

_NOTHING: Mapping[Value, str] = MappingProxyType({})


class Folding(NamedTuple):
    """What became of one batch normalization: ``into`` names the layers that took it, or ``reason`` says why it
    stayed (``into`` is empty then)."""

    batch_norm: str
    into: tuple[str, ...] = ()
    reason: str = ""

    @property
    def fate(self) -> str:
        """In words."""
        return f"folded into {', '.join(self.into)}" if self.into else f"stayed: {self.reason}"


class Folded(NamedTuple):
    """A folded graph, what became of each batch normalization of the given one, in its order, and who took constants
    that scaled or shifted channels. ``removed`` are the given graph's nodes that are gone, in the order in which they
    went, each True if those before it took it, and ``origins`` has the given graph's node for each that reads or makes
    something else now: by these the same can be done elsewhere."""

    graph: Graph
    foldings: tuple[Folding, ...]
    constants: tuple[Folding, ...]
    removed: tuple[tuple[Node, bool], ...]
    origins: Mapping[Node, Node]


def unfolded(graph: Graph, reason: str) -> tuple[Folding, ...]:
    """A row for each batch normalization of ``graph``, all staying for the same reason."""
    names = labels(graph)
    return tuple(Folding(names[node], reason=reason) for node in graph.nodes if OPS[node.op].normalizes)


def fold_batchnorm(graph: Graph) -> tuple[Graph, tuple[Folding, ...]]:
    """Fold each ``batch_norm`` node of ``graph`` into the layers beside it where that is exact.

    Only constants can be folded: bind the state to its arrays first. Returns the new graph and what became of each
    batch normalization, in the graph's order. A folded weight keeps its name; a bias that a layer did not have gets
    the layer's name and ``.bias``.
    """
    folded = fold_with_steps(graph)
    return folded.graph, folded.foldings


@np.errstate(all="ignore")
def fold_with_steps(graph: Graph, beyond: Mapping[Value, str] = _NOTHING) -> Folded:
    """As :func:`fold_batchnorm`, with what was done. ``beyond`` has words for inputs and outputs of the graph that are
    none of the network."""
    editor = NodeEditor(graph, beyond)
    norms = {i for i, node in enumerate(graph.nodes) if OPS[node.op].normalizes}
    maps = norms | {i for i, node in enumerate(graph.nodes) if OPS[node.op].affine_with is not None}
    found: dict[int, Folding] = {}
    removed: list[tuple[Node, bool]] = []
    waiting = [(0, position) for position in sorted(maps)]  # round and position: a heap, since it is sorted
    queued = set(waiting)
    while waiting:
        turn, position = heapq.heappop(waiting)
        if position in found and found[position].into:
            continue
        found[position] = _fold(editor, editor.at(position), removed)
        if not found[position].into:
            continue
        for other in editor.take_changed() & maps:  # what one leaves behind may let another go
            again = (turn if other > position else turn + 1, other)
            if again not in queued:
                queued.add(again)
                heapq.heappush(waiting, again)
    rows = [(position in norms, found[position]) for position in sorted(maps)]
    return Folded(
        editor.graph(),
        tuple(row for is_norm, row in rows if is_norm),
        tuple(row for is_norm, row in rows if not is_norm and row.into),
        tuple(removed),
        editor.origins,
    )


def _fold(editor: NodeEditor, node: Node, removed: list[tuple[Node, bool]]) -> Folding:
    name = editor.names[node]
    reasons: list[str] = []
    try:
        x, affine = _affine(editor, node)
    except CannotFold as reason:
        return Folding(name, reason=str(reason))
    for before in (True, False):
        absorption = Absorption(editor, node, x, affine)
        try:
            (absorption.before if before else absorption.behind)()
        except CannotFold as reason:
            reasons.append(str(reason))
            continue
        removed.append((editor.origins.get(node, node), before))
        return Folding(name, absorption.commit())
    return Folding(name, reason=", and ".join(filter(None, reasons)))


def _affine(editor: NodeEditor, node: Node) -> tuple[Value, Affine]:
    """The input that a node maps, and the map."""
    op = OPS[node.op]
    if op.affine_with is not None:
        return _with_constant(editor, node)
    if op.affine is None:
        raise CannotFold("it normalizes with the statistics of each batch")
    arrays = [array for value in node.inputs[1:] if (array := editor.array(value)) is not None]
    if len(arrays) < len(node.inputs) - 1:
        raise CannotFold("its weight and statistics are not constants")
    return node.inputs[0], _finite(Affine(1, *op.affine(arrays, node.attrs)))


def _with_constant(editor: NodeEditor, node: Node) -> tuple[Value, Affine]:
    """What a constant of each channel does to the other input."""
    known = [editor.array(value) for value in node.inputs]
    position = next((i for i, array in enumerate(known) if array is not None), 0)
    x, (y,), rule = node.inputs[1 - position], node.outputs, OPS[node.op].affine_with
    constant = np.asarray(1.0 if known[position] is None else known[position], np.float64)
    shape = (1,) * (y.spec.rank - constant.ndim) + constant.shape
    along = [axis for axis, extent in enumerate(shape) if extent != 1]
    if known[1 - position] is not None or x.shape != y.shape or y.dtype != "float32" or len(along) != 1 or not along[0]:
        raise CannotFold("it has no constant of each channel")
    scale_and_shift = None if rule is None else rule(position, constant.reshape(-1))
    if scale_and_shift is None:
        raise CannotFold("it is no affine map")
    return x, _finite(Affine(along[0], *scale_and_shift))


def _finite(affine: Affine) -> Affine:
    if not (fits(affine.scale) and fits(affine.shift)):
        raise CannotFold("its scale or shift is no finite float32 number")
    return affine
