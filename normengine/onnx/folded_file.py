"""Batch normalizations of a file folded in the file: the graph of what can be read tells what goes where, and the same
is done to the file's own nodes and weights. Whatever else it holds stays as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper

from ..graph import Graph, Node
from ..ops import OPS
from ..passes.fold_batchnorm import Folded, Folding, fold_with_steps
from .limits import FileLimits
from .model_edit import ModelEdit
from .node import OnnxError
from .partial import cut_out, node_names, readable_part
from .value_types import ValueType, value_types
from .whole_file import Shapes, model_content, trial_shapes, whole_model

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


class FoldedModel(NamedTuple):
    """The folded file, what became of each of its batch normalizations, in its order, who took constants that scaled or
    shifted channels, the names of its nodes that could not be read, and, as files, what could be read of it before and
    after; None where that is nothing."""

    model: onnx.ModelProto
    foldings: tuple[Folding, ...]
    constants: tuple[Folding, ...]
    unread: tuple[str, ...]
    parts: tuple[bytes, bytes] | None


class FoldedFile(NamedTuple):
    """As :class:`FoldedModel`, with the content of the file to be and the ``shapes`` of inputs that were tried."""

    content: bytes
    foldings: tuple[Folding, ...]
    constants: tuple[Folding, ...]
    unread: tuple[str, ...]
    parts: tuple[bytes, bytes] | None
    shapes: Shapes


class _CannotEdit(Exception):
    """The file's node at ``position`` does not have the form of what it became in the graph."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


def fold_file(
    path: str | os.PathLike[str],
    given: Mapping[str, Sequence[int]],
    limits: FileLimits | None = None,
    batch: int | None = None,
) -> FoldedFile:
    """What the file at ``path`` is with its batch normalizations folded; nothing is written.

    ``given`` are shapes of inputs, ``batch`` is the extent of open first axes. Extents that stay open are tried one
    after the other, until all nodes can be read or else as many as with any.

    Raises :class:`OnnxError` where the file cannot be read or ``given`` does not fit it, OSError where there is none.
    """
    model, name = whole_model(path, limits), os.fsdecode(path)
    best: tuple[FoldedModel, Shapes] | None = None
    trouble: OnnxError | None = None
    for shapes in trial_shapes(model, given, name, batch):
        try:
            found = fold_model(model, shapes, limits)
        except OnnxError as error:
            trouble = trouble or error
            continue
        if best is None or len(found.unread) < len(best[0].unread):
            best = found, shapes
        if not found.unread:
            break
    if best is None:
        assert trouble is not None
        raise OnnxError(f"{name}: {str(trouble).removeprefix('model bytes: ').removeprefix('model bytes ')}")
    folded, shapes = best
    return FoldedFile(model_content(folded.model, name), *folded[1:], shapes)


def fold_model(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], limits: FileLimits | None = None
) -> FoldedModel:
    """Fold the batch normalizations of ``model``, which stays as it is, as they are for inputs of those ``shapes``.

    Raises :class:`OnnxError` where it cannot be read.
    """
    types = value_types(model, shapes)
    unread: dict[int, str] = {}
    while True:
        part = readable_part(model, types, limits, unread)
        unread = dict(part.unread)
        if part.graph is None:
            return FoldedModel(model, _rows(model, None, unread), (), tuple(_named(model, unread)), None)
        folded = fold_with_steps(part.graph, part.beyond)
        try:
            edited, places = _edited(model, types, folded)
        except _CannotEdit as reason:
            if reason.position in unread:
                raise OnnxError(f"'{node_names(model)[reason.position]}' cannot be folded into: {reason}") from None
            unread[reason.position] = str(reason)
            continue
        after = cut_out(edited, types, {places[i] for i in unread if i in places})
        if after is None:
            raise OnnxError("no output is left that can be read")
        parts = part.content, after.SerializeToString()
        return FoldedModel(edited, _rows(model, folded, unread), folded.constants, tuple(_named(model, unread)), parts)


def _named(model: onnx.ModelProto, positions: Mapping[int, str]) -> list[str]:
    names = node_names(model)
    return [names[i] for i in sorted(positions)]


