"""Sums, means, products and maxima over axes, and the reduction that undoes broadcasting in gradients.

``sum_images`` is the sum over axis 0 of images, which is taken while they are at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .carries import along_axes, of_kept, where_positive
from .rules import first_input, only, real, require_axis, require_float32, require_layout
from .table import register


def sum_to(builder: Builder, grad: Value, shape: tuple[int, ...]) -> Value:
    """``grad`` summed over the axes along which a value of ``shape`` was broadcast; itself if there are none."""
    extra = len(grad.shape) - len(shape)
    stretched = tuple(range(extra)) + tuple(
        extra + axis for axis, extent in enumerate(shape) if extent == 1 and grad.shape[extra + axis] != 1
    )
    if stretched == (0,) and len(grad.shape) == 4:
        grad = builder.add("sum_images", grad)
    elif stretched:
        grad = builder.add("reduce_sum", grad, axes=stretched, keepdims=not extra)
    return grad if grad.shape == shape else builder.add("reshape", grad, shape=shape)


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with extent 1 at ``axes``."""
    return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    axes: tuple[int, ...] = attrs["axes"]
    require_float32("input", x)
    for axis in axes:
        require_axis("axis", axis, x)
    if list(axes) != sorted(set(axes)):
        raise OperatorError(f"axes must be in ascending order, each once, got {axes}")
    if attrs["keepdims"]:
        return (Spec(kept_shape(x.shape, axes)),)
    return (Spec(tuple(extent for axis, extent in enumerate(x.shape) if axis not in axes)),)


def _mean_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    made = _infer(specs, attrs)
    if math.prod(specs[0].shape[axis] for axis in attrs["axes"]) == 0:
        raise OperatorError(f"a mean needs an element, got axes {attrs['axes']} of shape {specs[0].shape}")
    return made


def _max_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    made = _infer(specs, attrs)
    if math.prod(specs[0].shape[axis] for axis in attrs["axes"]) == 0:
        raise OperatorError(f"a maximum needs an element, got axes {attrs['axes']} of shape {specs[0].shape}")
    return made


def _max_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.asarray(np.max(real(arrays[0]), axis=attrs["axes"], keepdims=attrs["keepdims"])),)


def _max_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    """Equal maxima share alike, as in PyTorch's ``amax``."""
    (x,), (y,), axes = node.inputs, node.outputs, node.attrs["axes"]
    one, zero = builder.constant(1.0), builder.constant(0.0)
    below = builder.add("greater", _spread(builder, node, y), x)
    largest = builder.add("where", below, zero, one)
    times = builder.add("reduce_sum", largest, axes=axes, keepdims=node.attrs["keepdims"])
    share = builder.add("div", only(grads), times)
    return [builder.add("mul", largest, _spread(builder, node, share))]


def _max_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    """The pool of one window that covers all that is reduced: its kernels hold several maxima at a time."""
    (x,), (y,), axes = node.inputs, node.outputs, node.attrs["axes"]
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)
    turned = builder.add("permute", x, axes=(*kept, *axes))
    size = _count(x, axes)
    rows = builder.add("reshape", turned, shape=(1, x.spec.size // size, 1, size))
    window = {"kernel_size": (1, size), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    pooled = builder.add("max_pool2d", rows, **window, ceil_mode=False)
    return [builder.add("reshape", pooled, shape=y.shape)]


def _count(x: Value, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[axis] for axis in axes)


def _sum_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.asarray(np.sum(real(arrays[0]), axis=attrs["axes"], keepdims=attrs["keepdims"])),)


def _mean_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.asarray(np.mean(real(arrays[0]), axis=attrs["axes"], keepdims=attrs["keepdims"])),)


def _spread(builder: Builder, node: Node, grad: Value) -> Value:
    """``grad`` repeated along the reduced axes."""
    (x,) = node.inputs
    kept = kept_shape(x.shape, node.attrs["axes"])
    if grad.shape != kept:
        grad = builder.add("reshape", grad, shape=kept)
    return grad if kept == x.shape else builder.add("expand", grad, shape=x.shape)


def _sum_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    return [_spread(builder, node, only(grads))]


def _mean_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    share = builder.constant(1.0 / _count(node.inputs[0], node.attrs["axes"]))
    return [_spread(builder, node, builder.add("mul", only(grads), share))]


def _mean_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    total = builder.add("reduce_sum", *node.inputs, **node.attrs)
    return [builder.add("mul", total, builder.constant(1.0 / _count(node.inputs[0], node.attrs["axes"])))]


def _prod_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.asarray(np.prod(real(arrays[0]), axis=attrs["axes"], keepdims=attrs["keepdims"])),)


