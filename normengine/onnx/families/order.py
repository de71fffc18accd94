"""Places of the largest elements, the first of them in order, and elements at places that the network computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes


@reads("ArgMax", "ArgMin")
def read_argmax(call: ImportedNode) -> Value:
    x, least = call.value(0), call.node.op_type == "ArgMin"
    axis, keepdims = call.axis(call.node.integer("axis", 0), x.spec.rank), bool(call.node.integer("keepdims", 1))
    last = bool(call.node.integer("select_last_index", 0))
    if x.dtype == "int64" and not last:
        _, places = call.add_multi("topk", x, axis=axis, k=1, largest=not least)
        return places if keepdims else call.add("reshape", places, shape=x.shape[:axis] + x.shape[axis + 1 :])
    return call.add("argmax", call.add("neg", x) if least else x, axis=axis, keepdims=keepdims, last=last)


@reads("TopK")
def read_topk(call: ImportedNode) -> Sequence[Value]:
    """A known number of elements; an attribute before opset 10, which has the largest in order alone."""
    x = call.value(0)
    given = call.integers(1, "k", 1) if call.opset >= 10 else (call.node.integer("k"),)
    if len(given) != 1:
        raise OnnxError(f"k must be one number, got {len(given)}")
    axis, largest = call.axis(call.node.integer("axis", -1), x.spec.rank), bool(call.node.integer("largest", 1))
    return call.add_multi("topk", x, axis=axis, k=given[0], largest=largest)


@reads("GatherElements")
def read_gather_elements(call: ImportedNode) -> Value:
    x, indices = call.value(0), call.value(1)
    axis = call.axis(call.node.integer("axis", 0), x.spec.rank)
    if indices.spec.rank != x.spec.rank:
        raise OnnxError(f"indices of shape {indices.shape} must have as many axes as its input, of shape {x.shape}")
    known = call.known(1)
    if known is not None and (known.min() < -x.shape[axis] or known.max() >= x.shape[axis]):
        raise OnnxError(f"its indices are not all inside axis {axis} of shape {x.shape}")
    return call.add("gather_elements", _front(call, x, indices.shape, axis), indices, axis=axis)


def _front(call: ImportedNode, x: Value, shape: tuple[int, ...], axis: int) -> Value:
    """The part of ``x`` that indices of a shape reach, which may be smaller along the other axes."""
    stops = tuple(n if a == axis else min(n, m) for a, (n, m) in enumerate(zip(x.shape, shape, strict=True)))
    if stops == x.shape:
        return x
    return call.add("slice", x, starts=(0,) * len(stops), stops=stops, steps=(1,) * len(stops))


@writes("argmax")
def write_argmax(writing: ExportContext, node: Node) -> None:
    last, attrs = node.attrs["last"], node.attrs
    if last and writing.opset < 12:
        raise OnnxError(f"'{writing.label(node)}': the last of equal elements has no form before opset 12")
    more: dict[str, Any] = {"select_last_index": 1} if last else {}
    writing.make(node, "ArgMax", *node.inputs, axis=attrs["axis"], keepdims=int(attrs["keepdims"]), **more)


@writes("topk")
def write_topk(writing: ExportContext, node: Node) -> None:
    (x,), attrs = node.inputs, node.attrs
    if writing.opset < 11 and not (attrs["largest"] and x.dtype == "float32"):
        raise OnnxError(
            f"'{writing.label(node)}': smallest elements, and integers, in order have no form before opset 11"
        )
    more: dict[str, Any] = {} if attrs["largest"] else {"largest": 0}
    if writing.opset < 10:
        writing.make(node, "TopK", x, k=attrs["k"], axis=attrs["axis"])
    else:
        writing.make(node, "TopK", x, writing.integers((attrs["k"],), "k"), axis=attrs["axis"], **more)


@writes("gather")
def write_gather(writing: ExportContext, node: Node) -> None:
    writing.make(node, "Gather", *node.inputs, axis=node.attrs["axis"])


@writes("gather_elements")
def write_gather_elements(writing: ExportContext, node: Node) -> None:
    if writing.opset < 11:
        raise OnnxError(f"'{writing.label(node)}': elements at computed places have no form before opset 11")
    writing.make(node, "GatherElements", *node.inputs, axis=node.attrs["axis"])
