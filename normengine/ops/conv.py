"""Two-dimensional convolution (cross-correlation, as everywhere in deep learning) in its three directions.

``y[n, o, p, q] = b[o] + sum_{c, i, j} w[o, c, i, j] x[n, g * C/groups + c, p*sh - top + i*dh, q*sw - left + j*dw]``
with ``g`` the group of output channel ``o`` and zeros outside the image. Shapes: x ``(N, C, H, W)``, w
``(O, C / groups, KH, KW)``, b ``(O,)``, y ``(N, O, OH, OW)``.

What follows a convolution may become part of it: with the attribute ``residual``, the last input, shaped as y, is
added; with ``clamp = (low, high)`` the sum is then limited to that range.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, OnnxMapping, Op, OperatorError, Shapes
from .builder import Builder
from .rules import all_inputs, first_input, only, real, require_float32, require_layout, require_shape
from .table import register
from .window import check_window, output_size, taps

WINDOW = ("stride", "padding", "dilation", "groups")


def check_channels(channels: int, w: Spec, groups: int) -> None:
    """The weight must be of so many input channels, in groups that divide its output channels."""
    if w.size == 0:
        raise OperatorError(f"weight must have an element, got shape {w.shape}")
    if groups < 1 or w.shape[0] % groups:
        raise OperatorError(
            f"groups must divide the output channels, got {groups} groups for {w.shape[0]} (weight shape {w.shape})"
        )
    if channels != w.shape[1] * groups:
        grouped = f" in each of {groups} groups" if groups > 1 else ""
        raise OperatorError(
            f"input has {channels} channels, weight expects {w.shape[1]}{grouped} (weight shape {w.shape})"
        )


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, w, *rest = specs
    require_layout("input", x, "(N, C, H, W)")
    require_layout("weight", w, "(O, C / groups, KH, KW)")
    kernel = w.shape[2], w.shape[3]
    check_window(attrs, kernel)
    check_channels(x.shape[1], w, attrs["groups"])
    y = Spec((x.shape[0], w.shape[0], *output_size((x.shape[2], x.shape[3]), attrs, kernel)))
    if attrs.get("residual"):
        residual = rest.pop()
        require_float32("residual", residual)
        require_shape("residual", residual, y.shape)
    for b in rest:
        require_float32("bias", b)
        require_shape("bias", b, w.shape[:1])
    return (y,)


def _input_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, w = specs
    require_layout("output gradient", dy, "(N, O, OH, OW)")
    require_layout("weight", w, "(O, C / groups, KH, KW)")
    x = Spec((dy.shape[0], w.shape[1] * attrs["groups"], *attrs["input_size"]))
    (y,) = _infer([x, w], attrs)
    require_shape("output gradient", dy, y.shape)
    return (x,)


def _weight_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, x = specs
    require_layout("output gradient", dy, "(N, O, OH, OW)")
    require_layout("input", x, "(N, C, H, W)")
    w = Spec((dy.shape[1], x.shape[1] // attrs["groups"], *attrs["kernel_size"]))
    (y,) = _infer([x, w], attrs)
    require_shape("output gradient", dy, y.shape)
    return (w,)


def _grouped(image: np.ndarray, groups: int) -> np.ndarray:
    """``(N, C, ...)`` as ``(N, groups, C / groups, rest)``."""
    return image.reshape(image.shape[0], groups, image.shape[1] // groups, -1)


def _grouped_weight(w: np.ndarray, groups: int) -> np.ndarray:
    return real(w).reshape(groups, w.shape[0] // groups, *w.shape[1:])


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, *rest = arrays
    residual = real(rest.pop()) if attrs.get("residual") else 0.0
    groups, kernel = attrs["groups"], (w.shape[2], w.shape[3])
    size = output_size((x.shape[2], x.shape[3]), attrs, kernel)
    weight = _grouped_weight(w, groups)
    y = np.zeros((x.shape[0], w.shape[0], *size))
    for i, j, made, read in taps(attrs, kernel, x.shape[2:], size):
        part = y[made]
        part += (weight[..., i, j] @ _grouped(real(x)[read], groups)).reshape(part.shape)
    y = y + residual
    y = y + real(rest[0])[:, None, None] if rest else y
    return (np.clip(y, *attrs["clamp"]) if "clamp" in attrs else y,)


def _input_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, w = arrays
    groups, size = attrs["groups"], attrs["input_size"]
    weight = _grouped_weight(w, groups)
    dx = np.zeros((dy.shape[0], w.shape[1] * groups, *size))
    for i, j, made, read in taps(attrs, w.shape[2:], size, dy.shape[2:]):
        part = dx[read]
        part += (weight[..., i, j].swapaxes(1, 2) @ _grouped(real(dy)[made], groups)).reshape(part.shape)
    return (dx,)


def _weight_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, x = arrays
    groups, kernel = attrs["groups"], attrs["kernel_size"]
    dw = np.zeros((groups, dy.shape[1] // groups, x.shape[1] // groups, *kernel))
    for i, j, made, read in taps(attrs, kernel, x.shape[2:], dy.shape[2:]):
        errors, values = _grouped(real(dy)[made], groups), _grouped(real(x)[read], groups)
        dw[..., i, j] = (errors @ values.swapaxes(2, 3)).sum(axis=0)
    return (dw.reshape(dy.shape[1], -1, *kernel),)


def attrs_of_fusion(attrs: Attrs) -> bool:
    """Whether more than a convolution was made of the node."""
    return "clamp" in attrs or bool(attrs.get("residual"))


def _gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    x, w, *bias = node.inputs
    assert not attrs_of_fusion(node.attrs), "a convolution is fused with what follows after differentiation"
    g = only(grads)
    window = {name: node.attrs[name] for name in WINDOW}
    parts: list[Value | None] = [
        builder.add("conv2d_input_grad", g, w, **window, input_size=x.shape[2:]),
        builder.add("conv2d_weight_grad", g, x, **window, kernel_size=w.shape[2:]),
    ]
    if bias:
        parts.append(builder.add("reduce_sum", g, axes=(0, 2, 3), keepdims=False))
    return parts


def _samples(node: Node) -> tuple[int, ...]:
    return (0, len(node.inputs) - 1) if node.attrs.get("residual") else (0,)


def _products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(outputs[0]) * prod(inputs[1][1:])


def _input_grad_products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(inputs[0]) * prod(inputs[1][1:])


def _weight_grad_products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(inputs[0]) * prod(outputs[0][1:])


def _window(stride: int = 1, padding: int | Sequence[int] = 0, dilation: int = 1, groups: int = 1) -> dict[str, object]:
    """The attributes of a convolution with equal strides and dilations."""
    sides = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
    return {"stride": (stride, stride), "padding": sides, "dilation": (dilation, dilation), "groups": groups}


_PROBLEMS: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, object]], ...] = (
    ((1, 1, 1, 1), (1, 1, 1, 1), _window()),
    ((2, 3, 7, 6), (5, 3, 1, 1), _window()),
    ((1, 17, 5, 5), (19, 17, 1, 1), _window(stride=2)),
    ((2, 1, 8, 8), (8, 1, 3, 3), _window(padding=1)),
    ((2, 3, 9, 7), (4, 3, 3, 3), _window()),
    ((1, 16, 8, 8), (32, 16, 3, 3), _window(padding=1)),
    ((2, 17, 6, 5), (9, 17, 3, 3), _window(padding=1)),
    ((1, 8, 9, 8), (16, 8, 3, 3), _window(stride=2, padding=1)),
    ((2, 4, 11, 10), (3, 4, 3, 3), _window(stride=3, padding=1)),
    ((1, 5, 9, 9), (7, 5, 3, 3), _window(padding=2, dilation=2)),
    ((1, 4, 10, 8), (4, 4, 3, 2), _window(stride=2, padding=(2, 0, 1, 1), dilation=2)),
    ((2, 4, 6, 6), (6, 2, 3, 3), _window(padding=1, groups=2)),
    ((1, 32, 5, 5), (32, 8, 1, 1), _window(groups=4)),
    ((2, 8, 7, 7), (8, 1, 3, 3), _window(padding=1, groups=8)),
    ((1, 6, 8, 9), (12, 1, 3, 3), _window(stride=2, padding=1, groups=6)),
    ((1, 17, 9, 9), (17, 1, 5, 5), _window(padding=2, groups=17)),
    ((1, 3, 12, 12), (10, 3, 5, 5), _window(padding=2)),
    ((1, 3, 17, 15), (8, 3, 7, 7), _window(stride=2, padding=3)),
    ((2, 2, 5, 9), (3, 2, 1, 5), _window(padding=(0, 2, 0, 2))),
    ((1, 2, 4, 4), (2, 2, 4, 4), _window()),
    ((1, 3, 6, 6), (4, 3, 2, 2), _window(padding=(0, 0, 1, 1))),
    ((1, 2, 7, 7), (2, 2, 1, 1), _window(stride=3)),
)


_KIND = "convolutions"


def _output_shape(x: tuple[int, ...], w: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    return _infer([Spec(x), Spec(w)], attrs)[0].shape


register(
    Op(
        "conv2d",
        _infer,
        _reference,
        _gradient,
        onnx=OnnxMapping(
            "Conv",
            {"stride": "strides", "padding": "pads", "dilation": "dilations", "groups": "group"},
        ),
        cases=lambda: (
            *(Case((x, w), attrs) for x, w, attrs in _PROBLEMS),
            *(Case((x, w, w[:1]), attrs) for x, w, attrs in _PROBLEMS[::3]),
        ),
        kind=_KIND,
        products=_products,
        samples=_samples,
        weight=1,
        epilogue=("clamp", "residual"),
        folds_norms=True,
    ),
    Op(
        "conv2d_input_grad",
        _input_grad_infer,
        _input_grad_reference,
        cases=lambda: tuple(
            Case((_output_shape(x, w, attrs), w), {**attrs, "input_size": x[2:]}) for x, w, attrs in _PROBLEMS
        ),
        kind=_KIND,
        products=_input_grad_products,
        samples=first_input,
        weight=1,
    ),
    Op(
        "conv2d_weight_grad",
        _weight_grad_infer,
        _weight_grad_reference,
        cases=lambda: tuple(
            Case((_output_shape(x, w, attrs), x), {**attrs, "kernel_size": w[2:]}) for x, w, attrs in _PROBLEMS
        ),
        kind=_KIND,
        products=_weight_grad_products,
        samples=all_inputs,
        sums_samples=True,
        weight=2,
    ),
)
