"""Quantization: numbers of 8 or 16 bits with a scale and a zero point, computed in float32 with the rounding that they
have in the file, to the nearest and of two the even one.

What computes on quantized numbers (``QLinearConv`` and its like) is what it stands for: float operators between
``DequantizeLinear`` and ``QuantizeLinear``. Sums of integers are float32's, exact up to 2^24.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...graph import Value
from ..import_context import ImportedNode, Results
from ..node import Body, OnnxError, OnnxNode
from ..table import evaluates, reads
from ..tensors import DTYPES, held

RANGES = {name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("uint8", "int8", "uint16", "int16")}
_INT32 = 6


@reads("QuantizeLinear")
def read_quantize(call: ImportedNode) -> Value:
    """saturate(round(x / scale) + zero_point)."""
    dtype = _quantized_type(call)
    x = _real(call, call.value(0))
    scale = _along_axis(call, 1, x.shape)
    zero = _along_axis(call, 2, x.shape) if call.given(2) else call.constant(0.0)
    return quantized(call, x, scale, zero, dtype)


def quantized(call: ImportedNode, x: Value, scale: Value, zero: Value, dtype: str) -> Value:
    """``x`` in steps of ``scale`` from ``zero``, as integers within the range of ``dtype``."""
    low, high = (call.add("sub", call.constant(float(bound)), zero) for bound in RANGES[dtype])
    steps = call.add("minimum", call.add("maximum", call.add("div", x, scale), low), high)
    return call.add("cast", call.add("add", rounded(call, steps), zero), dtype=held(dtype))


def rounded(call: ImportedNode, x: Value) -> Value:
    """The nearest integers, of two that are as near the even one."""
    half, one, zero = (call.constant(number) for number in (0.5, 1.0, 0.0))
    below = call.add("floor", x)
    rest = call.add("sub", x, below)
    pairs = call.add("floor", call.add("mul", below, half))
    odd = call.add("sub", below, call.add("add", pairs, pairs))
    of_two = call.add("where", call.add("greater", half, rest), zero, odd)
    return call.add("add", below, call.add("where", call.add("greater", rest, half), one, of_two))


def _quantized_type(call: ImportedNode) -> str:
    """The element type that the zero point has, or an attribute says."""
    _check_blocks(call)
    number = call.node.integer("output_dtype", 0)
    if call.given(2):
        known = call.known(2)
        if known is None and call.value(2).dtype == "uint8":
            return "uint8"
        dtype = call.array(2, "the zero point").dtype.name
    else:
        dtype = DTYPES.get(number, "") if number else "uint8"
    if dtype not in RANGES:
        raise OnnxError(
            f"quantizes to {dtype or f'type {number}'}, which is not supported, only to {', '.join(RANGES)}"
        )
    return dtype


def _check_blocks(call: ImportedNode) -> None:
    if call.node.integer("block_size", 0):
        raise OnnxError("scales of blocks are not supported, only one for all or one for each place along an axis")


def _real(call: ImportedNode, x: Value) -> Value:
    return x if x.dtype == "float32" else call.add("cast", x, dtype="float32")


def _along_axis(call: ImportedNode, index: int, shape: Sequence[int]) -> Value:
    """A scale or zero point as float32 that broadcasts against ``shape``: one number, or one for each place on an
    axis."""
    value = _real(call, call.value(index))
    return (
        value
        if value.spec.size == 1 and not value.shape
        else call.add("reshape", value, shape=_extents(call, value.shape, shape))
    )


def _extents(call: ImportedNode, given: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The shape in which a scale of shape ``given`` broadcasts against ``shape``."""
    if tuple(given) in ((), (1,)):
        return ()
    axis = call.axis(call.node.integer("axis", 1), len(shape))
    if tuple(given) != (shape[axis],):
        raise OnnxError(
            f"the scale must be one number or {shape[axis]}, one for each place on axis {axis}, got shape {given}"
        )
    return tuple(n if a == axis else 1 for a, n in enumerate(shape))


@reads("DequantizeLinear")
def read_dequantize(call: ImportedNode) -> Value:
    """(x - zero_point) * scale."""
    _check_blocks(call)
    x = _real(call, call.value(0))
    scale = _along_axis(call, 1, x.shape)
    if call.given(2):
        x = call.add("sub", x, _along_axis(call, 2, x.shape))
    return call.add("mul", x, scale)


@evaluates("QuantizeLinear")
def quantize(call: ImportedNode) -> Sequence[np.ndarray]:
    dtype = _quantized_type(call)
    x, scale, zero = _known(call)
    low, high = RANGES[dtype]
    return [np.clip(np.rint(x / scale) + zero, low, high).astype(dtype)]


