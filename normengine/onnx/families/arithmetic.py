"""Elementwise operators: most are read by turning the operators' own ONNX mappings around."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...graph import Node, Value
from ...ops import OPS, Op, OperatorError
from ...ops.rules import broadcast
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import READERS, reads, writes
from ..tensors import DTYPES, held, type_name
from .linear import with_bias


def _reader(op: Op) -> Callable[[ImportedNode], Value]:
    mapping = op.onnx
    assert mapping is not None

    def read(call: ImportedNode) -> Value:
        attrs = {
            ours: call.node.number(theirs, mapping.defaults.get(theirs)) for ours, theirs in mapping.attributes.items()
        }
        return call.add(op.name, *call.values(mapping.inputs), **attrs)

    return read


for _op in OPS.values():
    if _op.scalar is not None and _op.onnx is not None and _op.onnx.inputs and _op.onnx.op_type not in READERS:
        reads(_op.onnx.op_type)(_reader(_op))


@reads("HardSwish")
def read_hardswish(call: ImportedNode) -> Value:
    return call.add("hardswish", call.value(0))


@reads("Add")
def read_add(call: ImportedNode) -> Value:
    return with_bias(call) or call.add("add", *call.values(2))


@reads("Mul")
def read_mul(call: ImportedNode) -> Value:
    """A product; x * sigmoid(x) is SiLU."""
    a, b = call.values(2)
    for x, gate in ((a, b), (b, a)):
        maker = call.producer(gate)
        if maker is not None and maker.op == "sigmoid" and maker.inputs[0] is x:
            return call.add("silu", x)
    return call.add("mul", a, b)


def _folded(op: str) -> Callable[[ImportedNode], Value]:
    def read(call: ImportedNode) -> Value:
        first, *rest = call.values()
        for value in rest:
            first = call.add(op, first, value)
        return first

    return read


reads("Sum")(_folded("add"))
reads("Max")(_folded("maximum"))
reads("Min")(_folded("minimum"))


@reads("Reciprocal")
def read_reciprocal(call: ImportedNode) -> Value:
    return call.add("div", call.constant(1.0), call.value(0))


@reads("Pow")
def read_pow(call: ImportedNode) -> Value:
    """A power: of a known exponent by products, roots and quotients where these can make it."""
    x, exponent = call.values(2)
    known = call.known(1)
    if x.dtype != "float32":
        made = call.add("pow", _real(call, x), _real(call, exponent))
        return call.add("cast", made if exponent.dtype == "float32" else call.add("round", made), dtype=x.dtype)
    power = float(known.reshape(())) if known is not None and known.size == 1 and known.ndim <= x.spec.rank else 0.0
    if power in (0.5, -0.5):
        x = call.add("add", x, call.constant(0.0))  # the powers of -0 are those of 0, its root is -0
        return call.add("sqrt" if power > 0 else "rsqrt", x)
    if power == 0 or not abs(power) <= 8 or not power.is_integer():
        return call.add("pow", x, _real(call, exponent))
    result = x
    for _ in range(int(abs(power)) - 1):
        result = call.add("mul", result, x)
    return result if power > 0 else call.add("div", call.constant(1.0), result)


def _real(call: ImportedNode, x: Value) -> Value:
    return x if x.dtype == "float32" else call.add("cast", x, dtype="float32")


@reads("Div")
def read_div(call: ImportedNode) -> Value:
    """A quotient; that of integers is cut off towards 0."""
    a, b = call.values(2)
    if a.dtype == b.dtype in _UNSIGNED:
        wide = [_cast(call, x, "int64") for x in (a, b)]
        return _cast(call, call.add("integer_div", *wide), a.dtype)
    return call.add("integer_div" if a.dtype == b.dtype == "int64" else "div", a, b)


_UNSIGNED = ("uint8", "uint32")


@reads("Mod")
def read_mod(call: ImportedNode) -> Value:
    """What is left of a division, with the sign of the divisor, or of the dividend where ``fmod`` is set."""
    (a, b), of_dividend = call.values(2), bool(call.node.integer("fmod", 0))
    if a.dtype == b.dtype in _UNSIGNED:
        wide = [_cast(call, x, "int64") for x in (a, b)]
        return _cast(call, call.add("integer_remainder", *wide), a.dtype)
    if a.dtype == b.dtype == "int64":
        if not of_dividend:
            return call.add("integer_remainder", a, b)
        return call.add("sub", a, call.add("mul", call.add("integer_div", a, b), b))
    left = call.add("fmod", a, b)
    if of_dividend:
        return left
    zero = call.constant(0.0)
    below, above = call.add("greater", zero, left), call.add("greater", left, zero)
    turned = call.add("where", call.add("greater", zero, b), above, below)
    return call.add("where", turned, call.add("add", left, b), left)


@reads("Mean")
def read_mean(call: ImportedNode) -> Value:
    count = len(call.node.inputs)
    total = _folded("add")(call)
    return total if count == 1 else call.add("div", total, call.constant(float(count)))


@reads("Expand")
def read_expand(call: ImportedNode) -> Value:
    """Broadcasting in both directions: an extent of 1 in the target keeps the input's."""
    x, target = call.value(0), call.integers(1, "the shape")
    try:
        shape = broadcast([x.shape, target])
    except OperatorError:
        raise OnnxError(f"cannot expand shape {x.shape} to {target}") from None
    return x if shape == x.shape else call.add("expand", x, shape=shape)


