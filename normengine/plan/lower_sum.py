"""Sums over axes as calls of the one kernel for sums, which adds up at most two runs of axes."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Node, Value
from ..kernels import Problem
from .emitter import Emitter
from .reductions import as_alternating


def lower_sum(emitter: Emitter, node: Node) -> None:
    """Sum over any set of axes, as few sums over at most two runs of axes each."""
    source, target = node.inputs[0], node.outputs[0]
    if source in emitter.placement.only_held and _of_channels(node):
        emitter.node(node)
        return
    steps = as_alternating(source.shape, node.attrs["axes"])
    for i, (shape, kept) in enumerate(steps):
        result = target if i == len(steps) - 1 else Value(target.name, replace(target.spec, shape=kept))
        problem = Problem(node.op, (shape,), (kept,), {"axes": (0, 2), "keepdims": False}, dtype=source.dtype)
        emitter.kernel(problem, [source], [result], node.layer)
        source = result


def _of_channels(node: Node) -> bool:
    """Whether there is a kernel for blocks of channels."""
    return node.attrs["axes"] == (0, 2, 3) or (node.attrs["axes"] == (2, 3) and node.attrs["keepdims"])
