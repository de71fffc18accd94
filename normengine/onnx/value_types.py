"""Element types and extents of what a file computes, as ONNX's own shape inference finds them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import onnx
from onnx import helper

from ..graph import MEMORY
from .tensors import DTYPES

_LARGE = 2**14
"""Elements of a weight that is no shape, and whose numbers inference does not need."""


class ValueType(NamedTuple):
    """What is known of a name: ONNX's number of the element type, and the extents, None where one is not known."""

    elem_type: int
    shape: tuple[int, ...] | None

    @property
    def is_readable(self) -> bool:
        """Whether it can be an input of a network that is read, which this machine has the memory for."""
        return self.elem_type in DTYPES and self.shape is not None and math.prod(self.shape) * 8 <= MEMORY


def value_types(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, ValueType]:
    """The type of each name for inputs of those ``shapes``; names that nobody knows anything of are left out."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _fix(copy.graph, shapes)
    weights = {tensor.name: ValueType(tensor.data_type, tuple(tensor.dims)) for tensor in copy.graph.initializer}
    _take_out_large(copy.graph)
    with suppress(Exception):  # whatever ONNX's own code raises: then the file's own words are what there is
        copy = onnx.shape_inference.infer_shapes(copy)  # computing nothing: arrays may be of any size
    graph = copy.graph
    found = {info.name: _type(info) for info in (*graph.input, *graph.output, *graph.value_info) if info.name}
    return {name: kind for name, kind in found.items() if kind is not None} | weights


def _type(info: onnx.ValueInfoProto) -> ValueType | None:
    if not info.type.HasField("tensor_type"):
        return None
    tensor = info.type.tensor_type
    known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    shape = tuple(int(dim.dim_value) for dim in tensor.shape.dim) if known else None
    return ValueType(tensor.elem_type, None if shape is None or min(shape, default=0) < 0 else shape)


def _fix(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Put the extents of ``shapes`` in the place of open ones, wherever their names stand."""
    extents: dict[str, int] = {}
    for info in graph.input:
        for dim, extent in zip(_dims(info), shapes.get(info.name, ()), strict=False):
            if dim.dim_param:
                extents[dim.dim_param] = extent
            dim.dim_value = extent
    for info in (*graph.output, *graph.value_info):
        for dim in _dims(info):
            if dim.dim_param in extents:
                dim.dim_value = extents[dim.dim_param]


def _dims(info: onnx.ValueInfoProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    yield from info.type.tensor_type.shape.dim


def _take_out_large(graph: onnx.GraphProto) -> None:
    """Large weights become inputs, of which inference needs the extents alone."""
    declared = {info.name for info in graph.input}
    kept = []
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _LARGE:
            kept.append(tensor)
        elif tensor.name not in declared:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    if len(kept) < len(graph.initializer):
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)
