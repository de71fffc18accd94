"""Batch normalization, local response normalization and dropout.

In a network that is run, batch normalization uses the stored statistics as they are, in ONNX as in PyTorch. What
differs concerns training alone: ONNX weighs the *old* statistic with ``momentum``, PyTorch the new one, so the one is
one minus the other; and ONNX remembers the population variance where PyTorch remembers the unbiased one, which is the
same number ``running_var`` at inference and must not be converted for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph import Node, Value
from ...ops.local_response_norm import neighbours
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes
from .reduce import write_reduction


@reads("BatchNormalization")
def read_batch_norm(call: ImportedNode) -> Value:
    statistics = any(call.node.outputs[1:])  # before opset 14 this is what says that it trains
    if call.node.integer("training_mode", 0) or (statistics and call.opset < 14):
        raise OnnxError("is in training mode; export the network in eval mode")
    if statistics:
        raise OnnxError("has statistics among its outputs, which only training mode makes")
    if not call.node.integer("spatial", 1) and call.shape(1) != call.value(0).shape[1:2]:
        return _normalized_by_pixel(call)
    return call.add("batch_norm", *(call.value(i) for i in range(5)), eps=call.node.number("epsilon", 1e-5))


def _normalized_by_pixel(call: ImportedNode) -> Value:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, all of them for each place of a sample."""
    x, scale, bias, mean, var = (call.value(i) for i in range(5))
    deviation = call.add("sqrt", call.add("add", var, call.constant(call.node.number("epsilon", 1e-5))))
    factor = call.add("div", scale, deviation)
    return call.add("add", call.add("mul", call.add("sub", x, mean), factor), bias)


@writes("batch_norm")
def write_batch_norm(writing: ExportContext, node: Node) -> None:
    momentum = writing.settings.get(node.layer)
    attributes: dict[str, Any] = {"epsilon": float(node.attrs["eps"])}
    if momentum is not None:  # None is PyTorch's cumulative average, which ONNX does not have
        attributes["momentum"] = 1.0 - momentum
    writing.make(node, "BatchNormalization", *node.inputs, **attributes)


@writes("batch_stats")
def write_batch_stats(writing: ExportContext, node: Node) -> None:
    """Mean and biased variance over all axes but the channels, the variance from centered values."""
    (x,) = node.inputs
    write_moments(writing, node, tuple(axis for axis in range(x.spec.rank) if axis != 1), keepdims=False)


def write_moments(writing: ExportContext, node: Node, axes: tuple[int, ...], keepdims: bool) -> None:
    """Mean and biased variance over ``axes``, the variance from centered values."""
    (x,), (mean, var) = node.inputs, node.outputs
    centered = write_centered(writing, node, x, axes)
    square = writing.step(node, "Mul", centered, centered)
    write_reduction(writing, node, "ReduceMean", x, axes, keepdims, result=mean)
    write_reduction(writing, node, "ReduceMean", square, axes, keepdims, result=var)


def write_centered(writing: ExportContext, node: Node, x: Value, axes: tuple[int, ...]) -> str:
    """``x`` less its mean over ``axes``."""
    return writing.step(node, "Sub", x, write_reduction(writing, node, "ReduceMean", x, axes, keepdims=True))


@reads("RMSNormalization")
def read_rms_norm(call: ImportedNode) -> Value:
    """``x / sqrt(mean(x^2) + epsilon) * scale``, the mean over ``axis`` and those behind it."""
    x, scale = call.value(0), call.value(1)
    axes = tuple(range(call.axis(call.node.integer("axis", -1), x.spec.rank), x.spec.rank))
    mean = call.add("reduce_mean", call.add("mul", x, x), axes=axes, keepdims=True)
    factor = call.add("rsqrt", call.add("add", mean, call.constant(call.node.number("epsilon", 1e-5))))
    y = call.add("mul", call.add("mul", x, factor), scale)
    if y.shape != x.shape:
        raise OnnxError(f"its scale must broadcast to its input's shape {x.shape}, they make {y.shape}")
    return y


@reads("MeanVarianceNormalization")
def read_mean_variance_norm(call: ImportedNode) -> Value:
    """``(x - mean) / (standard deviation + 1e-9)`` over ``axes``, as the operator's definition has it."""
    x = call.value(0)
    axes = call.axes(call.node.integers("axes", (0, 2, 3)), x.spec.rank)
    centered = call.add("sub", x, call.add("reduce_mean", x, axes=axes, keepdims=True))
    variance = call.add("reduce_mean", call.add("mul", centered, centered), axes=axes, keepdims=True)
    return call.add("div", centered, call.add("add", call.add("sqrt", variance), call.constant(1e-9)))


@reads("LRN")
def read_local_response_norm(call: ImportedNode) -> Value:
    size = call.node.integer("size")
    if size < 1:
        raise OnnxError(f"attribute 'size' must be a positive integer, got {size}")
    return call.add(
        "local_response_norm",
        call.value(0),
        size=size,
        before=(size - 1) // 2,
        alpha=call.node.number("alpha", 1e-4),
        beta=call.node.number("beta", 0.75),
        k=call.node.number("bias", 1.0),
    )


@writes("local_response_norm")
def write_local_response_norm(writing: ExportContext, node: Node) -> None:
    """ONNX's window, or another one as a mean over channels that lie where an image has its height."""
    (x,), attrs = node.inputs, node.attrs
    alpha, beta, k = (float(attrs[name]) for name in ("alpha", "beta", "k"))
    before, behind = neighbours(x.shape[1], attrs)
    if attrs["before"] == (attrs["size"] - 1) // 2:
        writing.make(node, "LRN", x, size=attrs["size"], alpha=alpha, beta=beta, bias=k)
        return
    window = before + behind + 1
    image = writing.integers((0, 1, x.shape[1], -1), "shape")
    squares = writing.step(node, "Reshape", writing.step(node, "Mul", x, x), image)
    pads = (before, 0, behind, 0)
    mean = writing.step(
        node, "AveragePool", squares, kernel_shape=(window, 1), pads=pads, strides=(1, 1), count_include_pad=1
    )
    mean = writing.step(node, "Reshape", mean, writing.integers((0, *x.shape[1:]), "shape"))
    share = writing.step(node, "Mul", mean, writing.constant(alpha * window / attrs["size"], "alpha"))
    divisor = writing.step(node, "Add", share, writing.constant(k, "k"))
    power = writing.step(node, "Mul", writing.step(node, "Log", divisor), writing.constant(-beta, "beta"))
    writing.make(node, "Mul", x, writing.step(node, "Exp", power))


@reads("Dropout")
def read_dropout(call: ImportedNode) -> list[Value | np.ndarray]:
    """Its input, and the mask that keeps all of it, of which older opsets do not say what it holds."""
    if call.given(2) and call.scalar(2, "training_mode"):
        raise OnnxError("is in training mode; export the network in eval mode")
    x = call.value(0)
    return [x] if call.opset < 12 else [x, np.broadcast_to(np.True_, x.shape)]
