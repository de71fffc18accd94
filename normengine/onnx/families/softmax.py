"""Softmax: one axis since opset 13; before it, all axes from ``axis`` on taken together."""

from __future__ import annotations

import numpy as np

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..table import reads, writes

_OPS = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}


@reads(*_OPS)
def read_softmax(call: ImportedNode) -> Value:
    x, op = call.value(0), _OPS[call.node.op_type]
    rank = x.spec.rank
    if call.opset >= 13:
        return call.add(op, x, axis=call.axis(call.node.integer("axis", -1), rank))
    axis = call.axis(call.node.integer("axis", 1), rank)
    if axis == rank - 1:
        return call.add(op, x, axis=axis)
    rows = call.add("reshape", x, shape=(*x.shape[:axis], -1))
    return call.add("reshape", call.add(op, rows, axis=axis), shape=x.shape)


@reads("Hardmax")
def read_hardmax(call: ImportedNode) -> Value:
    """1 at the first of the largest elements along the axis, else 0."""
    x = call.value(0)
    rank = x.spec.rank
    axis = call.axis(call.node.integer("axis", -1 if call.opset >= 13 else 1), rank)
    rows = x if call.opset >= 13 or axis == rank - 1 else call.add("reshape", x, shape=(*x.shape[:axis], -1))
    extent, behind = rows.shape[axis], (1,) * (rows.spec.rank - axis - 1)
    place = call.add("argmax", rows, axis=axis, keepdims=True, last=False)
    call.room((extent,))
    places = call.constant(np.arange(extent, dtype=np.float32).reshape(extent, *behind))
    away = call.add("abs", call.add("sub", call.add("cast", place, dtype="float32"), places))
    zero, one = call.constant(0.0), call.constant(1.0)
    y = call.add("where", call.add("greater", call.constant(0.5), away), one, zero)
    return y if y.shape == x.shape else call.add("reshape", y, shape=x.shape)


@writes("softmax", "log_softmax")
def write_softmax(writing: ExportContext, node: Node) -> None:
    op_type = next(theirs for theirs, ours in _OPS.items() if ours == node.op)
    (x,), axis = node.inputs, node.attrs["axis"]
    last = x.spec.rank - 1
    if writing.opset >= 13 or axis == last:
        writing.make(node, op_type, x, axis=axis)
        return
    swap = [last if a == axis else axis if a == last else a for a in range(last + 1)]
    turned = writing.step(node, op_type, writing.step(node, "Transpose", x, perm=swap), axis=last)
    writing.make(node, "Transpose", turned, perm=swap)