CAST = {number: held(dtype) for number, dtype in DTYPES.items()}
"""The types in which networks compute, by ONNX's numbers of those that files name."""


@reads("Cast")
def read_cast(call: ImportedNode) -> Value:
    number = call.node.integer("to")
    if number not in CAST:
        raise OnnxError(f"element type {type_name(number)} is not supported")
    return _cast(call, call.value(0), CAST[number])


@reads("CastLike")
def read_cast_like(call: ImportedNode) -> Value | np.ndarray:
    """Of the other input the type alone counts, so that what is known stays known."""
    given, other = call.known(0), call.known(1)
    dtype = call.value(1).dtype if other is None else held(other.dtype.name)
    if given is None:
        return _cast(call, call.value(0), dtype)
    call.room(given.shape, np.dtype(dtype).itemsize)
    return given.astype(dtype)


def _cast(call: ImportedNode, x: Value, dtype: str) -> Value:
    return x if x.dtype == dtype else call.add("cast", x, dtype=dtype)


@writes("cast")
def write_cast(writing: ExportContext, node: Node) -> None:
    number = next(k for k, v in DTYPES.items() if v == node.attrs["dtype"])
    writing.make(node, "Cast", *node.inputs, to=number)


@writes("maximum", "minimum")
def write_extreme(writing: ExportContext, node: Node) -> None:
    """Of integers by comparison before opset 12."""
    a, b = node.inputs
    largest = node.op == "maximum"
    if writing.opset >= 12 or a.dtype == "float32":
        writing.make(node, "Max" if largest else "Min", a, b)
    else:
        writing.make(node, "Where", writing.step(node, "Greater" if largest else "Less", a, b), a, b)


@writes("integer_div")
def write_integer_div(writing: ExportContext, node: Node) -> None:
    writing.make(node, "Div", *node.inputs)


@writes("integer_remainder")
def write_integer_remainder(writing: ExportContext, node: Node) -> None:
    writing.make(node, "Mod", *node.inputs)


@writes("fmod")
def write_fmod(writing: ExportContext, node: Node) -> None:
    writing.make(node, "Mod", *node.inputs, fmod=1)


@writes("rsqrt")
def write_rsqrt(writing: ExportContext, node: Node) -> None:
    writing.make(node, "Reciprocal", writing.step(node, "Sqrt", *node.inputs))


@writes("expand")
def write_expand(writing: ExportContext, node: Node) -> None:
    """-1 (keep the input's extent) is 1 in ONNX, whose ``Expand`` broadcasts both ways."""
    (x,), target = node.inputs, node.attrs["shape"]
    writing.make(node, "Expand", x, writing.integers([1 if n == -1 else n for n in target], "shape"))