def _rows(model: onnx.ModelProto, folded: Folded | None, unread: Mapping[int, str]) -> tuple[Folding, ...]:
    """What became of each batch normalization of the file, in its order."""
    found = {} if folded is None else {row.batch_norm: row for row in folded.foldings}
    rows = []
    for i, (name, node) in enumerate(zip(node_names(model), model.graph.node, strict=True)):
        if node.op_type == "BatchNormalization":
            label = node.name or node.output[0]
            reason = unread.get(i, "no output needs it")
            rows.append(found.get(name, Folding(label, reason=reason))._replace(batch_norm=label))
    return tuple(rows)


def _edited(
    model: onnx.ModelProto, types: Mapping[str, ValueType], folded: Folded
) -> tuple[onnx.ModelProto, dict[int, int]]:
    """``model`` with done to it what was done to its graph, and where in it each node is that is left."""
    places = {name: i for i, name in enumerate(node_names(model))}
    edit = ModelEdit(model)
    changes: dict[int, tuple[Node, Node]] = {}
    for node in folded.graph.nodes:
        origin = folded.origins.get(node)
        if origin is None or not _weights_changed(folded.graph, node, origin):
            continue
        if origin.layer in places and places[origin.layer] not in changes:
            changes[places[origin.layer]] = node, origin
        else:
            raise _CannotEdit(_place(origin.layer, places), "it is several layers in one")
    for position, (node, origin) in changes.items():
        _LayerEdit(edit, types, folded.graph).change(position, node, origin)
    for gone, before in folded.removed:
        position = _place(gone.layer, places)
        edit.remove(position, _mapped_input(edit, position, gone), before)
    return edit.finished()


_ELEMENTWISE = ("Add", "Sub", "Mul", "Div")


def _mapped_input(edit: ModelEdit, position: int, gone: Node) -> int:
    """Which input of a node that is to be taken out is the one that it maps."""
    node = edit.nodes[position]
    if OPS[gone.op].normalizes and node.op_type == "BatchNormalization":
        return 0
    computed = [i for i, name in enumerate(node.input) if not edit.is_constant(name)]
    if node.op_type not in _ELEMENTWISE or len(node.input) != 2 or len(computed) != 1:
        raise _CannotEdit(position, "it is no sum or product of a known form")
    return computed[0]


def _place(layer: str, places: Mapping[str, int]) -> int:
    """The position of the node that became the layer, or one within it."""
    fitting = [name for name in places if layer == name or layer.startswith(name)]
    if not fitting:
        raise OnnxError(f"'{layer}' is not a node of the file, so that nothing can be folded into it")
    return places[max(fitting, key=len)]


def _weights_changed(graph: Graph, node: Node, origin: Node) -> bool:
    pairs = zip(node.inputs[1:], origin.inputs[1:], strict=False)
    changed = len(node.inputs) > len(origin.inputs) or any(a is not b for a, b in pairs)
    first = node.inputs[0] is not origin.inputs[0] and node.inputs[0] in graph.constants
    return changed or first


