"""Transposed convolution over one, two and three spatial dimensions: the adjoint of convolution.

``y[n, g * O/groups + o, q*stride - before + i*dilation] += w[c, o, i] x[n, c, q]`` for every position ``q`` and tap
``i``, with ``g`` the group of input channel ``c``, plus b: what falls outside of y is left out. Along each axis y has
``(size - 1) * stride - before - after + dilation * (kernel - 1) + 1 + output_padding`` values. Shapes: x
``(N, C, H, W)``, w ``(C, O / groups, KH, KW)``, b ``(O,)``, y ``(N, O, OH, OW)``, or with one or three axes in place of
two. ``padding`` is all that is before, then all that is after.

It is what ``conv2d_input_grad`` computes, whose kernels do the work; a signal is an image of height 1, and volumes are
sums over the planes of their kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .conv_nd import IMAGES, KERNELS, as_image, as_signal, check_depth, flat, part_of, placed_at, planes, volume, window
from .rules import first_input, only, real, require_float32, require_layout, require_shape
from .table import register
from .window import MAX_WINDOW, SIDES, Extents, all_taps, along_last, axis_taps, check_pixels, check_window

LANES = 16
"""Floats of the widest vector: fewer channels of a result leave it partly empty."""


def _sizes(size: Extents, kernel: Extents, attrs: Attrs) -> Extents:
    """Of the result, along each axis."""
    rank = len(size)
    padding, rows = attrs["padding"], zip(size, kernel, attrs["stride"], attrs["dilation"], strict=True)
    return tuple(
        (n - 1) * s + d * (k - 1) + 1 - padding[axis] - padding[axis + rank] + attrs["output_padding"][axis]
        for axis, (n, k, s, d) in enumerate(rows)
    )


def _beyond(attrs: Attrs) -> Extents:
    """Along each axis, the last values of the result that no position reaches, whatever the kernel."""
    rows = zip(attrs["output_padding"], attrs["stride"], strict=True)
    return tuple(max(0, more - (stride - 1)) for more, stride in rows)


def _reached(y: Extents, attrs: Attrs) -> Extents:
    return tuple(n - more for n, more in zip(y, _beyond(attrs), strict=True))


def _check_channels(x: Spec, w: Spec, groups: int) -> None:
    if w.size == 0:
        raise OperatorError(f"weight must have an element, got shape {w.shape}")
    if x.shape[1] != w.shape[0]:
        raise OperatorError(f"input has {x.shape[1]} channels, weight expects {w.shape[0]} (weight shape {w.shape})")
    if groups < 1 or w.shape[0] % groups:
        raise OperatorError(
            f"groups must divide the input channels, got {groups} groups for {w.shape[0]} (weight shape {w.shape})"
        )


def _infer_of(rank: int, specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, w, *rest = specs
    require_layout("input", x, IMAGES[rank])
    require_layout("weight", w, f"(C, O / groups, {KERNELS[rank]})")
    kernel, more = w.shape[2:], attrs["output_padding"]
    check_window(attrs, kernel)
    check_depth(kernel)
    _check_channels(x, w, attrs["groups"])
    if len(more) != rank or min(more) < 0 or max(more) > MAX_WINDOW:
        raise OperatorError(f"output_padding must be {rank} numbers from 0 to {MAX_WINDOW}, got {more}")
    if min(x.shape[2:]) < 1:
        raise OperatorError(f"input must have a pixel, got shape {x.shape}")
    size = _sizes(x.shape[2:], kernel, attrs)
    if min(_reached(size, attrs)) < 1:
        raise OperatorError(
            f"padding {attrs['padding']} ({SIDES[rank]}) leaves nothing of the result: kernel {kernel}, stride "
            f"{attrs['stride']} and dilation {attrs['dilation']} make size {size} of an input of {x.shape[2:]}"
        )
    check_pixels("the output", size)
    channels = w.shape[1] * attrs["groups"]
    for b in rest:
        require_float32("bias", b)
        require_shape("bias", b, (channels,))
    return (Spec((x.shape[0], channels, *size)),)


def _infer_1d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _infer_of(1, specs, attrs)


def _infer_2d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _infer_of(2, specs, attrs)


def _infer_3d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _infer_of(3, specs, attrs)


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, *bias = map(real, arrays)
    groups, kernel = attrs["groups"], w.shape[2:]
    size = _sizes(x.shape[2:], kernel, attrs)
    weight = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    y = np.zeros((x.shape[0], w.shape[1] * groups, *size))
    for tap, taken, made in all_taps(attrs, kernel, size, x.shape[2:]):
        part = y[made]
        values = x[taken].reshape(x.shape[0], groups, weight.shape[1], -1)
        part += (weight[along_last(tap)].swapaxes(1, 2) @ values).reshape(part.shape)
    return (y + bias[0].reshape(-1, *[1] * len(size)) if bias else y,)


def _with_bias(builder: Builder, y: Value, bias: Sequence[Value]) -> Value:
    if not bias:
        return y
    return builder.add("add", y, builder.add("reshape", bias[0], shape=(1, -1, *[1] * (len(y.shape) - 2))))


def _decompose_1d(builder: Builder, node: Node) -> Sequence[Value]:
    x, w, *bias = node.inputs
    attrs = {**flat(node.attrs, "groups"), "output_padding": (0, *node.attrs["output_padding"])}
    return [
        as_signal(builder, builder.add("conv_transpose2d", as_image(builder, x), as_image(builder, w), *bias, **attrs))
    ]


def _decompose_2d(builder: Builder, node: Node) -> Sequence[Value]:
    x, w, *bias = node.inputs
    (y,), attrs = node.outputs, node.attrs
    if _is_product(x.shape, w.shape, y.shape, attrs):
        return [_with_bias(builder, _product(builder, x, w, y), bias)]
    if _is_few_blocks(x.shape, w.shape, attrs):
        return [_with_bias(builder, _blocks(builder, x, w, y), bias)]
    made = builder.add("conv2d_input_grad", x, w, **_window_of(attrs), input_size=_reached(y.shape[2:], attrs))
    for axis in (2, 3):
        made = placed_at(builder, made, axis, slice(0, made.shape[axis]), y.shape[axis])
    return [_with_bias(builder, made, bias)]


def _is_product(x: Extents, w: Extents, y: Extents, attrs: Attrs) -> bool:
    """Whether the image is one pixel, of which each value of the result is one product, as where generators begin."""
    return x[2:] == (1, 1) and y[2:] == w[2:] and attrs["groups"] == 1 and not any(attrs["padding"])


def _product(builder: Builder, x: Value, w: Value, y: Value) -> Value:
    rows = builder.add("reshape", x, shape=(0, -1))
    columns = builder.add("reshape", w, shape=(0, -1))
    product = builder.add("matmul", rows, columns, transpose_a=False, transpose_b=False)
    return builder.add("reshape", product, shape=(0, *y.shape[1:]))


def _is_few_blocks(x: Extents, w: Extents, attrs: Attrs) -> bool:
    """Whether the results are blocks side by side, and it takes half the vectors or fewer to make the pixels of a block
    as channels: where there are few channels, as where segmentations end, most of a vector is empty else."""
    pixels = prod(attrs["stride"])
    blocks = w[2:] == attrs["stride"] and attrs["dilation"] == (1, 1) and not any(attrs["padding"])
    few = -(-w[1] * pixels // LANES) * 2 <= pixels
    return blocks and few and attrs["groups"] == 1 and not any(attrs["output_padding"]) and x[1] >= LANES


def _blocks(builder: Builder, x: Value, w: Value, y: Value) -> Value:
    """A 1x1 convolution with a channel for each pixel of a block, and the pixels put where they belong (Shi et al.,
    arXiv 1609.05158)."""
    (channels, results, *block), (height, width) = w.shape, x.shape[2:]
    kernel = builder.add("reshape", builder.add("permute", w, axes=(1, 2, 3, 0)), shape=(-1, channels, 1, 1))
    plain = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    made = builder.add("conv2d", x, kernel, **plain)
    apart = builder.add("reshape", made, shape=(0, results, *block, height, width))
    apart = builder.add("permute", apart, axes=(0, 1, 4, 2, 5, 3))
    return builder.add("reshape", apart, shape=(0, *y.shape[1:]))


def _window_of(attrs: Attrs) -> dict[str, object]:
    """The attributes of the convolution that it is the adjoint of."""
    return {name: attrs[name] for name in ("stride", "padding", "dilation", "groups")}


def _decompose_3d(builder: Builder, node: Node) -> Sequence[Value]:
    """Each plane of x makes, in channels, one plane for each of the kernel's; those are added up where they lie."""
    x, w, *bias = node.inputs
    (y,), attrs = node.outputs, node.attrs
    turned = builder.add("permute", x, axes=(0, 2, 1, 3, 4))
    image = builder.add("reshape", turned, shape=(-1, x.shape[1], *x.shape[3:]))
    kernel = builder.add("permute", w, axes=(0, 2, 1, 3, 4))
    kernel = builder.add("reshape", kernel, shape=(0, -1, *w.shape[3:]))
    window = {**planes(attrs, "groups"), "output_padding": attrs["output_padding"][1:]}
    made = builder.add("conv_transpose2d", image, kernel, **window)
    groups, pixels = attrs["groups"], prod(y.shape[3:])
    apart = builder.add("reshape", made, shape=(-1, x.shape[2], groups, w.shape[2], w.shape[1], pixels))
    total = _sum_of_planes(builder, apart, y, attrs)
    together = builder.add("reshape", total, shape=(-1, y.shape[1], *y.shape[3:]))
    return [_with_bias(builder, volume(builder, together, y.shape[2]), bias)]


