"""Comparison: what the operators' own ONNX mappings do not have, since the graph has one of each pair alone."""

from __future__ import annotations

import math

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..table import reads, writes


@reads("Less")
def read_less(call: ImportedNode) -> Value:
    a, b = call.values(2)
    return call.add("greater", b, a)


@reads("LessOrEqual")
def read_less_or_equal(call: ImportedNode) -> Value:
    a, b = call.values(2)
    return call.add("greater_equal", b, a)


@reads("GreaterOrEqual")
def read_greater_or_equal(call: ImportedNode) -> Value:
    return call.add("greater_equal", *call.values(2))


@reads("IsNaN")
def read_is_nan(call: ImportedNode) -> Value:
    x = call.value(0)
    return call.add("logical_not", call.add("equal", x, x))


@reads("IsInf")
def read_is_inf(call: ImportedNode) -> Value:
    """Of either sign, or of one."""
    x, infinity = call.value(0), call.constant(math.inf)
    below, above = call.node.integer("detect_negative", 1), call.node.integer("detect_positive", 1)
    if below and above:
        return call.add("equal", call.add("abs", x), infinity)
    found = call.add("equal", x, call.constant(-math.inf) if below else infinity)
    return found if below or above else call.add("logical_and", found, call.add("logical_not", found))


@writes("greater_equal")
def write_greater_equal(writing: ExportContext, node: Node) -> None:
    """Greater or equal, in words before opset 12."""
    if writing.opset >= 12:
        writing.make(node, "GreaterOrEqual", *node.inputs)
        return
    either = [writing.step(node, op_type, *node.inputs) for op_type in ("Greater", "Equal")]
    writing.make(node, "Or", *either)