def _prod_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    """The first half times the second, until one is left: it has a gradient where factors are 0 too."""
    (x,), (y,), axes = node.inputs, node.outputs, node.attrs["axes"]
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)
    size = _count(x, axes)
    if size == 0:
        return [builder.add("expand", builder.constant(1.0), shape=y.shape)]
    turned = builder.add("permute", x, axes=(*kept, *axes))
    factors = builder.add("reshape", turned, shape=(y.spec.size, size))
    while size > 1:
        half = size // 2
        parts = [_columns(builder, factors, start, start + half) for start in (0, half)]
        product = builder.add("mul", *parts)
        rest = [_columns(builder, factors, size - 1, size)] if size % 2 else []
        factors = builder.add("concat", product, *rest, axis=1) if rest else product
        size = half + len(rest)
    return [builder.add("reshape", factors, shape=y.shape)]


def _columns(builder: Builder, x: Value, start: int, stop: int) -> Value:
    return builder.add("slice", x, starts=(0, start), stops=(x.shape[0], stop), steps=(1, 1))


def _images_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_layout("input", x, "(N, C, H, W)")
    return (Spec(x.shape[1:]),)


def _images_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (real(arrays[0]).sum(axis=0),)


def _images_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    return [builder.add("expand", only(grads), shape=node.inputs[0].shape)]


def _samples(node: Node) -> tuple[int, ...]:
    return () if 0 in node.attrs["axes"] else (0,)


_CASES = tuple(
    Case((shape,), {"axes": axes, "keepdims": keepdims})
    for shape, axes, keepdims in [
        ((5,), (0,), False),
        ((5,), (0,), True),
        ((3, 4), (0,), False),
        ((3, 4), (1,), True),
        ((3, 4), (0, 1), False),
        ((2, 3, 5, 7), (2, 3), False),
        ((2, 3, 5, 7), (2, 3), True),
        ((2, 3, 5, 7), (0, 2, 3), False),
        ((2, 3, 5, 7), (0, 2), True),
        ((2, 3, 5, 7), (1, 3), False),
        ((2, 3, 5, 7), (1,), False),
        ((1, 1, 1), (0, 2), False),
        ((3, 130), (1,), False),
        ((130, 3), (0,), False),
    ]
)


def _draw_ties(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(0, 3, (6, 9)).astype(np.float32)]


register(
    Op(
        "reduce_sum",
        _infer,
        _sum_reference,
        _sum_gradient,
        cases=lambda: _CASES,
        kind="statistics",
        samples=_samples,
        sums_axes=True,
    ),
    Op(
        "sum_images",
        _images_infer,
        _images_reference,
        _images_gradient,
        cases=lambda: tuple(Case((s,)) for s in ((2, 3, 4, 5), (1, 17, 3, 3), (33, 1, 1, 7), (40, 20, 5, 6))),
        kind="statistics",
        samples=first_input,
        sums_samples=True,
    ),
    Op(
        "reduce_mean",
        _mean_infer,
        _mean_reference,
        _mean_gradient,
        decompose=_mean_decompose,
        cases=lambda: _CASES,
        samples=_samples,
        carries=along_axes(of_kept),
    ),
    Op(
        "reduce_prod",
        _infer,
        _prod_reference,
        decompose=_prod_decompose,
        cases=lambda: _CASES,
        samples=_samples,
    ),
    Op(
        "reduce_max",
        _max_infer,
        _max_reference,
        _max_gradient,
        decompose=_max_decompose,
        cases=lambda: (*_CASES, Case(draw=_draw_ties, attrs={"axes": (1,), "keepdims": False}, differentiable=False)),
        samples=_samples,
        tolerance=0.0,
        carries=along_axes(of_kept, where_positive),
    ),
)
