"""The serializer: a graph with its constants as the bytes of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..graph import Graph
from ..ops import OPS
from ..passes import decompose
from . import families  # noqa: F401  (fills the table)
from .export_context import ExportContext
from .node import OnnxError
from .table import WRITERS

OPSETS = range(9, 29)
"""The opsets that can be written."""

Shape = Sequence[int | str]


def check_opset(opset: int) -> None:
    newest = min(OPSETS[-1], onnx.defs.onnx_opset_version())
    if isinstance(opset, bool) or not isinstance(opset, int) or not OPSETS[0] <= opset <= newest:
        raise OnnxError(f"opset must be an integer from {OPSETS[0]} to {newest}, got {opset!r}")


def model_bytes(
    graph: Graph,
    inputs: Sequence[Shape],
    outputs: Mapping[str, Shape],
    opset: int = 17,
    *,
    settings: Mapping[str, Any] | None = None,
    version: str = "",
    name: str = "normengine",
) -> bytes:
    """The file that computes ``graph``, checked by ``onnx.checker`` with shape inference.

    ``inputs`` gives the declared extents of each graph input, ``outputs`` names the graph's outputs and theirs;
    a string is the name of a dynamic extent. ``settings`` maps layers to batch normalization's momentum, as PyTorch
    counts it. Raises :class:`OnnxError` for what ONNX cannot express at this opset.
    """
    check_opset(opset)
    if graph.state:
        raise OnnxError(f"'{graph.state[0].name}' has no values; bind state to arrays before it is written")
    kept = decompose(graph, keep=_written())
    writing = ExportContext(kept, tuple(outputs), opset, settings or {}, WRITERS)
    writing.write()
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node(n.op_type, n.inputs, n.outputs, n.name, **n.attributes) for n in writing.nodes],
            name,
            [_port(v.name, v.dtype, shape) for v, shape in zip(graph.inputs, inputs, strict=True)],
            [_port(n, v.dtype, outputs[n]) for n, v in zip(outputs, graph.outputs, strict=True)],
            [numpy_helper.from_array(a, n) for n, a in writing.initializers.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        producer_name="normengine",
        producer_version=version,
    )
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxError(f"the ONNX checker refuses what was written: {str(error).strip()}") from error
    return bytes(proto.SerializeToString(deterministic=True))


def _written() -> set[str]:
    return {name for name, op in OPS.items() if name in WRITERS or op.onnx is not None}


def _port(name: str, dtype: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))
