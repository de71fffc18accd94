"""Constant evaluation: NumPy for nodes whose inputs are all known, as in the arithmetic of shapes and in constants made
from constants."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from ...ops.rules import broadcast
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import evaluates
from ..tensors import DTYPES, type_name
from .pad import padding_mode, paddings
from .shape import slices, split_ranges, unsqueezed

Arrays = Sequence[np.ndarray]

_NUMPY = {n: "float32" if dtype in ("float16", "bfloat16") else dtype for n, dtype in DTYPES.items()}
"""The types of known arrays by ONNX's numbers: each their own, but for 16-bit floats."""


@evaluates("Constant")
def constant(call: ImportedNode) -> Arrays:
    attributes = call.node.attributes
    if "value" in attributes:
        return [call.node.tensor("value")]
    for name, dtype in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"), ("value_ints", "i8")):
        if name in attributes:
            return [np.array(attributes[name], dtype)]
    raise OnnxError(f"holds no number, only {', '.join(attributes) or 'nothing'}")


@evaluates("ConstantOfShape")
def constant_of_shape(call: ImportedNode) -> Arrays:
    shape = call.bounded(call.integers(0, "the shape"))
    fill = call.node.tensor("value") if "value" in call.node.attributes else np.zeros(1, np.float32)
    return [np.broadcast_to(fill.reshape(()), shape)]


@evaluates("Shape")
def shape(call: ImportedNode) -> Arrays:
    given = call.array(0, "the input").shape
    return [np.array(given[slice(call.node.integer("start", 0), call.node.integer("end", len(given)))], np.int64)]


@evaluates("Identity")
def identity(call: ImportedNode) -> Arrays:
    return [call.array(0, "the input")]


@evaluates("Cast")
def cast(call: ImportedNode) -> Arrays:
    number = call.node.integer("to")
    if number not in _NUMPY:
        raise OnnxError(f"element type {type_name(number)} is not supported")
    x = call.array(0, "the input")
    if x.dtype != _NUMPY[number]:
        call.room(x.shape, max(x.itemsize, np.dtype(_NUMPY[number]).itemsize))
    return [x.astype(_NUMPY[number], copy=False)]


@evaluates("CastLike")
def cast_like(call: ImportedNode) -> Arrays:
    x, dtype = call.array(0, "the input"), call.array(1, "the other input").dtype
    if x.dtype != dtype:
        call.room(x.shape, max(x.itemsize, dtype.itemsize))
    return [x.astype(dtype, copy=False)]