class _LayerEdit:
    """Gives the weights that a node of the graph has now to the file's node that it came from."""

    def __init__(self, edit: ModelEdit, types: Mapping[str, ValueType], graph: Graph) -> None:
        self._edit = edit
        self._types = types
        self._graph = graph
        self._has_bias = False

    def change(self, position: int, node: Node, origin: Node) -> None:
        """Raises :class:`_CannotEdit` where the file's node has another form than expected."""
        if not OPS[node.op].folds_norms:
            self._constants(position, node, origin)
            return
        weight, bias = (self._graph.constants[value] for value in node.inputs[1:])
        self._has_bias = len(origin.inputs) > 2
        self._layer(position, weight, bias if bias.any() or self._has_bias else None)

    def _layer(self, position: int, weight: np.ndarray, bias: np.ndarray | None) -> None:
        node = self._edit.nodes[position]
        if node.op_type in ("Conv", "ConvTranspose"):
            self._set(position, 1, weight.reshape(self._shape(position, 1, weight)), ".weight")
            if bias is not None:
                self._set(position, 2, bias, ".bias")
        elif node.op_type == "Gemm":
            adds = len(node.input) > 2 and bool(node.input[2]) and not self._has_bias  # what the graph adds by itself
            if adds and bias is not None:
                raise _CannotEdit(position, "it adds something else than a bias")
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            self._set(position, 1, weight if turned else weight.T, ".weight")
            if bias is not None:
                self._set(position, 2, bias, ".bias")
            kept = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in node.attribute]
            del node.attribute[:]
            node.attribute.extend(a for a in kept if a.name != "alpha" and (adds or a.name != "beta"))
        elif node.op_type == "MatMul":
            self._product(position, weight, bias)
        elif node.op_type == "Add" and bias is not None:
            self._layer_and_sum(position, weight, bias)
        else:
            raise _CannotEdit(position, "it is no layer of a known form")

    def _product(self, position: int, weight: np.ndarray, bias: np.ndarray | None) -> None:
        node = self._edit.nodes[position]
        right = self._edit.is_constant(node.input[1]) and len(self._shape(position, 1, weight)) == 2
        self._set(position, int(right), weight.T if right else weight, ".weight")
        if bias is None:
            return
        x = self._types.get(node.input[0])
        if right and x is not None and x.shape is not None and len(x.shape) == 2:
            node.op_type = "Gemm"
            self._set(position, 2, bias, ".bias")
            return
        array = (bias if right else bias.reshape(-1, 1)).astype(self._dtype(node.input[int(right)], position))
        self._edit.add_behind(position, array, f"{node.name or node.output[0]}.bias")

    def _layer_and_sum(self, position: int, weight: np.ndarray, bias: np.ndarray) -> None:
        """A layer without bias and the sum behind it, which the graph has as one layer."""
        node = self._edit.nodes[position]
        constant = [i for i, name in enumerate(node.input) if self._edit.is_constant(name)]
        if len(node.input) != 2 or len(constant) != 1:
            raise _CannotEdit(position, "it is no layer of a known form")
        between = [node.input[1 - constant[0]]]
        layer = self._edit.maker(between[-1])
        while layer is not None and self._edit.nodes[layer].op_type in ("Identity", "Dropout"):
            between.append(self._edit.nodes[layer].input[0])
            layer = self._edit.maker(between[-1])
        alone = all(self._edit.reads(name) == 1 for name in between)
        if layer is None or not alone or self._edit.nodes[layer].op_type == "Add":
            raise _CannotEdit(position, "it is no layer of a known form")
        shape = self._shape(position, constant[0], bias)
        self._layer(layer, weight, None)
        self._set(position, constant[0], bias.reshape(shape), ".bias")

    def _constants(self, position: int, node: Node, origin: Node) -> None:
        """The constants that a sum or a product reads."""
        read = self._edit.nodes[position].input
        if self._edit.nodes[position].op_type not in ("Add", "Mul") or len(read) != len(node.inputs):
            raise _CannotEdit(position, "it is no sum or product of a known form")
        for i, (new, old) in enumerate(zip(node.inputs, origin.inputs, strict=True)):
            if new is not old and new in self._graph.constants:
                if not self._edit.is_constant(read[i]):
                    raise _CannotEdit(position, "it is no sum or product of a known form")
                self._set(position, i, self._graph.constants[new], ".constant")

    def _shape(self, position: int, index: int, array: np.ndarray) -> tuple[int, ...]:
        """The shape that the file has for the numbers of ``array``."""
        found = self._types.get(self._edit.nodes[position].input[index])
        if found is None or found.shape is None or int(np.prod(found.shape)) != array.size:
            raise _CannotEdit(position, "it is no layer of a known form")
        return found.shape

    def _set(self, position: int, index: int, array: np.ndarray, part: str) -> None:
        node = self._edit.nodes[position]
        name = node.input[index] if index < len(node.input) else ""
        first = next(n for n in node.input[1:] if n)
        dtype = self._dtype(name or first, position)
        stem = first.removesuffix(".weight") if first.endswith(".weight") else node.name or node.output[0]
        self._edit.set_weight(position, index, array.astype(dtype), f"{stem}{part}")

    def _dtype(self, name: str, position: int) -> np.dtype:
        kind = self._types.get(name.removesuffix("_folded"))
        number = onnx.TensorProto.FLOAT if kind is None else kind.elem_type
        if number not in _FLOATS:
            raise _CannotEdit(position, "its weight is not of a float type that NumPy has")
        return np.dtype(helper.tensor_dtype_to_np_dtype(number))
