"""Losses: cross entropy is ``SoftmaxCrossEntropyLoss``; label smoothing and binary cross entropy are composed."""

from __future__ import annotations

import math

from ...graph import Node, Value
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes
from .reduce import write_reduction

_IGNORE_NOTHING = -(2**31)


@reads("SoftmaxCrossEntropyLoss")
def read_cross_entropy(call: ImportedNode) -> Value:
    return call.add(
        "cross_entropy",
        *call.values(2, 3),
        label_smoothing=0.0,
        ignore_index=call.node.integer("ignore_index", _IGNORE_NOTHING),
        reduction=call.node.text("reduction", "mean"),
    )


@writes("bce_with_logits")
def write_bce(writing: ExportContext, node: Node) -> None:
    x, y = node.inputs
    writing.make(node, "Sub", writing.step(node, "Softplus", x), writing.step(node, "Mul", x, y))


@writes("cross_entropy")
def write_cross_entropy(writing: ExportContext, node: Node) -> None:
    attrs, (logits, target, *weight) = node.attrs, node.inputs
    if writing.opset < 12:
        raise OnnxError(f"'{writing.label(node)}': cross entropy needs opset 12 or later, not {writing.opset}")
    own = {"ignore_index": attrs["ignore_index"], "reduction": attrs["reduction"]}
    smoothing = attrs["label_smoothing"]
    if smoothing == 0:
        writing.make(node, "SoftmaxCrossEntropyLoss", *node.inputs, **own)
        return
    classes = logits.shape[1]
    if classes == 1:
        raise OnnxError(f"'{writing.label(node)}': label smoothing over one class has no form in ONNX")
    labelled = writing.step(node, "SoftmaxCrossEntropyLoss", logits, target, *weight, **own)
    kept = _counted(writing, node, logits, target)
    if writing.opset >= 13 or logits.spec.rank == 2:
        logp = writing.step(node, "LogSoftmax", logits, axis=1)
    else:
        raise OnnxError(f"'{writing.label(node)}': label smoothing of images needs opset 13 or later")
    if weight:
        column = writing.integers((1, classes, *[1] * (logits.spec.rank - 2)), "shape")
        logp = writing.step(node, "Mul", logp, writing.step(node, "Reshape", weight[0], column))
    spread = write_reduction(writing, node, "ReduceSum", logp, (1,), keepdims=False)
    uniform = writing.step(node, "Mul", writing.step(node, "Neg", spread), kept)
    axes = tuple(range(target.spec.rank))
    if attrs["reduction"] != "none":
        uniform = write_reduction(writing, node, "ReduceSum", uniform, axes, keepdims=False)
    if attrs["reduction"] == "mean":
        counts = _counted(writing, node, logits, target, *weight)
        uniform = writing.step(
            node, "Div", uniform, write_reduction(writing, node, "ReduceSum", counts, axes, keepdims=False)
        )
    share = writing.constant(float(smoothing / classes), "smoothing")
    rest = writing.constant(float(1 - smoothing), "certainty")
    writing.make(node, "Add", writing.step(node, "Mul", labelled, rest), writing.step(node, "Mul", uniform, share))


def _counted(writing: ExportContext, node: Node, logits: Value, target: Value, *weight: Value) -> str:
    """The weight of each position's label, 0 where it is ignored: the cross entropy of equal logits is log C of it."""
    equal = writing.step(node, "Sub", logits, logits)
    entropy = writing.step(
        node,
        "SoftmaxCrossEntropyLoss",
        equal,
        target,
        *weight,
        ignore_index=node.attrs["ignore_index"],
        reduction="none",
    )
    return writing.step(node, "Div", entropy, writing.constant(math.log(logits.shape[1]), "log_classes"))
