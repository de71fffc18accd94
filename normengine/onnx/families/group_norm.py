"""Normalization of each sample by itself. ONNX has instance normalization from its beginning, layer normalization since
opset 17, group normalization since 18: there with weight and bias of each group, since 21 of each channel. Before that
group normalization is instance normalization of what is reshaped, as PyTorch writes it too, and is read as what it
stands for."""

from __future__ import annotations

import numpy as np

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes
from .norm import write_centered, write_moments
from .reduce import write_reduction


@reads("InstanceNormalization")
def read_instance_norm(call: ImportedNode) -> Value:
    x, eps = call.value(0), call.node.number("epsilon", 1e-5)
    if x.spec.rank < 3:
        raise OnnxError(f"its input must be (N, C, ...), got shape {x.shape}")
    groups, reshaped = x.shape[1], call.producer(x)
    if reshaped is not None and reshaped.op == "reshape" and _are_groups(reshaped.inputs[0], x):
        whole = reshaped.inputs[0]
        affine = [_of_channels(call, i, groups, whole.shape[1]) for i in (1, 2)]
        y = call.add("group_norm", whole, *affine, groups=groups, eps=eps)
        return call.add("reshape", y, shape=x.shape)
    return call.add("group_norm", x, call.value(1), call.value(2), groups=groups, eps=eps)


def _are_groups(whole: Value, x: Value) -> bool:
    """Whether ``x`` (N, G, L) has the groups of channels of ``whole`` for its channels."""
    same = whole.spec.rank >= 3 and x.spec.rank == 3 and whole.shape[0] == x.shape[0]
    return same and whole.shape[1] % x.shape[1] == 0


