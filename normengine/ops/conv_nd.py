"""Convolution over one and three spatial dimensions, made of the two-dimensional one.

``y[n, o, p...] = b[o] + sum_{c, i...} w[o, c, i...] x[n, g * C/groups + c, p*stride - before + i*dilation...]`` with
``g`` the group of output channel ``o``. Shapes: x ``(N, C, L)`` or ``(N, C, D, H, W)``, w ``(O, C / groups, K)`` or
``(O, C / groups, KD, KH, KW)``, b ``(O,)``. ``padding`` is all that is before, then all that is after.

A signal is an image of height 1. In three dimensions the depths that a window reads become channels: planes of the
depth ``p*stride - before + i*dilation`` lie side by side for each tap ``i``, and one convolution of planes sums over
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, OnnxMapping, Op, OperatorError, Shapes
from .builder import Builder
from .conv import check_channels
from .rules import first_input, real, require_float32, require_layout, require_shape
from .table import register
from .window import Extents, all_taps, along_last, axis_taps, check_window, positions

IMAGES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
"""Layouts by the number of spatial dimensions."""
KERNELS = {1: "K", 2: "KH, KW", 3: "KD, KH, KW"}
MAX_DEPTH = 1024
"""The most planes that a kernel may have, each of which becomes channels of its own."""


def check_depth(kernel: Extents) -> None:
    """A kernel of three dimensions may have ``MAX_DEPTH`` planes at most."""
    if len(kernel) == 3 and kernel[0] > MAX_DEPTH:
        raise OperatorError(f"kernel {kernel} has {kernel[0]} planes, at most {MAX_DEPTH} are supported")


def _infer_of(rank: int, specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, w, *rest = specs
    require_layout("input", x, IMAGES[rank])
    require_layout("weight", w, f"(O, C / groups, {KERNELS[rank]})")
    kernel = w.shape[2:]
    check_window(attrs, kernel)
    check_depth(kernel)
    check_channels(x.shape[1], w, attrs["groups"])
    for b in rest:
        require_float32("bias", b)
        require_shape("bias", b, w.shape[:1])
    return (Spec((x.shape[0], w.shape[0], *positions(x.shape[2:], attrs, kernel))),)


def _infer_1d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _infer_of(1, specs, attrs)


def _infer_3d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _infer_of(3, specs, attrs)


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, *bias = map(real, arrays)
    groups, kernel = attrs["groups"], w.shape[2:]
    size = positions(x.shape[2:], attrs, kernel)
    weight = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    y = np.zeros((x.shape[0], w.shape[0], *size))
    for tap, made, read in all_taps(attrs, kernel, x.shape[2:], size):
        part = y[made]
        values = x[read].reshape(x.shape[0], groups, w.shape[1], -1)
        part += (weight[along_last(tap)] @ values).reshape(part.shape)
    return (y + bias[0].reshape(-1, *[1] * len(size)) if bias else y,)


def as_image(builder: Builder, x: Value) -> Value:
    """``(N, C, L)`` as ``(N, C, 1, L)``."""
    return builder.add("reshape", x, shape=(0, 0, 1, x.shape[2]))


def as_signal(builder: Builder, x: Value) -> Value:
    """``(N, C, 1, L)`` as ``(N, C, L)``."""
    return builder.add("reshape", x, shape=(0, 0, x.shape[3]))


def flat(attrs: Attrs, *names: str) -> dict[str, object]:
    """The attributes of windows over signals as those of images of height 1."""
    (stride,), (dilation,), (left, right) = attrs["stride"], attrs["dilation"], attrs["padding"]
    kept = {name: attrs[name] for name in names}
    return {"stride": (1, stride), "dilation": (1, dilation), "padding": (0, left, 0, right), **kept}


def planes(attrs: Attrs, *names: str) -> dict[str, object]:
    """The attributes of windows over volumes as those of each plane."""
    padding = attrs["padding"]
    kept = {name: attrs[name] for name in names}
    sides = (*padding[1:3], *padding[4:6])
    return {"stride": attrs["stride"][1:], "dilation": attrs["dilation"][1:], "padding": sides, **kept}


def part_of(builder: Builder, x: Value, axis: int, part: slice) -> Value:
    """What ``part`` takes of ``x`` along ``axis``, itself if that is all."""
    start, stop, step = part.indices(x.shape[axis])
    if len(range(start, stop, step)) == x.shape[axis]:
        return x
    rank = len(x.shape)
    return builder.add(
        "slice",
        x,
        starts=tuple(start if a == axis else 0 for a in range(rank)),
        stops=tuple(stop if a == axis else n for a, n in enumerate(x.shape)),
        steps=tuple(step if a == axis else 1 for a in range(rank)),
    )


def placed_at(builder: Builder, x: Value, axis: int, part: slice, extent: int) -> Value:
    """``x`` where ``part`` says along ``axis``, which gets ``extent``, and zeros elsewhere."""
    start, stop, step = part.indices(extent)
    if len(range(start, stop, step)) == extent:
        return x
    rank = len(x.shape)
    return builder.add(
        "unslice",
        x,
        starts=tuple(start if a == axis else 0 for a in range(rank)),
        steps=tuple(step if a == axis else 1 for a in range(rank)),
        shape=tuple(extent if a == axis else -1 for a in range(rank)),
    )


def _decompose_1d(builder: Builder, node: Node) -> Sequence[Value]:
    x, w, *bias = node.inputs
    image, kernel = as_image(builder, x), as_image(builder, w)
    return [as_signal(builder, builder.add("conv2d", image, kernel, *bias, **flat(node.attrs, "groups")))]


def _decompose_3d(builder: Builder, node: Node) -> Sequence[Value]:
    x, w, *bias = node.inputs
    (y,), attrs = node.outputs, node.attrs
    depth, groups = y.shape[2], attrs["groups"]
    stride, front, dilation = attrs["stride"][0], attrs["padding"][0], attrs["dilation"][0]
    taps = list(axis_taps(w.shape[2], stride, front, dilation, x.shape[2], depth))
    if not taps:
        return [_nothing(builder, y, bias)]
    turned = builder.add("permute", x, axes=(0, 2, 1, 3, 4))
    read = [placed_at(builder, part_of(builder, turned, 1, inside), 1, made, depth) for _, made, inside in taps]
    grouped = (-1, groups, x.shape[1] // groups, prod(x.shape[3:]))
    columns = [builder.add("reshape", part, shape=grouped) for part in read]
    side_by_side = columns[0] if len(columns) == 1 else builder.add("concat", *columns, axis=2)
    image = builder.add("reshape", side_by_side, shape=(-1, len(taps) * x.shape[1], *x.shape[3:]))
    kernel = _taps_as_channels(builder, w, [tap for tap, _, _ in taps])
    made = builder.add("conv2d", image, kernel, *bias, **planes(attrs, "groups"))
    return [volume(builder, made, depth)]


def volume(builder: Builder, x: Value, depth: int) -> Value:
    """Planes ``(N * D, C, H, W)`` as ``(N, C, D, H, W)``."""
    apart = builder.add("reshape", x, shape=(-1, depth, *x.shape[1:]))
    return builder.add("permute", apart, axes=(0, 2, 1, 3, 4))


def _nothing(builder: Builder, y: Value, bias: Sequence[Value]) -> Value:
    """The result of windows that lie in the padding alone."""
    row = builder.add("reshape", bias[0], shape=(1, -1, 1, 1, 1)) if bias else builder.constant(0.0)
    return builder.add("expand", row, shape=y.shape)


def _taps_as_channels(builder: Builder, w: Value, taps: Sequence[int]) -> Value:
    """``(O, C, KD, KH, KW)`` as ``(O, taps * C, KH, KW)``."""
    turned = builder.add("permute", w, axes=(0, 2, 1, 3, 4))
    if len(taps) < w.shape[2]:
        parts = [part_of(builder, turned, 1, slice(tap, tap + 1)) for tap in taps]
        turned = builder.add("concat", *parts, axis=1)
    return builder.add("reshape", turned, shape=(0, -1, *w.shape[3:]))


def _products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(outputs[0]) * prod(inputs[1][1:])


def window(rank: int, stride: int = 1, padding: Sequence[int] = (), dilation: int = 1, groups: int = 1) -> Attrs:
    """The attributes of a convolution with equal strides and dilations."""
    sides = tuple(padding) or (0,) * (2 * rank)
    return {"stride": (stride,) * rank, "padding": sides, "dilation": (dilation,) * rank, "groups": groups}


_SIGNALS: tuple[tuple[tuple[int, ...], tuple[int, ...], Attrs], ...] = (
    ((1, 1, 1), (1, 1, 1), window(1)),
    ((2, 3, 9), (5, 3, 3), window(1, padding=(1, 1))),
    ((2, 4, 11), (6, 2, 4), window(1, 2, (2, 1), groups=2)),
    ((1, 17, 8), (17, 1, 3), window(1, padding=(2, 2), dilation=2, groups=17)),
)
_VOLUMES: tuple[tuple[tuple[int, ...], tuple[int, ...], Attrs], ...] = (
    ((1, 1, 1, 1, 1), (1, 1, 1, 1, 1), window(3)),
    ((2, 3, 4, 5, 3), (4, 3, 2, 3, 1), window(3, padding=(1, 0, 0, 0, 1, 0))),
    ((2, 4, 5, 4, 5), (6, 2, 3, 2, 3), window(3, 2, (1, 0, 1, 2, 1, 0), groups=2)),
    ((1, 2, 3, 5, 5), (2, 1, 4, 3, 3), window(3, padding=(5, 2, 2, 5, 2, 2), dilation=2, groups=2)),
    ((1, 2, 1, 2, 2), (3, 2, 2, 1, 1), window(3, padding=(0, 0, 0, 6, 0, 0), dilation=3)),
    ((1, 1, 1, 2, 2), (2, 1, 1, 1, 1), window(3, 2, (1, 0, 0, 0, 0, 0))),
)
_MAPPING = OnnxMapping("Conv", {"stride": "strides", "padding": "pads", "dilation": "dilations", "groups": "group"})

register(
    Op(
        "conv1d",
        _infer_1d,
        _reference,
        decompose=_decompose_1d,
        onnx=_MAPPING,
        cases=lambda: (*(Case((x, w), a) for x, w, a in _SIGNALS), *(Case((x, w, w[:1]), a) for x, w, a in _SIGNALS)),
        kind="convolutions",
        products=_products,
        samples=first_input,
        weight=1,
        folds_norms=True,
    ),
    Op(
        "conv3d",
        _infer_3d,
        _reference,
        decompose=_decompose_3d,
        onnx=_MAPPING,
        cases=lambda: (*(Case((x, w), a) for x, w, a in _VOLUMES), *(Case((x, w, w[:1]), a) for x, w, a in _VOLUMES)),
        kind="convolutions",
        products=_products,
        samples=first_input,
        weight=1,
        folds_norms=True,
    ),
)