@evaluates("DequantizeLinear")
def dequantize(call: ImportedNode) -> Sequence[np.ndarray]:
    _check_blocks(call)
    x, scale, zero = _known(call)
    return [((x - zero) * scale).astype(np.float32)]


def _known(call: ImportedNode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The input, its scale and its zero point, all of them known, as float64, which has every 32-bit integer."""
    x = call.array(0, "the input")
    call.room(x.shape)
    scale, zero = (
        call.array(i, what) if call.given(i) else np.zeros(()) for i, what in ((1, "the scale"), (2, "the zero point"))
    )
    placed = (a.reshape(_extents(call, a.shape, x.shape)) for a in (scale, zero))
    scale, zero = (a.astype(np.float32 if call.node.op_type == "QuantizeLinear" else np.float64) for a in placed)
    return x.astype(scale.dtype), scale, zero


@reads("DynamicQuantizeLinear")
def read_dynamic_quantize(call: ImportedNode) -> list[Value]:
    """To uint8, with the scale and zero point with which the whole of x, and zero, just fit."""
    x, zero = call.value(0), call.constant(0.0)
    axes = tuple(range(x.spec.rank))
    most = call.add("maximum", call.add("reduce_max", x, axes=axes, keepdims=False), zero)
    least = call.add("neg", call.add("reduce_max", call.add("neg", x), axes=axes, keepdims=False))
    least = call.add("minimum", least, zero)
    scale = call.add("div", call.add("sub", most, least), call.constant(255.0))
    place = call.add("div", call.add("sub", zero, least), scale)
    place = call.add("minimum", call.add("maximum", place, zero), call.constant(255.0))
    place = rounded(call, place)
    return [quantized(call, x, scale, place, "uint8"), scale, call.add("cast", place, dtype="uint8")]


class _Nodes:
    """The nodes of a body that takes the place of a quantized operator, whose inputs are named by their numbers."""

    def __init__(self, call: ImportedNode) -> None:
        self._call = call
        self.nodes: list[OnnxNode] = []

    def add(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"{op_type} {len(self.nodes)}"
        self.nodes.append(OnnxNode(op_type, name, "", inputs, (name,), attributes))
        return name

    def given(self, index: int) -> str:
        return f"{index}" if self._call.given(index) else ""

    def real(self, x: int, scale: str, zero: int, axis: int) -> str:
        """An input as the numbers that it stands for; one scale where that is one number."""
        return self.add("DequantizeLinear", f"{x}", scale, self.given(zero), axis=axis)

    def results(self, output: str) -> Results:
        """What the body's ``output`` stands for, its operators those of opset 13, which knows scales along axes."""
        inputs = tuple(str(i) for i in range(len(self._call.node.inputs)))
        one = {"one": np.ones((), np.float32)}
        body = Body(inputs, (output,), tuple(self.nodes), one, max(13, self._call.opset))
        return self._call.place(body, self._call.node.inputs)


@reads("QLinearConv")
def read_quantized_conv(call: ImportedNode) -> Results:
    """Inputs are x, its scale and zero point, the weight and its two, those of y, a bias in steps of both scales."""
    body = _Nodes(call)
    bias = body.real(8, body.add("Mul", "1", "4"), 9, axis=0) if call.given(8) else ""
    x, weight = body.real(0, "1", 2, axis=1), body.real(3, "4", 5, axis=0)
    y = body.add("Conv", x, weight, bias, **call.node.attributes)
    return body.results(body.add("QuantizeLinear", y, "6", "7"))


@reads("QLinearMatMul")
def read_quantized_matmul(call: ImportedNode) -> Results:
    """Inputs are a and b, each with scale and zero point, which rows or columns may have, then those of y."""
    body = _Nodes(call)
    y = body.add("MatMul", body.real(0, "1", 2, axis=-2), body.real(3, "4", 5, axis=-1))
    return body.results(body.add("QuantizeLinear", y, "6", "7"))


@reads("ConvInteger")
def read_integer_conv(call: ImportedNode) -> Results:
    body = _Nodes(call)
    x, weight = body.real(0, "one", 2, axis=1), body.real(1, "one", 3, axis=0)
    return body.results(body.add("Cast", body.add("Conv", x, weight, **call.node.attributes), to=_INT32))


@reads("MatMulInteger")
def read_integer_matmul(call: ImportedNode) -> Results:
    body = _Nodes(call)
    y = body.add("MatMul", body.real(0, "one", 2, axis=-2), body.real(1, "one", 3, axis=-1))
    return body.results(body.add("Cast", y, to=_INT32))