def _of_channels(call: ImportedNode, index: int, groups: int, channels: int) -> Value:
    """An input with a number for each group, as one for each channel."""
    known = call.known(index)
    if known is not None and known.shape == (groups,):
        return call.constant(np.repeat(known, channels // groups), call.name(index))
    column = call.add("reshape", call.value(index), shape=(groups, 1))
    return call.add("reshape", call.add("expand", column, shape=(groups, channels // groups)), shape=(channels,))


@reads("GroupNormalization")
def read_group_norm(call: ImportedNode) -> Value:
    x, groups, eps = call.value(0), call.node.integer("num_groups"), call.node.number("epsilon", 1e-5)
    if x.spec.rank < 3 or groups < 1 or x.shape[1] % groups:
        raise OnnxError(f"cannot divide the channels of its input of shape {x.shape} into {groups} groups")
    if call.opset < 21:
        affine = [_of_channels(call, i, groups, x.shape[1]) for i in (1, 2)]
    else:
        affine = [call.value(1), call.value(2)]
    return call.add("group_norm", x, *affine, groups=groups, eps=eps)


@reads("LayerNormalization")
def read_layer_norm(call: ImportedNode) -> list[Value]:
    """Weight and bias may broadcast; mean and 1 / standard deviation are computed where they are among its outputs."""
    x = call.value(0)
    axis, eps = call.axis(call.node.integer("axis", -1), x.spec.rank), call.node.number("epsilon", 1e-5)
    y = _layer_norm(call, x, axis, eps)
    if not any(call.node.outputs[1:]):
        return [y]
    axes = tuple(range(axis, x.spec.rank))
    mean = call.add("reduce_mean", x, axes=axes, keepdims=True)
    centered = call.add("sub", x, mean)
    var = call.add("reduce_mean", call.add("mul", centered, centered), axes=axes, keepdims=True)
    return [y, mean, call.add("rsqrt", call.add("add", var, call.constant(eps)))]


def _layer_norm(call: ImportedNode, x: Value, axis: int, eps: float) -> Value:
    affine = [call.value(i) for i in (1, 2) if call.given(i)]
    if len(affine) == 2 and all(v.shape == x.shape[axis:] for v in affine):
        return call.add("layer_norm", x, *affine, axis=axis, eps=eps)
    y = call.add("layer_norm", x, axis=axis, eps=eps)
    for op, value in zip(("mul", "add"), affine, strict=False):
        y = call.add(op, y, value)
    if y.shape != x.shape:
        raise OnnxError(f"its weight and bias must broadcast to its input's shape {x.shape}, they make {y.shape}")
    return y


@writes("group_norm")
def write_group_norm(writing: ExportContext, node: Node) -> None:
    x, *affine = node.inputs
    groups, eps, channels = node.attrs["groups"], float(node.attrs["eps"]), x.shape[1]
    if writing.opset >= 21 and x.spec.rank > 2:
        ones, zeros = _identity(writing, channels)
        writing.make(node, "GroupNormalization", x, *(affine or (ones, zeros)), num_groups=groups, epsilon=eps)
        return
    if groups == channels and x.spec.rank > 2:
        ones, zeros = _identity(writing, channels)
        writing.make(node, "InstanceNormalization", x, *(affine or (ones, zeros)), epsilon=eps)
        return
    rows = writing.step(node, "Reshape", x, writing.integers((0, groups, -1), "groups"))
    normalized = writing.step(node, "InstanceNormalization", rows, *_identity(writing, groups), epsilon=eps)
    target = writing.step(node, "Shape", x)
    if not affine:
        writing.make(node, "Reshape", normalized, target)
        return
    column = writing.integers((channels, *[1] * (x.spec.rank - 2)), "column")
    weight, bias = (writing.step(node, "Reshape", v, column) for v in affine)
    scaled = writing.step(node, "Mul", writing.step(node, "Reshape", normalized, target), weight)
    writing.make(node, "Add", scaled, bias)


def _identity(writing: ExportContext, count: int) -> tuple[str, str]:
    """A weight of ones and a bias of zeros."""
    return (
        writing.constant(np.ones(count, np.float32), "ones"),
        writing.constant(np.zeros(count, np.float32), "zeros"),
    )


@writes("layer_norm")
def write_layer_norm(writing: ExportContext, node: Node) -> None:
    x, *affine = node.inputs
    axis, eps = node.attrs["axis"], float(node.attrs["eps"])
    if writing.opset >= 17:
        ones = writing.constant(np.ones(x.shape[axis:], np.float32), "ones")
        writing.make(node, "LayerNormalization", x, *(affine or (ones,)), axis=axis, epsilon=eps)
        return
    axes = tuple(range(axis, x.spec.rank))
    centered = write_centered(writing, node, x, axes)
    square = writing.step(node, "Mul", centered, centered)
    var = write_reduction(writing, node, "ReduceMean", square, axes, keepdims=True)
    deviation = writing.step(node, "Sqrt", writing.step(node, "Add", var, writing.constant(eps, "eps")))
    if not affine:
        writing.make(node, "Div", centered, deviation)
        return
    scaled = writing.step(node, "Mul", writing.step(node, "Div", centered, deviation), affine[0])
    writing.make(node, "Add", scaled, affine[1])


@writes("moments")
def write_image_moments(writing: ExportContext, node: Node) -> None:
    write_moments(writing, node, (2, 3), keepdims=True)


@writes("group_mean")
def write_group_mean(writing: ExportContext, node: Node) -> None:
    """The mean of each group of channels, spread over them again."""
    (x,), groups = node.inputs, node.attrs["groups"]
    if node.attrs["images"] > 1:
        raise OnnxError(f"'{writing.label(node)}' takes images of the batch together, which has no form in ONNX")
    channels = x.shape[1]
    parts = writing.step(node, "Reshape", x, writing.integers((-1, groups, channels // groups, 1), "groups"))
    means = write_reduction(writing, node, "ReduceMean", parts, (2,), keepdims=True)
    whole = writing.step(node, "Expand", means, writing.integers((1, 1, channels // groups, 1), "group"))
    writing.make(node, "Reshape", whole, writing.integers((-1, channels, 1, 1), "channels"))
