"""Nodes in the forms that operators had before opset 7, as the forms that came after them.

Until then the second operand of arithmetic was aligned with the first at an attribute ``axis``, ``Cast`` named types in
words, and what later became inputs was attributes. What concerns training alone (``is_test``, ``consumed_inputs``) says
nothing of a network that is run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..graph import Value
from .node import OnnxError, OnnxNode
from .tensors import TYPE_NAMES


class Names(Protocol):
    """What a file's names stand for so far."""

    known: dict[str, np.ndarray]
    values: dict[str, Value]

    def read(self, node: OnnxNode) -> None:
        """Have the node's outputs stand for something too."""


Form = Callable[[OnnxNode, Names], OnnxNode]
FORMS: dict[str, tuple[int, Form]] = {}
"""By operator: the opset that took the old form away, and the node in the form that came."""


def in_newer_form(node: OnnxNode, opset: int, names: Names) -> OnnxNode:
    """The node, in the form of opset 7 if it has an older one."""
    before, form = FORMS.get(node.op_type, (0, None))
    return form(node, names) if form is not None and opset < before else node


def _until(before: int, *op_types: str) -> Callable[[Form], Form]:
    def enter(form: Form) -> Form:
        FORMS.update((op_type, (before, form)) for op_type in op_types)
        return form

    return enter


def _shape(names: Names, name: str) -> tuple[int, ...]:
    return names.known[name].shape if name in names.known else names.values[name].shape


def _with_axes_behind(node: OnnxNode, count: int, names: Names) -> str:
    """A new name for the second operand with so many axes of one place behind its own."""
    given, name = node.inputs[1], f"{node.outputs[0]} > {node.inputs[1]}"
    shape = (*_shape(names, given), *[1] * count)
    names.read(OnnxNode("Reshape", f"{node.label}/{given}", "", (given,), (name,), {"shape": shape}))
    return name


def _with(node: OnnxNode, **attributes: object) -> OnnxNode:
    """The node with other attributes; one that is None goes."""
    merged = {**node.attributes, **attributes}
    return replace(node, attributes={name: value for name, value in merged.items() if value is not None})


@_until(7, "Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
def _aligned(node: OnnxNode, names: Names) -> OnnxNode:
    """The second operand's axes begin at ``axis`` of the first one's, or end with them."""
    plain = _with(node, broadcast=None, axis=None)
    if not node.integer("broadcast", 0) or "axis" not in node.attributes:
        return plain
    a, b = (_shape(names, name) for name in node.inputs)
    axis = node.integer("axis")
    behind = len(a) - (axis + len(a) if axis < 0 else axis) - len(b)
    if not 0 <= behind <= len(a):
        raise OnnxError(f"axis {axis} does not place an operand of shape {b} among the axes of shape {a}")
    if not behind:
        return plain
    return replace(plain, inputs=(node.inputs[0], _with_axes_behind(node, behind, names)))


@_until(7, "PRelu")
def _slope_of_channels(node: OnnxNode, names: Names) -> OnnxNode:
    """A row of slopes is one for each channel."""
    x, slope = (_shape(names, name) for name in node.inputs)
    if len(slope) != 1 or slope == (1,) or len(x) <= 2:
        return node
    return replace(node, inputs=(node.inputs[0], _with_axes_behind(node, len(x) - 2, names)))


@_until(6, "Cast")
def _type_by_number(node: OnnxNode, names: Names) -> OnnxNode:
    name = node.text("to").upper()
    if name not in TYPE_NAMES:
        raise OnnxError(f"attribute 'to' must be an element type, got {name!r}")
    return _with(node, to=TYPE_NAMES[name])


@_until(4, "Concat")
def _first_axis(node: OnnxNode, names: Names) -> OnnxNode:
    return _with(node, axis=node.integer("axis", 1))


@_until(2, "Pad")
def _pads(node: OnnxNode, names: Names) -> OnnxNode:
    return _with(node, paddings=None, pads=node.integers("paddings"))


@_until(6, "Selu")
def _shorter_constants(node: OnnxNode, names: Names) -> OnnxNode:
    return _with(node, alpha=node.number("alpha", 1.6732), gamma=node.number("gamma", 1.0507))


@_until(6, "Tile")
def _repeats(node: OnnxNode, names: Names) -> OnnxNode:
    """``tiles`` times along ``axis``, both known."""
    tiles, axis = (names.known.get(name) for name in node.inputs[1:3])
    if tiles is None or axis is None or tiles.size != 1 or axis.size != 1:
        raise OnnxError("tiles and axis must be known before the network runs, each of them one number")
    rank = len(_shape(names, node.inputs[0]))
    place = int(axis.reshape(()))
    if not 0 <= place < rank:
        raise OnnxError(f"axis {place} is not one of the {rank} axes of its input")
    repeats = np.ones(rank, np.int64)
    repeats[place] = int(tiles.reshape(()))
    return _with_input(replace(node, inputs=node.inputs[:1]), 1, repeats, names)


@_until(7, "BatchNormalization")
def _inference(node: OnnxNode, names: Names) -> OnnxNode:
    """Outputs beside the first are not made where ``is_test`` says that nothing is trained."""
    return replace(node, outputs=node.outputs[:1]) if node.integer("is_test", 0) else node


def _with_input(node: OnnxNode, index: int, array: np.ndarray, names: Names) -> OnnxNode:
    name = f"{node.outputs[0]} > input {index}"
    names.known[name] = array
    return replace(node, inputs=(*node.inputs[:index], name))
