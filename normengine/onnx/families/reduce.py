"""Sums and means over axes, which ONNX moved from an attribute to an input: ReduceSum in opset 13, the rest in 18."""

from __future__ import annotations

from typing import Any

from ...graph import Node, Value
from ..reading import Call
from ..table import reads, writes
from ..writing import Writing

_OPS = {"ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum"}
_AXES_AS_INPUT = {"ReduceSum": 13}


@reads(*_OPS)
def read_reduction(call: Call) -> Value:
    x = call.value(0)
    axes = call.integers_anywhere("axes", 1)
    if not axes:
        if call.node.integer("noop_with_empty_axes", 0):
            return x
        axes = tuple(range(x.spec.rank))
    keepdims = bool(call.node.integer("keepdims", 1))
    return call.add(_OPS[call.node.op_type], x, axes=call.axes(axes, x.spec.rank), keepdims=keepdims)


@writes("reduce_mean", "reduce_sum")
def write_reduce(writing: Writing, node: Node) -> None:
    op_type = next(theirs for theirs, ours in _OPS.items() if ours == node.op)
    (x,) = node.inputs
    write_reduction(writing, node, op_type, x, node.attrs["axes"], node.attrs["keepdims"], node.outputs[0])


def write_reduction(
    writing: Writing,
    node: Node,
    op_type: str,
    x: Value | str,
    axes: tuple[int, ...],
    keepdims: bool,
    result: Value | None = None,
) -> str:
    """A reduction in the form of the file's opset; makes ``result``, or a step whose name is returned."""
    inputs: list[Value | str] = [x]
    attributes: dict[str, Any] = {"keepdims": int(keepdims)}
    if not axes:
        op_type, attributes = "Identity", {}
    elif writing.opset >= _AXES_AS_INPUT.get(op_type, 18):
        inputs.append(writing.integers(axes, "axes"))
    else:
        attributes["axes"] = axes
    if result is None:
        return writing.step(node, op_type, *inputs, **attributes)
    writing.make(node, op_type, *inputs, result=result, **attributes)
    return writing.name(result)
