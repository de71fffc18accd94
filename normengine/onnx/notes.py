"""What runs otherwise than a file says, in sentences."""

from __future__ import annotations

from collections.abc import Collection

_FLOATS = ("float16", "bfloat16", "float64")

_QUANTIZED = {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
}


def notes(types: Collection[str], operators: Collection[str]) -> tuple[str, ...]:
    """One sentence for each kind of thing: floats of other sizes among the element ``types`` of the file's weights,
    inputs and outputs, and quantized ``operators``."""
    found = [
        f"{dtype} is computed in float32: weights and inputs are converted, outputs come back as {dtype}"
        for dtype in _FLOATS
        if dtype in types
    ]
    if not _QUANTIZED.isdisjoint(operators):
        found.append("quantized operators are computed in float32, rounded and saturated as the file says")
    return tuple(found)
