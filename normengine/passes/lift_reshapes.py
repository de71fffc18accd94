"""Elementwise nodes between reshapes that take an axis away and bring it back are done with that axis, and the reshapes
go: signals stay images of height 1 from layer to layer, in the layout that kernels of images like.

``(N, C, 1, L) -> reshape -> (N, C, L) -> relu -> (N, C, L) -> reshape -> (N, C, 1, L)`` becomes the ``relu`` alone.
That is done where all that reads a node's result is another such node, or a reshape that brings the axis back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..graph import Graph, Node, Value
from ..ops import OPS, Builder
from ..ops.rules import dense_strides

Shape = tuple[int, ...]


def lift_reshapes(graph: Graph) -> Graph:
    """``graph`` with elementwise nodes on the shapes that values had before axes of extent 1 were taken away."""
    forms = _forms(graph)
    if not forms:
        return graph
    lifted = _kept(graph, forms)
    builder = Builder.rewriting(graph)
    now: dict[Value, Value] = {}
    whole: dict[Value, Value] = {}
    for node in graph.nodes:
        node = replace(node, inputs=tuple(now.get(v, v) for v in node.inputs))
        out = node.outputs[0]
        if out in lifted:
            with builder.at(node.layer):
                inputs = [_in_form(builder, v, forms[out], out.shape, whole) for v in node.inputs]
                whole[out] = builder.add(node.op, *inputs, **node.attrs)
        elif _keeps_order(node) and out.shape == _shape(whole.get(node.inputs[0])):
            now[out] = whole[node.inputs[0]]
        else:
            builder.nodes.append(node)
            if out in forms and _keeps_order(node):
                whole[out] = node.inputs[0]
    builder.updates = {old: now.get(new, new) for old, new in graph.updates}
    return builder.graph([now.get(v, v) for v in graph.outputs])


def _shape(value: Value | None) -> Shape | None:
    return None if value is None else value.shape


def _keeps_order(node: Node) -> bool:
    """Whether the node's result has the elements of its input in their order, in another shape."""
    view = OPS[node.op].view
    if view is None or len(node.inputs) != 1:
        return False
    (x,), (y,) = node.inputs, node.outputs
    return x.spec.size == y.spec.size and view(node, 0, dense_strides(x.shape)) == (0, dense_strides(y.shape))


def _elementwise(node: Node) -> bool:
    scalar = OPS[node.op].scalar
    return scalar is not None and not scalar.indexed and len(node.outputs) == 1


def _more(shape: Shape, form: Shape) -> list[bool] | None:
    """Which axes ``form`` has beside those of ``shape``, all of extent 1; None where it is not that."""
    added, at = [], 0
    for extent in form:
        matches = at < len(shape) and shape[at] == extent
        if not matches and extent != 1:
            return None
        added.append(not matches)
        at += matches
    return added if at == len(shape) and len(form) > len(shape) else None


def _forms(graph: Graph) -> dict[Value, Shape]:
    """The shapes that values had, those that reshapes made and those that elementwise nodes make of them."""
    forms: dict[Value, Shape] = {}
    for node in graph.nodes:
        if len(node.outputs) != 1:
            continue
        (out,) = node.outputs
        if _elementwise(node):
            found = [forms[v] for v in node.inputs if v in forms and v.shape == out.shape]
            if found:
                forms[out] = found[0]
        elif _keeps_order(node) and _more(out.shape, node.inputs[0].shape) is not None:
            forms[out] = node.inputs[0].shape
    return forms


def _kept(graph: Graph, forms: Mapping[Value, Shape]) -> set[Value]:
    """What elementwise nodes make that nothing needs in the shape that it has now."""
    readers, results = graph.consumers(), set(graph.results())
    kept: set[Value] = set()
    for node in reversed(graph.nodes):
        if not _elementwise(node) or node.outputs[0] not in forms or node.outputs[0] in results:
            continue
        (out,) = node.outputs
        if all(_takes(reader, forms[out], kept, forms) for reader in readers.get(out, ())):
            kept.add(out)
    return kept


def _takes(reader: Node, form: Shape, kept: set[Value], forms: Mapping[Value, Shape]) -> bool:
    (out, *_) = reader.outputs
    return out.shape == form if _keeps_order(reader) else out in kept and forms[out] == form


def _in_form(builder: Builder, value: Value, form: Shape, shape: Shape, whole: Mapping[Value, Value]) -> Value:
    """``value``, which broadcasts to ``shape``, as it broadcasts to ``form``."""
    if not value.shape:
        return value
    if value in whole and whole[value].shape == form and value.shape == shape:
        return whole[value]
    added = _more(shape, form)
    assert added is not None
    extents = iter((1,) * (len(shape) - len(value.shape)) + value.shape)
    return builder.add("reshape", value, shape=tuple(1 if more else next(extents) for more in added))
