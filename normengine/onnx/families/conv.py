"""Convolution and transposed convolution: ``Conv`` is ``conv2d``, or that of one or three dimensions, but for
``auto_pad`` and padding in a node of its own; ``ConvTranspose`` may say how large its result is instead of how much of
it is cut off."""

from __future__ import annotations

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes
from .windows import (
    LAYOUTS,
    Extents,
    added,
    auto_pad,
    explicit_padding,
    image,
    per_axis,
    shared_out,
    unpadded,
    window_padding,
)


def _weight(call: ImportedNode, rank: int, layout: str) -> tuple[Value, Extents]:
    """The weight and its kernel, which ``kernel_shape`` must say too where it is given."""
    weight = call.value(1)
    if weight.spec.rank != rank + 2:
        raise OnnxError(
            f"the weight must be {layout} with {rank} extents of a kernel for an input {LAYOUTS[rank]}, "
            f"got shape {weight.shape}"
        )
    kernel = weight.shape[2:]
    if "kernel_shape" in call.node.attributes and per_axis(call, "kernel_shape", rank) != kernel:
        raise OnnxError(
            f"attribute 'kernel_shape' is {call.node.integers('kernel_shape')}, the weight has shape {weight.shape}"
        )
    return weight, kernel


@reads("Conv")
def read_conv(call: ImportedNode) -> Value:
    x, extra = unpadded(call, 0.0)
    size = image(call).shape[2:]
    rank = len(size)
    weight, kernel = _weight(call, rank, "(O, C/groups, ...)")
    stride, dilation = per_axis(call, "strides", rank), per_axis(call, "dilations", rank)
    own = window_padding(call, size, kernel, stride, dilation)
    bias = [call.value(2)] if call.given(2) else []
    return call.add(
        f"conv{rank}d",
        x,
        weight,
        *bias,
        stride=stride,
        padding=added(own, extra),
        dilation=dilation,
        groups=call.node.integer("group", 1),
    )


@reads("ConvTranspose")
def read_conv_transpose(call: ImportedNode) -> Value:
    x = image(call)
    rank = x.spec.rank - 2
    weight, kernel = _weight(call, rank, "(C, O/groups, ...)")
    stride, dilation = per_axis(call, "strides", rank), per_axis(call, "dilations", rank)
    more = call.node.integers("output_padding", (0,) * rank)
    if len(more) != rank or min(more) < 0:
        raise OnnxError(f"attribute 'output_padding' must be {rank} integers that are not negative, got {more}")
    rows = zip(x.shape[2:], kernel, stride, dilation, more, strict=True)
    whole = tuple((n - 1) * s + (k - 1) * d + 1 + m for n, k, s, d, m in rows)
    padding, more = _cut_off(call, x.shape[2:], stride, whole, more)
    bias = [call.value(2)] if call.given(2) else []
    return call.add(
        f"conv_transpose{rank}d",
        x,
        weight,
        *bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=call.node.integer("group", 1),
        output_padding=more,
    )


def _cut_off(
    call: ImportedNode, size: Extents, stride: Extents, whole: Extents, more: Extents
) -> tuple[Extents, Extents]:
    """What is cut off of a result of size ``whole``, and ``output_padding``: more of it where that is too small."""
    mode, rank = auto_pad(call), len(size)
    wanted = call.node.integers("output_shape", ())
    if len(wanted) not in (0, rank, rank + 2) or min(wanted, default=1) < 1:
        raise OnnxError(f"attribute 'output_shape' must be {rank} positive integers, got {wanted}")
    if not wanted and mode == "VALID":
        return (0,) * (2 * rank), more
    if not wanted and mode == "NOTSET":
        return explicit_padding(call, rank), more
    target = wanted[-rank:] or tuple(n * s for n, s in zip(size, stride, strict=True))
    totals = tuple(max(0, have - want) for have, want in zip(whole, target, strict=True))
    lacking = tuple(max(0, want - have) for have, want in zip(whole, target, strict=True))
    return shared_out(totals, mode == "SAME_UPPER"), added(more, lacking)


@writes("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def write_conv_transpose(writing: ExportContext, node: Node) -> None:
    attrs = node.attrs
    more = {"output_padding": attrs["output_padding"]} if any(attrs["output_padding"]) else {}
    writing.make(
        node,
        "ConvTranspose",
        *node.inputs,
        strides=attrs["stride"],
        pads=attrs["padding"],
        dilations=attrs["dilation"],
        group=attrs["groups"],
        **more,
    )