def _sum_of_planes(builder: Builder, apart: Value, y: Value, attrs: Attrs) -> Value:
    """Planes ``(N, D, groups, KD, O / groups, H * W)`` as ``(N, OD, O, H * W)``, each added where it lies."""
    depth, taps = y.shape[2], apart.shape[3]
    numbers = attrs["stride"][0], attrs["padding"][0], attrs["dilation"][0]
    total: Value | None = None
    for tap, taken, made in axis_taps(taps, *numbers, depth, apart.shape[1]):
        part = part_of(builder, part_of(builder, apart, 3, slice(tap, tap + 1)), 1, taken)
        part = builder.add("reshape", part, shape=(0, 0, y.shape[1], -1))
        part = placed_at(builder, part, 1, made, depth)
        total = part if total is None else builder.add("add", total, part)
    if total is None:
        total = builder.add("expand", builder.constant(0.0), shape=(y.shape[0], depth, y.shape[1], apart.shape[5]))
    return total


def _gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    """Convolution for x, and for w its weight gradient with image and result exchanged."""
    x, w, *bias = node.inputs
    g, attrs = only(grads), node.attrs
    core = g
    for axis, extent in enumerate(_reached(g.shape[2:], attrs), 2):
        core = part_of(builder, core, axis, slice(0, extent))
    parts: list[Value | None] = [
        builder.add("conv2d", core, w, **_window_of(attrs)),
        builder.add("conv2d_weight_grad", x, core, **_window_of(attrs), kernel_size=w.shape[2:]),
    ]
    return [*parts, builder.add("reduce_sum", g, axes=(0, 2, 3), keepdims=False)] if bias else parts


