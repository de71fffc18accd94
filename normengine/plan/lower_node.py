"""Nodes as calls: what an operator's record says of it decides which way a node goes."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

import numpy as np

from ..graph import Node, Value
from ..kernels.blocks import blocked_shape
from ..ops import OPS, Op, Part
from .access import Access, view_of
from .arguments import Memory
from .emitter import Emitter
from .lower_chain import lower_chain
from .lower_sum import lower_sum


def lower_node(emitter: Emitter, node: Node, stored: Container[Value]) -> None:
    """Append the calls of one node; ``stored`` are new values of state, which are not held in blocks."""
    if node.op not in OPS:
        lower_chain(emitter, node, stored)
        return
    op = OPS[node.op]
    next(lower for applies, lower in _LOWERINGS if applies(emitter, node, op))(emitter, node)


def _takes_blocks(emitter: Emitter, node: Node, op: Op) -> bool:
    return op.taken is not None and _in_whole_blocks(emitter, node, [op.taken(node)], whole=node.inputs[0])


def _slice_blocks(emitter: Emitter, node: Node) -> None:
    (source,), (target,), taken = node.inputs, node.outputs, OPS[node.op].taken
    assert taken is not None
    part = _part(emitter, emitter.in_blocks(source, node.layer), taken(node), target.shape)
    emitter.copy(part, Access.whole(emitter.placement.hold(target)), node.layer)


def _view(emitter: Emitter, node: Node) -> None:
    source = emitter.access(node.inputs[0], node.layer)
    view = view_of(node, source) or view_of(node, emitter.dense(node.inputs[0], node.layer))
    assert view is not None
    emitter.placement.accesses[node.outputs[0]] = view


def _place_parts(emitter: Emitter, node: Node) -> None:
    """Inputs become parts of the output, what they leave becomes 0."""
    placement, target, placed = emitter.placement, node.outputs[0], OPS[node.op].placed
    assert placed is not None
    parts = placed(node)
    in_blocks = _in_whole_blocks(emitter, node, parts, whole=target)
    whole = Access.whole(placement.hold(target) if in_blocks else target)
    if sum(v.spec.size for v in node.inputs) < target.spec.size:
        zero = Value("zero", replace(target.spec, shape=()))
        placement.memory[zero] = Memory("constant", zero.spec.nbytes, array=np.zeros((), zero.dtype))
        emitter.copy(Access.whole(zero).broadcast(whole.shape), whole, node.layer)
    for value, part in zip(node.inputs, parts, strict=True):
        if in_blocks:
            source = emitter.in_blocks(value, node.layer)
            emitter.copy(source, _part(emitter, whole, part, value.shape), node.layer)
        else:
            source = emitter.access(value, node.layer)
            emitter.copy(source, whole.sliced(*part, source.shape), node.layer)


def _in_whole_blocks(emitter: Emitter, node: Node, parts: Sequence[Part], whole: Value) -> bool:
    """Whether parts of an activation, which are read from or become the ``whole`` one, are whole blocks of channels,
    and some input is held so."""
    held, width = emitter.placement.held, emitter.placement.width
    if not any(v in held for v in node.inputs) or any(v.dtype != "float32" for v in node.inputs):
        return False
    pieces = node.inputs if whole is node.outputs[0] else node.outputs
    for (starts, steps), piece in zip(parts, pieces, strict=True):
        first, channels = starts[1], piece.shape[1]
        ends = channels % width == 0 or first + channels == whole.shape[1]
        if any(step != 1 for step in steps) or first % width or not ends:
            return False
    return True


def _part(emitter: Emitter, whole: Access, part: Part, shape: tuple[int, ...]) -> Access:
    """The part of ``shape`` of an activation in blocks that is meant."""
    width, (n, c, h, w) = emitter.placement.width, part.starts
    return whole.sliced((n, c // width, h, w, 0), (1,) * 5, blocked_shape(shape, width))


Applies = Callable[[Emitter, Node, Op], bool]
_LOWERINGS: tuple[tuple[Applies, Callable[[Emitter, Node], None]], ...] = (
    (_takes_blocks, _slice_blocks),
    (lambda emitter, node, op: op.view is not None, _view),
    (lambda emitter, node, op: op.placed is not None, _place_parts),
    (lambda emitter, node, op: op.sums_axes, lower_sum),
    (lambda emitter, node, op: True, Emitter.node),
)
"""The ways that a node can go, the first that applies is taken."""
