"""Activations that need more than another name: composed before the opset that has them, or clipped."""

from __future__ import annotations

import math

import numpy as np

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes


@reads("Gelu")
def read_gelu(call: ImportedNode) -> Value:
    kind = call.node.text("approximate", "none")
    if kind not in ("none", "tanh"):
        raise OnnxError(f"attribute 'approximate' must be none or tanh, got {kind!r}")
    return call.add("gelu" if kind == "none" else "gelu_tanh", call.value(0))


@reads("Swish")
def read_swish(call: ImportedNode) -> Value:
    x, alpha = call.value(0), call.node.number("alpha", 1.0)
    if alpha == 1:
        return call.add("silu", x)
    return call.add("mul", x, call.add("sigmoid", call.add("mul", x, call.constant(alpha))))


@reads("Celu")
def read_celu(call: ImportedNode) -> Value:
    alpha = call.node.number("alpha", 1.0)
    if alpha == 0:
        raise OnnxError("attribute 'alpha' must not be 0, by which the input is divided")
    return call.add("celu", call.value(0), alpha=alpha)


@reads("ThresholdedRelu")
def read_thresholded_relu(call: ImportedNode) -> Value:
    return call.add("threshold", call.value(0), threshold=call.node.number("alpha", 1.0), value=0.0)


@reads("Mish")
def read_mish(call: ImportedNode) -> Value:
    return call.add("mish", call.value(0))


@reads("Clip")
def read_clip(call: ImportedNode) -> Value:
    """Between limits that are known, or computed by the network as well."""
    x = call.value(0)
    whole, computed = x.dtype != "float32", [i for i in (1, 2) if call.given(i) and call.known(i) is None]
    if whole or computed:
        for i, op in ((1, "maximum"), (2, "minimum")):
            x = call.add(op, x, call.value(i)) if call.given(i) else x
        return x
    low = _bound(call, 1, "min")
    high = _bound(call, 2, "max")
    if low == 0 and high == 6:
        return call.add("relu6", x)
    if low is not None and low > -float(np.finfo(np.float32).max):
        x = call.add("relu", x) if low == 0 else call.add("maximum", x, call.constant(low))
    if high is not None and high < float(np.finfo(np.float32).max):
        x = call.add("minimum", x, call.constant(high))
    return x


def _bound(call: ImportedNode, index: int, attribute: str) -> float | None:
    if call.given(index):
        return call.scalar(index, attribute)
    return call.node.number(attribute) if attribute in call.node.attributes else None


@writes("celu")
def write_celu(writing: ExportContext, node: Node) -> None:
    """alpha * elu(x / alpha) before opset 12."""
    (x,), alpha = node.inputs, node.attrs["alpha"]
    if writing.opset >= 12:
        writing.make(node, "Celu", x, alpha=alpha)
        return
    factor = writing.constant(float(alpha), "alpha")
    writing.make(node, "Mul", writing.step(node, "Elu", writing.step(node, "Div", x, factor)), factor)


@writes("threshold")
def write_threshold(writing: ExportContext, node: Node) -> None:
    (x,), limit, value = node.inputs, float(node.attrs["threshold"]), float(node.attrs["value"])
    if value == 0 and writing.opset >= 10:
        writing.make(node, "ThresholdedRelu", x, alpha=limit)
        return
    above = writing.step(node, "Greater", x, writing.constant(limit, "threshold"))
    writing.make(node, "Where", above, x, writing.constant(value, "value"))


@writes("hardtanh")
def write_hardtanh(writing: ExportContext, node: Node) -> None:
    (x,), low, high = node.inputs, float(node.attrs["min_val"]), float(node.attrs["max_val"])
    if writing.opset < 11:
        writing.make(node, "Clip", x, min=low, max=high)
    else:
        writing.make(node, "Clip", x, writing.constant(low, "min_val"), writing.constant(high, "max_val"))


@writes("relu6")
def write_relu6(writing: ExportContext, node: Node) -> None:
    if writing.opset < 11:
        writing.make(node, "Clip", *node.inputs, min=0.0, max=6.0)
    else:
        writing.make(node, "Clip", *node.inputs, writing.constant(0.0, "zero"), writing.constant(6.0, "six"))


@writes("silu")
def write_silu(writing: ExportContext, node: Node) -> None:
    (x,) = node.inputs
    writing.make(node, "Mul", x, writing.step(node, "Sigmoid", x))


@writes("hardswish")
def write_hardswish(writing: ExportContext, node: Node) -> None:
    (x,) = node.inputs
    if writing.opset >= 14:
        writing.make(node, "HardSwish", x)
    else:
        writing.make(node, "Mul", x, writing.step(node, "HardSigmoid", x, alpha=1 / 6, beta=0.5))


@writes("mish")
def write_mish(writing: ExportContext, node: Node) -> None:
    (x,) = node.inputs
    if writing.opset >= 18:
        writing.make(node, "Mish", x)
    else:
        writing.make(node, "Mul", x, writing.step(node, "Tanh", writing.step(node, "Softplus", x)))


@writes("gelu")
def write_gelu(writing: ExportContext, node: Node) -> None:
    """x * (1 + erf(x / sqrt(2))) / 2."""
    (x,) = node.inputs
    if writing.opset >= 20:
        writing.make(node, "Gelu", x)
        return
    erf = writing.step(node, "Erf", writing.step(node, "Mul", x, writing.constant(math.sqrt(0.5), "sqrt_half")))
    _half_of_product(writing, node, x, erf)


@writes("gelu_tanh")
def write_gelu_tanh(writing: ExportContext, node: Node) -> None:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2."""
    (x,) = node.inputs
    if writing.opset >= 20:
        writing.make(node, "Gelu", x, approximate="tanh")
        return
    cubic = writing.step(node, "Mul", writing.step(node, "Mul", x, x), writing.constant(0.044715, "gelu_cubic"))
    factor = writing.step(node, "Add", cubic, writing.constant(1.0, "one"))
    inner = writing.step(node, "Mul", x, factor)
    scaled = writing.step(node, "Mul", inner, writing.constant(math.sqrt(2 / math.pi), "gelu_scale"))
    _half_of_product(writing, node, x, writing.step(node, "Tanh", scaled))


def _half_of_product(writing: ExportContext, node: Node, x: Value, share: str) -> None:
    """x * (1 + share) / 2 as the node's output."""
    weight = writing.step(node, "Add", share, writing.constant(1.0, "one"))
    writing.make(node, "Mul", writing.step(node, "Mul", x, weight), writing.constant(0.5, "half"))
