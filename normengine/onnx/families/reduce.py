"""Sums, means and extremes over axes, which ONNX moved from an attribute to an input: ReduceSum in opset 13, the
rest in 18."""

from __future__ import annotations

from typing import Any

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..table import reads, writes

_OPS = {"ReduceMax": "reduce_max", "ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum"}
_AXES_AS_INPUT = {"ReduceSum": 13}


@reads(*_OPS)
def read_reduction(call: ImportedNode) -> Value:
    x, axes = call.value(0), _axes(call)
    keepdims = bool(call.node.integer("keepdims", 1))
    return call.add(_OPS[call.node.op_type], x, axes=axes, keepdims=keepdims) if axes else x


def _axes(call: ImportedNode) -> tuple[int, ...]:
    """The axes that are reduced: all where none is named, unless that means none."""
    rank, given = call.value(0).spec.rank, call.integers_anywhere("axes", 1)
    if not given:
        return () if call.node.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return call.axes(given, rank)


@reads("ReduceMin")
def read_minimum(call: ImportedNode) -> Value:
    """The maximum of what is negated, negated."""
    x, axes = call.value(0), _axes(call)
    keepdims = bool(call.node.integer("keepdims", 1))
    if not axes:
        return x
    return call.add("neg", call.add("reduce_max", call.add("neg", x), axes=axes, keepdims=keepdims))


@writes(*_OPS.values())
def write_reduce(writing: ExportContext, node: Node) -> None:
    op_type = next(theirs for theirs, ours in _OPS.items() if ours == node.op)
    (x,) = node.inputs
    write_reduction(writing, node, op_type, x, node.attrs["axes"], node.attrs["keepdims"], node.outputs[0])


@writes("sum_images")
def write_sum_images(writing: ExportContext, node: Node) -> None:
    write_reduction(writing, node, "ReduceSum", node.inputs[0], (0,), keepdims=False, result=node.outputs[0])


def write_reduction(
    writing: ExportContext,
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
