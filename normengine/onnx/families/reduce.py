"""Sums, means and extremes over axes, which ONNX moved from an attribute to an input: ReduceSum in opset 13, the
rest in 18."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..table import reads, writes

_OPS = {
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
}
_AXES_AS_INPUT = {"ReduceSum": 13}
LARGEST = float(np.finfo(np.float32).max)


@reads(*_OPS)
def read_reduction(call: ImportedNode) -> Value:
    x, op = call.value(0), _OPS[call.node.op_type]
    return _of_truths(call, op, x) if x.dtype == "bool" else _reduced(call, op, x)


def _axes(call: ImportedNode) -> tuple[int, ...]:
    """The axes that are reduced: all where none is named, unless that means none."""
    rank, given = call.value(0).spec.rank, call.integers_anywhere("axes", 1)
    if not given:
        return () if call.node.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return call.axes(given, rank)


def _reduced(call: ImportedNode, op: str, x: Value) -> Value:
    axes = _axes(call)
    return call.add(op, x, axes=axes, keepdims=bool(call.node.integer("keepdims", 1))) if axes else x


@reads("ReduceMin")
def read_minimum(call: ImportedNode) -> Value:
    """The maximum of what is negated, negated."""
    x = call.value(0)
    if x.dtype == "bool":
        return _of_truths(call, "reduce_prod", x)
    return call.add("neg", _reduced(call, "reduce_max", call.add("neg", x)))


def _of_truths(call: ImportedNode, op: str, x: Value) -> Value:
    """Whether one of them, or each of them, is true."""
    return call.add("greater", _reduced(call, op, call.add("cast", x, dtype="float32")), call.constant(0.0))


@reads("ReduceL1")
def read_l1(call: ImportedNode) -> Value:
    return _reduced(call, "reduce_sum", call.add("abs", call.value(0)))


@reads("ReduceSumSquare", "ReduceL2")
def read_sum_of_squares(call: ImportedNode) -> Value:
    x = call.value(0)
    total = _reduced(call, "reduce_sum", call.add("mul", x, x))
    return call.add("sqrt", total) if call.node.op_type == "ReduceL2" else total


@reads("ReduceLogSum")
def read_log_of_sum(call: ImportedNode) -> Value:
    return call.add("log", _reduced(call, "reduce_sum", call.value(0)))


@reads("ReduceLogSumExp")
def read_log_of_sum_of_exponentials(call: ImportedNode) -> Value:
    """The largest is taken out before, unless it is infinite, so that nothing overflows."""
    x, axes = call.value(0), _axes(call)
    if not axes:
        return x
    zero = call.constant(0.0)
    top = call.add("reduce_max", x, axes=axes, keepdims=True)
    infinite = call.add("greater", call.add("abs", top), call.constant(LARGEST))
    top = call.add("where", infinite, zero, top)
    total = call.add("log", _reduced(call, "reduce_sum", call.add("exp", call.add("sub", x, top))))
    return call.add("add", total, call.add("reshape", top, shape=total.shape))


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
