"""What an ONNX file says of itself, and how much of what it holds."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import onnx

from .limits import FileLimits
from .parse import STANDARD
from .tensors import type_name
from .whole_file import whole_model


class Described(NamedTuple):
    """``inputs`` and ``outputs`` are names with types and extents in words, ``operators`` counts nodes by operator,
    ``parameters`` the numbers of all weights of a float type and ``weight_bytes`` the bytes of all weights."""

    opset: int | None
    producer: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    operators: Mapping[str, int]
    parameters: int
    weight_bytes: int


def described(path: str | os.PathLike[str], limits: FileLimits | None = None) -> Described:
    """What there is in a file. Raises as :func:`~.whole_file.whole_model` does."""
    model = whole_model(path, limits)
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    operators: dict[str, int] = {}
    for node in graph.node:
        name = node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
        operators[name] = operators.get(name, 0) + 1
    sizes = [(tensor.data_type, math.prod(tensor.dims)) for tensor in graph.initializer]
    return Described(
        opset=next((o.version for o in model.opset_import if o.domain in STANDARD), None),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs={info.name: _words(info) for info in graph.input if info.name not in stored},
        outputs={info.name: _words(info) for info in graph.output},
        operators=dict(sorted(operators.items(), key=lambda row: (-row[1], row[0]))),
        parameters=sum(size for kind, size in sizes if "FLOAT" in type_name(kind) or "DOUBLE" in type_name(kind)),
        weight_bytes=sum(tensor.ByteSize() for tensor in graph.initializer),
    )


def _words(info: onnx.ValueInfoProto) -> str:
    """``float32 (N, 3, 32, 32)``, a question mark for an extent without a name."""
    if not info.type.HasField("tensor_type"):
        return "no tensor"
    tensor = info.type.tensor_type
    name = {"FLOAT": "float32", "DOUBLE": "float64"}.get(type_name(tensor.elem_type), "")
    dims = (str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim)
    shape = f"({', '.join(dims)})" if tensor.HasField("shape") else "of any shape"
    return f"{name or type_name(tensor.elem_type).lower()} {shape}"
