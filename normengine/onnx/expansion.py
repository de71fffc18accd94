"""Operators that ONNX itself defines by others: the body that it gives such an operator takes a node's place.

Some of these bodies depend on the node's attributes and on the types of its inputs, so they are asked for when the
node is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..graph import Spec
from .limits import FileLimits
from .node import Body, OnnxError, OnnxNode
from .parse import body_of
from .tensors import DTYPES, Tensors


class _Schema(Protocol):
    """What ``onnx.defs.OpSchema`` says of the functions that define an operator."""

    attributes: dict[str, onnx.defs.OpSchema.Attribute]
    has_function: bool
    has_context_dependent_function: bool
    function_opset_versions: list[int]
    context_dependent_function_opset_versions: list[int]

    def get_function_with_opset_version(self, version: int, /) -> bytes:
        """The function's bytes at that opset."""

    def get_context_dependent_function_with_opset_version(
        self, version: int, node: bytes, types: Sequence[bytes], /
    ) -> bytes:
        """The function's bytes at that opset, for a node with inputs of those types."""


@lru_cache(1024)
def _schema(op_type: str, opset: int) -> _Schema | None:
    try:
        schema = cast("_Schema", onnx.defs.get_schema(op_type, opset, ""))
    except onnx.defs.SchemaError:
        return None
    return schema if schema.has_function or schema.has_context_dependent_function else None


def is_expandable(op_type: str, opset: int) -> bool:
    """Whether ONNX says of which operators this one is made at that opset."""
    return _schema(op_type, opset) is not None


def expansion(node: OnnxNode, specs: Sequence[Spec | None], opset: int, limits: FileLimits) -> Body:
    """What takes the place of ``node``, whose inputs are as ``specs`` say (None for one that is left out). Its outputs
    are those that the node has.

    Raises :class:`OnnxError` where ONNX has no body for the node, as for types or attributes that it does not foresee.
    """
    schema = _schema(node.op_type, opset)
    if schema is None:
        raise OnnxError("is not made of other operators")
    if schema.has_function:
        versions = schema.function_opset_versions
    else:
        versions = schema.context_dependent_function_opset_versions
    version = max([v for v in versions if v <= opset], default=min(versions))
    function = onnx.FunctionProto()
    try:
        proto = _proto(node)
        function.ParseFromString(_content(schema, version, proto, specs))
    except Exception as error:  # whatever ONNX's own code raises is said of this node
        raise OnnxError(f"cannot be made of other operators: {error}") from None
    if not function.node:
        raise OnnxError("cannot be made of other operators with these inputs and attributes")
    _give_attributes(function, proto, schema)
    wanted = [made for made, name in zip(function.output, node.outputs, strict=False) if name]
    function.output[:] = wanted
    return body_of(function, version, Tensors(None, limits), "its body")


def _content(schema: _Schema, version: int, proto: onnx.NodeProto, specs: Sequence[Spec | None]) -> bytes:
    if schema.has_function:
        return schema.get_function_with_opset_version(version)
    types = [_type(spec).SerializeToString() for spec in specs]
    return schema.get_context_dependent_function_with_opset_version(version, proto.SerializeToString(), types)


def _proto(node: OnnxNode) -> onnx.NodeProto:
    attributes = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in node.attributes.items()
    }
    return helper.make_node(node.op_type, node.inputs, node.outputs, **attributes)


def _type(spec: Spec | None) -> onnx.TypeProto:
    if spec is None:
        return onnx.TypeProto()
    number = next(number for number, dtype in DTYPES.items() if dtype == spec.dtype)
    return helper.make_tensor_type_proto(number, spec.shape)


def _give_attributes(function: onnx.FunctionProto, call: onnx.NodeProto, schema: _Schema) -> None:
    """Put the call's attributes, or the operator's defaults, where the body refers to them."""
    given = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    given.update((attribute.name, attribute) for attribute in call.attribute)
    for node in function.node:
        kept = []
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                kept.append(attribute)
            elif attribute.ref_attr_name in given:
                own = onnx.AttributeProto()
                own.CopyFrom(given[attribute.ref_attr_name])
                own.name = attribute.name
                kept.append(own)
        del node.attribute[:]
        node.attribute.extend(kept)