def _products(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return prod(inputs[0]) * prod(inputs[1][1:])


def _problem(
    x: tuple[int, ...], w: tuple[int, ...], attrs: Attrs, more: tuple[int, ...] = ()
) -> tuple[tuple[int, ...], tuple[int, ...], Attrs]:
    return x, w, {**attrs, "output_padding": more or (0,) * (len(x) - 2)}


_PROBLEMS = {
    1: (
        _problem((1, 1, 1), (1, 1, 1), window(1)),
        _problem((2, 4, 5), (4, 3, 3), window(1, 2, (1, 1), groups=2), (1,)),
        _problem((2, 3, 6), (3, 5, 4), window(1, 3, (0, 2), dilation=2), (4,)),
    ),
    2: (
        _problem((1, 1, 1, 1), (1, 1, 1, 1), window(2)),
        _problem((2, 3, 4, 5), (3, 6, 3, 3), window(2)),
        _problem((2, 6, 4, 3), (6, 5, 4, 4), window(2, 2, (1, 1, 1, 1))),
        _problem((1, 16, 5, 5), (16, 8, 2, 2), window(2, 2)),
        _problem((2, 4, 3, 4), (4, 3, 3, 3), window(2, 2, (1, 1, 1, 1), groups=2), (1, 1)),
        _problem((1, 17, 4, 4), (17, 1, 3, 3), window(2, 2, (0, 1, 2, 0), groups=17), (0, 1)),
        _problem((1, 2, 4, 3), (2, 3, 2, 3), window(2, padding=(2, 3, 0, 1), dilation=3)),
        _problem((1, 3, 2, 2), (3, 2, 1, 2), window(2, 3), (5, 2)),
        _problem((2, 1, 3, 3), (1, 2, 3, 3), window(2, padding=(3, 0, 0, 3))),
        _problem((3, 17, 1, 1), (17, 5, 4, 3), window(2, 2)),
        _problem((2, 3, 1, 1), (3, 2, 2, 2), window(2, dilation=2)),
        _problem((2, 16, 3, 4), (16, 3, 2, 2), window(2, 2)),
        _problem((1, 17, 2, 3), (17, 1, 3, 2), {**window(2), "stride": (3, 2)}),
    ),
    3: (
        _problem((1, 1, 1, 1, 1), (1, 1, 1, 1, 1), window(3)),
        _problem((2, 4, 3, 2, 3), (4, 3, 2, 3, 1), window(3, 2, (1, 1, 0, 0, 1, 0), groups=2), (1, 0, 1)),
        _problem((1, 2, 2, 3, 2), (2, 3, 3, 2, 2), window(3, padding=(2, 0, 0, 0, 0, 0), dilation=2), (3, 0, 0)),
        _problem((1, 1, 1, 2, 2), (1, 2, 2, 1, 1), window(3, padding=(1, 0, 0, 1, 0, 0), dilation=3)),
    ),
}


def _cases(rank: int) -> Callable[[], tuple[Case, ...]]:
    def cases() -> tuple[Case, ...]:
        made = [Case((x, w), attrs) for x, w, attrs in _PROBLEMS[rank]]
        made += [Case((x, w, (w[1] * a["groups"],)), a) for x, w, a in _PROBLEMS[rank]]
        return tuple(made)

    return cases


register(
    Op(
        "conv_transpose1d",
        _infer_1d,
        _reference,
        decompose=_decompose_1d,
        cases=_cases(1),
        kind="convolutions",
        products=_products,
        samples=first_input,
        weight=1,
        weight_outputs=1,
        folds_norms=True,
        evaluator_is_exact=False,
    ),
    Op(
        "conv_transpose2d",
        _infer_2d,
        _reference,
        _gradient,
        decompose=_decompose_2d,
        cases=_cases(2),
        kind="convolutions",
        products=_products,
        samples=first_input,
        weight=1,
        weight_outputs=1,
        folds_norms=True,
        evaluator_is_exact=False,
    ),
    Op(
        "conv_transpose3d",
        _infer_3d,
        _reference,
        decompose=_decompose_3d,
        cases=_cases(3),
        kind="convolutions",
        products=_products,
        samples=first_input,
        weight=1,
        weight_outputs=1,
        folds_norms=True,
        evaluator_is_exact=False,
    ),
)
