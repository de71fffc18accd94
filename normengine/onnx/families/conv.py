"""Convolution: ``Conv`` is ``conv2d`` but for ``auto_pad`` and padding in a node of its own."""

from __future__ import annotations

from ...graph import Value
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads

Window = tuple[int, int]
Padding4 = tuple[int, int, int, int]


def pair(call: ImportedNode, attribute: str, default: Window | None = (1, 1)) -> Window:
    """An attribute of two positive integers, height first."""
    found = call.node.integers(attribute, default)
    if len(found) != 2 or min(found) < 1:
        raise OnnxError(f"attribute '{attribute}' must be two positive integers (2-d only), got {found}")
    return found[0], found[1]


def image(call: ImportedNode, index: int = 0) -> Value:
    """An input that must be (N, C, H, W)."""
    value = call.value(index)
    if value.spec.rank != 4:
        raise OnnxError(f"only 2-d is supported: its input must be (N, C, H, W), got shape {value.shape}")
    return value


def window_padding(call: ImportedNode, size: Window, kernel: Window, stride: Window, dilation: Window) -> Padding4:
    """top, left, bottom, right as ``pads`` or ``auto_pad`` say for an input of ``size`` (height, width)."""
    mode = call.node.text("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = call.node.integers("pads", (0, 0, 0, 0))
        if len(pads) != 4 or min(pads) < 0:
            raise OnnxError(f"attribute 'pads' must be four integers that are not negative, got {pads}")
        return pads[0], pads[1], pads[2], pads[3]
    if mode == "VALID":
        return 0, 0, 0, 0
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise OnnxError(f"attribute 'auto_pad' must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {mode!r}")
    totals = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    small = [t // 2 for t in totals]
    large = [t - t // 2 for t in totals]
    before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    return before[0], before[1], after[0], after[1]


def unpadded(call: ImportedNode, fill: float) -> tuple[Value, Padding4]:
    """The image before a ``Pad`` node that filled height and width with ``fill``, and what that node added."""
    value = image(call)
    padding = call.padding(0)
    if padding is None or padding.fill != fill or any(padding.before[:2]) or any(padding.after[:2]):
        return value, (0, 0, 0, 0)
    return padding.source, (*padding.before[2:], *padding.after[2:])  # type: ignore[return-value]


@reads("Conv")
def read_conv(call: ImportedNode) -> Value:
    x, extra = unpadded(call, 0.0)
    padded = image(call)
    weight = call.value(1)
    if weight.spec.rank != 4:
        raise OnnxError(f"only 2-d is supported: the weight must be (O, I/groups, KH, KW), got shape {weight.shape}")
    kernel = pair(call, "kernel_shape", weight.shape[2:])  # type: ignore[arg-type]
    if kernel != weight.shape[2:]:
        raise OnnxError(f"attribute 'kernel_shape' is {kernel}, the weight has shape {weight.shape}")
    stride, dilation = pair(call, "strides"), pair(call, "dilations")
    size = (padded.shape[2], padded.shape[3])
    own = window_padding(call, size, kernel, stride, dilation)
    bias = [call.value(2)] if call.given(2) else []
    return call.add(
        "conv2d",
        x,
        weight,
        *bias,
        stride=stride,
        padding=tuple(a + b for a, b in zip(own, extra, strict=True)),
        dilation=dilation,
        groups=call.node.integer("group", 1),
    )
