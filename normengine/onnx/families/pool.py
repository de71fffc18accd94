"""Pooling: ONNX's windows are PyTorch's, but rounding up is written as explicit padding, which every runtime reads
alike."""

from __future__ import annotations

import numpy as np

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes
from .conv import Padding4, Window, image, pair, unpadded, window_padding
from .shape import write_pad


@reads("MaxPool")
def read_max_pool(call: ImportedNode) -> Value:
    x = image(call)
    kernel, stride, dilation = pair(call, "kernel_shape", None), pair(call, "strides"), pair(call, "dilations")
    padding = window_padding(call, (x.shape[2], x.shape[3]), kernel, stride, dilation)
    source, extra = unpadded(call, float("-inf"))
    whole = _sum(padding, extra)
    ceil_mode = bool(call.node.integer("ceil_mode", 0))
    # Rounded up, the number of windows depends on what behind the image is padding.
    if _inside(whole, kernel, dilation) and not (ceil_mode and any(extra[2:])):
        x, padding = source, whole
    return call.add(
        "max_pool2d",
        x,
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


@reads("AveragePool")
def read_average_pool(call: ImportedNode) -> Value:
    x = image(call)
    kernel, stride = pair(call, "kernel_shape", None), pair(call, "strides")
    if pair(call, "dilations") != (1, 1):
        raise OnnxError("dilated average pooling is not supported")
    padding = window_padding(call, (x.shape[2], x.shape[3]), kernel, stride, (1, 1))
    counted = bool(call.node.integer("count_include_pad", 0))
    ceil_mode = bool(call.node.integer("ceil_mode", 0))
    source, extra = unpadded(call, 0.0)
    whole = _sum(padding, extra)
    if any(extra) and (counted or not any(padding)) and not ceil_mode and _inside(whole, kernel, (1, 1)):
        x, counted, padding = source, True, whole
    return call.add(
        "avg_pool2d",
        x,
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=counted,
    )


def _sum(a: Padding4, b: Padding4) -> Padding4:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


def _inside(padding: Padding4, kernel: Window, dilation: Window) -> bool:
    """Whether no window lies in the padding alone."""
    return all(side <= dilation[i % 2] * (kernel[i % 2] - 1) for i, side in enumerate(padding))


@reads("GlobalAveragePool")
def read_global_average_pool(call: ImportedNode) -> Value:
    return call.add("adaptive_avg_pool2d", image(call), output_size=(1, 1))


@reads("GlobalMaxPool")
def read_global_max_pool(call: ImportedNode) -> Value:
    x = image(call)
    return call.add(
        "max_pool2d",
        x,
        kernel_size=x.shape[2:],
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        dilation=(1, 1),
        ceil_mode=False,
    )


def _covering(node: Node) -> Padding4:
    """The padding with which windows of an output rounded up end inside: ``ceil_mode`` made explicit."""
    (x,), (y,), attrs = node.inputs, node.outputs, node.attrs
    top, left, bottom, right = attrs["padding"]
    if not attrs["ceil_mode"]:
        return top, left, bottom, right
    reach = [
        (o - 1) * s + (k - 1) * d + 1
        for o, s, k, d in zip(
            y.shape[2:], attrs["stride"], attrs["kernel_size"], attrs.get("dilation", (1, 1)), strict=True
        )
    ]
    return top, left, max(bottom, reach[0] - x.shape[2] - top), max(right, reach[1] - x.shape[3] - left)


@writes("max_pool2d")
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


@writes("avg_pool2d")
def write_average_pool(writing: ExportContext, node: Node) -> None:
    """Where padding counts and rounding up adds to it, zeros that count are a node of their own."""
    attrs = node.attrs
    x: Value | str = node.inputs[0]
    padding: Padding4 = attrs["padding"]
    whole = _covering(node)
    counted = attrs["count_include_pad"] and any(padding)
    if counted and whole != padding:
        x = write_pad(writing, node, x, (0, 0, *padding[:2], 0, 0, *padding[2:]))
        whole, counted = (0, 0, whole[2] - padding[2], whole[3] - padding[3]), False
    writing.make(
        node,
        "AveragePool",
        x,
        kernel_shape=attrs["kernel_size"],
        strides=attrs["stride"],
        pads=whole,
        count_include_pad=int(counted),
    )


@writes("adaptive_avg_pool2d")
def write_adaptive_average_pool(writing: ExportContext, node: Node) -> None:
    """The mean of everything, equal windows, or, where windows differ, a product with the windows' weights."""
    (x,) = node.inputs
    size: Window = (x.shape[2], x.shape[3])
    output: Window = node.attrs["output_size"]
    if output == (1, 1):
        writing.make(node, "GlobalAveragePool", x)
    elif size[0] % output[0] == 0 and size[1] % output[1] == 0:
        kernel = (size[0] // output[0], size[1] // output[1])
        writing.make(node, "AveragePool", x, kernel_shape=kernel, strides=kernel)
    else:
        columns = writing.constant(_window_means(size[1], output[1]).T.copy(), "adaptive_columns")
        rows = writing.constant(_window_means(size[0], output[0]), "adaptive_rows")
        writing.make(node, "MatMul", rows, writing.step(node, "MatMul", x, columns))


def _window_means(size: int, output: int) -> np.ndarray:
    """(output, size) float32: row i averages floor(i * size / output) to ceil((i + 1) * size / output)."""
    weights = np.zeros((output, size), np.float32)
    for i in range(output):
        start, stop = i * size // output, -(-(i + 1) * size // output)
        weights[i, start:stop] = 1.0 / (stop - start)
    return weights