@evaluates("Gather")
def gather(call: ImportedNode) -> Arrays:
    x, indices = call.array(0, "the input"), call.array(1, "the indices")
    axis = call.axis(call.node.integer("axis", 0), x.ndim)
    call.room((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.itemsize)
    return [np.take(x, indices, axis=axis)]


@evaluates("Unsqueeze")
def unsqueeze(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    return [x.reshape(unsqueezed(call, x.shape))]


@evaluates("Squeeze")
def squeeze(call: ImportedNode) -> Arrays:
    return [np.squeeze(call.array(0, "the input"), call.integers_anywhere("axes", 1) or None)]


@evaluates("Reshape")
def reshape(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    target = call.integers(1, "the shape") if call.given(1) else call.node.integers("shape")
    if not call.node.integer("allowzero", 0):
        target = tuple(x.shape[a] if n == 0 else n for a, n in enumerate(target))
    return [_reshaped(call, x, target)]


def _reshaped(call: ImportedNode, x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if not x.flags.c_contiguous:
        call.room(x.shape, x.itemsize)
    return x.reshape(shape)


@evaluates("Flatten")
def flatten(call: ImportedNode) -> Arrays:
    x, axis = call.array(0, "the input"), call.node.integer("axis", 1)
    axis = axis if axis == x.ndim else call.axis(axis, x.ndim)
    return [_reshaped(call, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))]


@evaluates("Transpose")
def transpose(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    return [x.transpose(call.node.integers("perm", tuple(reversed(range(x.ndim)))))]


@evaluates("Concat")
def concat(call: ImportedNode) -> Arrays:
    parts = [call.array(i, "the input") for i in range(len(call.node.inputs))]
    call.room((sum(p.size for p in parts),), parts[0].itemsize)
    return [np.concatenate(parts, axis=call.node.integer("axis"))]


@evaluates("Slice")
def cut(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    index = [slice(None)] * x.ndim
    for axis, limits in slices(call, x.shape):
        index[axis] = limits
    return [x[tuple(index)]]


@evaluates("Split")
def split(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    axis, ranges = split_ranges(call, x.shape)
    every = (slice(None),) * axis
    return [x[(*every, slice(start, stop))] for start, stop in ranges]


@evaluates("Pad")
def pad(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    fill = call.array(2, "the fill value") if call.given(2) else np.array(call.node.number("value", 0.0), x.dtype)
    pads = paddings(call, x.ndim)
    call.room([n + b + a for n, (b, a) in zip(x.shape, pads, strict=True)], x.itemsize)
    kept = x[tuple(slice(max(0, -b), n + min(0, a)) for n, (b, a) in zip(x.shape, pads, strict=True))]
    around = [(max(0, b), max(0, a)) for b, a in pads]
    mode = padding_mode(call)
    if mode != "constant":
        return [np.pad(kept, around, mode=mode)]  # type: ignore[call-overload]
    return [np.pad(kept, around, constant_values=fill.reshape(()))]


@evaluates("Tile")
def tile(call: ImportedNode) -> Arrays:
    x, repeats = call.array(0, "the input"), call.integers(1, "the repeats")
    if len(repeats) != x.ndim or any(n < 0 for n in repeats):
        raise OnnxError(f"repeats {repeats} must be one number for each axis of shape {x.shape}, 0 or more")
    call.room([n * times for n, times in zip(x.shape, repeats, strict=True)], x.itemsize)
    return [np.tile(x, repeats)]


_SCATTERED: dict[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@evaluates("ScatterND")
def scatter_nd(call: ImportedNode) -> Arrays:
    x, indices, updates = (call.array(i, "the input") for i in range(3))
    depth, reduction = indices.shape[-1] if indices.ndim else 0, call.node.text("reduction", "none")
    if not 1 <= depth <= x.ndim or updates.shape != (*indices.shape[:-1], *x.shape[depth:]):
        raise OnnxError(f"indices of shape {indices.shape} and updates of {updates.shape} do not fit shape {x.shape}")
    call.room(x.shape, x.itemsize)
    call.room(updates.shape, updates.itemsize)
    result, places = x.copy(), tuple(np.moveaxis(indices, -1, 0))
    if reduction == "none":
        result[places] = updates
    elif reduction in _SCATTERED:
        _SCATTERED[reduction].at(result, places, updates)
    else:
        raise OnnxError(f"attribute 'reduction' must be none, {', '.join(_SCATTERED)}, got {reduction!r}")
    return [result]


@evaluates("Expand")
def expand(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    return [np.broadcast_to(x, call.bounded(broadcast([x.shape, call.integers(1, "the shape")])))]


@evaluates("Range")
def span(call: ImportedNode) -> Arrays:
    start, limit, delta = (call.array(i, "the limits").reshape(()) for i in range(3))
    (count,) = call.room((max(0, math.ceil((limit.item() - start.item()) / delta.item())),))
    return [(start + np.arange(count) * delta).astype(start.dtype)]


@evaluates("Where")
def where(call: ImportedNode) -> Arrays:
    condition, x, y = (call.array(i, "the input") for i in range(3))
    call.room(broadcast([condition.shape, x.shape, y.shape]), x.itemsize)
    return [np.where(condition, x, y)]


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """ONNX divides integers like C, towards zero."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    _check_divisor(b)
    quotient = a // b
    return np.asarray(quotient + ((quotient < 0) & (quotient * b != a)))


def _check_divisor(b: np.ndarray) -> None:
    if b.dtype.kind != "f" and np.any(b == 0):
        raise OnnxError("divides an integer by zero")


def _elementwise(function: Callable[..., np.ndarray], same: bool = True) -> Callable[[ImportedNode], Arrays]:
    def evaluate(call: ImportedNode) -> Arrays:
        arrays = [call.array(i, "the input") for i in range(len(call.node.inputs))]
        call.room(broadcast([a.shape for a in arrays]), arrays[0].itemsize)
        result = np.asarray(function(*arrays))
        return [result.astype(arrays[0].dtype, copy=False) if same else result]

    return evaluate


@evaluates("Mod")
def modulo(call: ImportedNode) -> Arrays:
    """What is left of a division: with the divisor's sign, or with the dividend's as C's ``fmod``."""
    c_like = bool(call.node.integer("fmod", 0))
    if call.array(0, "the input").dtype.kind == "f" and not c_like:
        raise OnnxError("attribute 'fmod' must be 1 for numbers that are no integers")
    _check_divisor(call.array(1, "the divisor"))
    return _elementwise(np.fmod if c_like else np.mod)(call)


@evaluates("Clip")
def clip(call: ImportedNode) -> Arrays:
    x = call.array(0, "the input")
    call.room(x.shape, x.itemsize)
    for i, (attribute, function) in enumerate((("min", np.maximum), ("max", np.minimum)), 1):
        if call.given(i):
            call.scalar(i, attribute)
            x = function(x, call.array(i, attribute).reshape(()))
        elif attribute in call.node.attributes:
            x = function(x, np.array(call.node.number(attribute), x.dtype))
    return [x]


_SAME_TYPE: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": np.power,
    "Min": lambda *a: functools.reduce(np.minimum, a),
    "Max": lambda *a: functools.reduce(np.maximum, a),
    "Sum": lambda *a: functools.reduce(np.add, a),
    "Neg": np.negative,
    "Abs": np.abs,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Reciprocal": np.reciprocal,
    "Sign": np.sign,
    "Round": np.round,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Atan": np.arctan,
}
_TRUTH: dict[str, Callable[..., np.ndarray]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Not": np.logical_not,
    "IsNaN": np.isnan,
}
for _name, _function in _SAME_TYPE.items():
    evaluates(_name)(_elementwise(_function))
for _name, _function in _TRUTH.items():
    evaluates(_name)(_elementwise(_function, same=False))


def _reduction(function: Callable[..., np.ndarray]) -> Callable[[ImportedNode], Arrays]:
    def evaluate(call: ImportedNode) -> Arrays:
        x, axes = call.array(0, "the input"), call.integers_anywhere("axes", 1)
        if not axes and call.node.integer("noop_with_empty_axes", 0):
            return [x]
        kept = bool(call.node.integer("keepdims", 1))
        call.room(x.shape, x.itemsize)  # a view of few bytes may have any number of elements to go through
        return [np.asarray(function(x, axis=axes or None, keepdims=kept)).astype(x.dtype, copy=False)]

    return evaluate


def _mean(x: np.ndarray, axis: tuple[int, ...] | None, keepdims: bool) -> np.ndarray:
    total = np.asarray(np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64 if x.dtype.kind == "f" else np.int64))
    count = math.prod(x.shape if axis is None else (x.shape[a] for a in axis))
    if count == 0:
        raise OnnxError(f"a mean needs an element, got shape {x.shape}")
    return _divide(total, np.array(count, total.dtype))


_REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceMean": _mean,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
}
for _name, _function in _REDUCTIONS.items():
    evaluates(_name)(_reduction(_function))
