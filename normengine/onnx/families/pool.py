"""Pooling: ONNX's windows are PyTorch's, but rounding up is written as explicit padding, which every runtime reads
alike."""

from __future__ import annotations

import math

import numpy as np

from ...graph import Node, Value
from ...ops import OperatorError
from ...ops.window import covering
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes
from .pad import write_pad
from .unpool import read_places
from .windows import Extents, added, image, per_axis, unpadded, window_padding

MAX_NORM = 64
"""The largest norm whose power is a product."""


@reads("MaxPool")
def read_max_pool(call: ImportedNode) -> list[Value]:
    """The maxima and, for signals and images, where they lie: places in the whole array."""
    x = image(call)
    size = x.shape[2:]
    rank = len(size)
    kernel, stride, dilation = _numbers(call, rank)
    padding = window_padding(call, size, kernel, stride, dilation)
    source, extra = unpadded(call, float("-inf"))
    whole = added(padding, extra)
    ceil_mode = bool(call.node.integer("ceil_mode", 0))
    # Rounded up, the number of windows depends on what behind the image is padding.
    found = []
    if call.wanted(1) and rank < 3:
        found.append(read_places(call, x, kernel, stride, dilation, padding, ceil_mode))
    if _inside(whole, kernel, dilation) and not (ceil_mode and any(extra[rank:])):
        x, padding = source, whole
    largest = call.add(
        f"max_pool{rank}d",
        x,
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return [largest, *found]


def _numbers(call: ImportedNode, rank: int) -> tuple[Extents, Extents, Extents]:
    """Kernel, stride and dilation."""
    return (
        per_axis(call, "kernel_shape", rank, True),
        per_axis(call, "strides", rank),
        per_axis(call, "dilations", rank),
    )


@reads("AveragePool")
def read_average_pool(call: ImportedNode) -> Value:
    x = image(call)
    size = x.shape[2:]
    kernel, stride, dilation = _numbers(call, len(size))
    padding = window_padding(call, size, kernel, stride, dilation)
    counted = bool(call.node.integer("count_include_pad", 0))
    ceil_mode = bool(call.node.integer("ceil_mode", 0))
    source, extra = unpadded(call, 0.0)
    whole = added(padding, extra)
    if any(extra) and (counted or not any(padding)) and not ceil_mode and _inside(whole, kernel, dilation):
        x, counted, padding = source, True, whole
    return _average(call, x, kernel, stride, padding, dilation, ceil_mode, counted)


def _average(
    call: ImportedNode,
    x: Value,
    kernel: Extents,
    stride: Extents,
    padding: Extents,
    dilation: Extents,
    ceil_mode: bool,
    counted: bool,
) -> Value:
    holes = {"dilation": dilation} if any(d != 1 for d in dilation) else {}
    return call.add(
        "dilated_avg_pool" if holes else f"avg_pool{len(kernel)}d",
        x,
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=counted,
        **holes,
    )


def _inside(padding: Extents, kernel: Extents, dilation: Extents) -> bool:
    """Whether no window lies in the padding alone."""
    rank = len(kernel)
    return all(side <= dilation[i % rank] * (kernel[i % rank] - 1) for i, side in enumerate(padding))


@reads("LpPool")
def read_lp_pool(call: ImportedNode) -> Value:
    """The mean of powers, padding counted as the zeros that it is, times the window's size, and its root."""
    x = image(call)
    size = x.shape[2:]
    kernel, stride, dilation = _numbers(call, len(size))
    padding = window_padding(call, size, kernel, stride, dilation)
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    try:
        padding = covering(size, {**attrs, "ceil_mode": bool(call.node.integer("ceil_mode", 0))}, kernel)
    except OperatorError as error:
        raise OnnxError(str(error)) from None
    norm = _norm(call)
    mean = _average(call, _power(call, x, norm), kernel, stride, padding, dilation, False, True)
    return _root(call, call.add("mul", mean, call.constant(float(math.prod(kernel)))), norm)


@reads("GlobalLpPool")
def read_global_lp_pool(call: ImportedNode) -> Value:
    x, norm = image(call), _norm(call)
    axes = tuple(range(2, x.spec.rank))
    return _root(call, call.add("reduce_sum", _power(call, x, norm), axes=axes, keepdims=True), norm)


def _norm(call: ImportedNode) -> int:
    """The attribute ``p``, a number in opset 1."""
    norm = call.node.number("p", 2.0) if call.opset < 2 else float(call.node.integer("p", 2))
    if norm != int(norm) or not 1 <= norm <= MAX_NORM:
        raise OnnxError(f"attribute 'p' must be an integer from 1 to {MAX_NORM}, got {norm:g}")
    return int(norm)


def _power(call: ImportedNode, x: Value, norm: int) -> Value:
    """``|x| ** norm``."""
    if norm % 2:
        x = call.add("abs", x)
    result: Value | None = None
    while True:
        if norm % 2:
            result = x if result is None else call.add("mul", result, x)
        norm //= 2
        if not norm:
            assert result is not None
            return result
        x = call.add("mul", x, x)


def _root(call: ImportedNode, x: Value, norm: int) -> Value:
    """``x ** (1 / norm)``."""
    if norm <= 2:
        return x if norm == 1 else call.add("sqrt", x)
    return call.add("exp", call.add("mul", call.add("log", x), call.constant(1.0 / norm)))


@reads("GlobalAveragePool")
def read_global_average_pool(call: ImportedNode) -> Value:
    x = image(call)
    rank = x.spec.rank - 2
    return call.add(f"adaptive_avg_pool{rank}d", x, output_size=(1,) * rank)


@reads("GlobalMaxPool")
def read_global_max_pool(call: ImportedNode) -> Value:
    x = image(call)
    rank = x.spec.rank - 2
    return call.add(
        f"max_pool{rank}d",
        x,
        kernel_size=x.shape[2:],
        stride=(1,) * rank,
        padding=(0,) * (2 * rank),
        dilation=(1,) * rank,
        ceil_mode=False,
    )


def _covering(node: Node) -> Extents:
    return covering(node.inputs[0].shape[2:], node.attrs, node.attrs["kernel_size"])


@writes("max_pool1d", "max_pool2d", "max_pool3d")
def write_max_pool(writing: ExportContext, node: Node) -> None:
    attrs = node.attrs
    holes = {"dilations": attrs["dilation"]} if writing.opset >= 10 else {}
    if not holes and any(step > 1 for step in attrs["dilation"]):
        raise OnnxError(f"'{writing.label(node)}' has windows with holes, which ONNX has since opset 10")
    writing.make(
        node,
        "MaxPool",
        *node.inputs,
        kernel_shape=attrs["kernel_size"],
        strides=attrs["stride"],
        pads=_covering(node),
        **holes,
    )


@writes("avg_pool1d", "avg_pool2d", "avg_pool3d")
def write_average_pool(writing: ExportContext, node: Node) -> None:
    """Where padding counts and rounding up adds to it, zeros that count are a node of their own."""
    attrs = node.attrs
    x: Value | str = node.inputs[0]
    padding: Extents = attrs["padding"]
    rank = len(attrs["kernel_size"])
    whole = _covering(node)
    counted = attrs["count_include_pad"] and any(padding)
    if counted and whole != padding:
        x = write_pad(writing, node, x, (0, 0, *padding[:rank], 0, 0, *padding[rank:]))
        beyond = tuple(a - b for a, b in zip(whole, padding, strict=True))
        whole, counted = beyond, False
    writing.make(
        node,
        "AveragePool",
        x,
        kernel_shape=attrs["kernel_size"],
        strides=attrs["stride"],
        pads=whole,
        count_include_pad=int(counted),
    )


@writes("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def write_adaptive_average_pool(writing: ExportContext, node: Node) -> None:
    """The mean of everything, equal windows, or, where windows differ, a product with the windows' weights."""
    (x,) = node.inputs
    size, output = x.shape[2:], node.attrs["output_size"]
    if all(n == 1 for n in output):
        writing.make(node, "GlobalAveragePool", x)
    elif all(n % o == 0 for n, o in zip(size, output, strict=True)):
        kernel = tuple(n // o for n, o in zip(size, output, strict=True))
        writing.make(node, "AveragePool", x, kernel_shape=kernel, strides=kernel)
    elif len(size) == 1:
        writing.make(node, "MatMul", x, _columns(writing, size[0], output[0]))
    elif len(size) == 2:
        rows = writing.constant(_window_means(size[0], output[0]), "adaptive_rows")
        writing.make(node, "MatMul", rows, writing.step(node, "MatMul", x, _columns(writing, size[1], output[1])))
    else:
        means = writing.step(node, "MatMul", x, _columns(writing, size[2], output[2]))
        rows = writing.constant(_window_means(size[1], output[1]), "adaptive_rows")
        planes = writing.step(node, "MatMul", rows, means)
        flat = writing.step(node, "Reshape", planes, writing.integers((0, 0, size[0], -1), "shape"))
        depths = writing.constant(_window_means(size[0], output[0]), "adaptive_depths")
        made = writing.step(node, "MatMul", depths, flat)
        writing.make(node, "Reshape", made, writing.integers((0, 0, *output), "shape"))


def _columns(writing: ExportContext, size: int, output: int) -> str:
    return writing.constant(_window_means(size, output).T.copy(), "adaptive_columns")


def _window_means(size: int, output: int) -> np.ndarray:
    """(output, size) float32: row i averages floor(i * size / output) to ceil((i + 1) * size / output)."""
    weights = np.zeros((output, size), np.float32)
    for i in range(output):
        start, stop = i * size // output, -(-(i + 1) * size // output)
        weights[i, start:stop] = 1.0 / (stop - start)
    return weights
