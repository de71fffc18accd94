"""Arrays made larger or smaller by interpolation along some of their axes, one after the other.

``axes`` become ``sizes`` long; ``scales`` are the sizes over what they were, or the numbers that the sizes were rounded
down from, and ``crops`` the parts of the axes that ``tf_crop_and_resize`` takes: (low, high) as fractions. The other
attributes are those of :class:`~.interpolation.Interpolation`, for every axis, and ``extrapolation_value``, which is
what outputs are that lie outside the input, where that is cropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .interpolation import CROP, Interpolation, Taps, taps_of
from .resample import resampled
from .rules import only, real, require_axis, require_float32, require_shape
from .table import register

Grads = Sequence["Value | None"]

WHOLE = (0.0, 1.0)
"""The part of an axis that is all of it."""
_OF_AN_AXIS = ("mode", "transformation", "rounding", "cubic_coeff", "exclude_outside", "antialias", "single")


def settings(
    shape: Sequence[int],
    axes: Sequence[int],
    sizes: Sequence[int],
    scales: Sequence[float] | None = None,
    crops: Sequence[tuple[float, float]] | None = None,
    mode: str = "nearest",
    transformation: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    cubic_coeff: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
    extrapolation_value: float = 0.0,
    single: bool = False,
) -> Attrs:
    """The attributes of ``resize`` for an array of ``shape``, without those axes that stay as they are."""
    ratios = [n / shape[a] for a, n in zip(axes, sizes, strict=True)] if scales is None else list(scales)
    parts = [WHOLE] * len(axes) if crops is None or transformation != CROP else list(crops)
    changed = [
        i
        for i, axis in enumerate(axes)
        if (sizes[i], ratios[i], parts[i]) != (shape[axis], 1.0, WHOLE)
    ]  # fmt: skip
    return {
        "axes": tuple(axes[i] for i in changed),
        "sizes": tuple(sizes[i] for i in changed),
        "scales": tuple(float(ratios[i]) for i in changed),
        "crops": tuple(parts[i] for i in changed),
        "mode": mode,
        "transformation": transformation,
        "rounding": rounding,
        "cubic_coeff": float(cubic_coeff),
        "exclude_outside": exclude_outside,
        "antialias": antialias,
        "extrapolation_value": float(extrapolation_value),
        "single": single,
    }


def interpolations(shape: tuple[int, ...], attrs: Attrs) -> list[tuple[int, Interpolation]]:
    """Each axis that an array of ``shape`` is resized along, and how."""
    same = {name: attrs[name] for name in _OF_AN_AXIS}
    return [
        (axis, Interpolation(shape[axis], size, scale, crop, **same))
        for axis, size, scale, crop in zip(
            attrs["axes"], attrs["sizes"], attrs["scales"], attrs["crops"], strict=True
        )
    ]  # fmt: skip


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_float32("input", x)
    for axis in attrs["axes"]:
        require_axis("axis", axis, x)
    if len(set(attrs["axes"])) < len(attrs["axes"]):
        raise OperatorError(f"axes {attrs['axes']} name an axis twice")
    for _, one in interpolations(x.shape, attrs):
        one.check()
    return (Spec(_resized(x.shape, attrs)),)


def _resized(shape: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    sizes = dict(zip(attrs["axes"], attrs["sizes"], strict=True))
    return tuple(sizes.get(axis, n) for axis, n in enumerate(shape))


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    y = real(arrays[0])
    shape = y.shape
    for axis, one in interpolations(shape, attrs):
        y = taps_of(one).applied(y, axis)
    return (y + _extrapolated(shape, attrs),)


def _extrapolated(shape: tuple[int, ...], attrs: Attrs) -> np.ndarray:
    """The extrapolation value where outputs lie outside, else zero; broadcasts to the output."""
    outside = np.zeros((1,) * len(shape), bool)
    for axis, one in interpolations(shape, attrs):
        outside = outside | one.outside().reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.where(outside, attrs["extrapolation_value"], 0.0)


def _decompose(builder: Builder, node: Node) -> Sequence[Value]:
    (x,), attrs = node.inputs, node.attrs
    y = _along_axes(builder, x, [(axis, taps_of(one)) for axis, one in interpolations(x.shape, attrs)])
    if attrs["transformation"] == CROP and attrs["extrapolation_value"]:
        outside = _extrapolated(x.shape, attrs).astype(np.float32)
        y = builder.add("add", y, builder.constant(outside)) if outside.any() else y
    return [y]


def _along_axes(builder: Builder, x: Value, axes: Sequence[tuple[int, Taps]]) -> Value:
    """Images in one go, other arrays along one axis after the other, those first that make them smaller."""
    found = dict(axes)
    if len(x.shape) == 4 and set(found) <= {2, 3}:
        rows, columns = (found.get(axis, Taps.identity(x.shape[axis])) for axis in (2, 3))
        return resampled(builder, x, rows, columns)
    for axis, taps in sorted(found.items(), key=lambda item: item[1].outputs / item[1].size):
        x = _along(builder, x, axis, taps)
    return x


def _along(builder: Builder, x: Value, axis: int, taps: Taps) -> Value:
    """As images whose rows, or columns for the last axis, are the axis."""
    shape = x.shape
    before, behind = shape[:axis], math.prod(shape[axis + 1 :])
    first, others = (before[0], math.prod(before[1:])) if before else (1, 1)
    if behind == 1:
        image = builder.add("reshape", x, shape=(first, others, 1, shape[axis]))
        y = resampled(builder, image, Taps.identity(1), taps)
    else:
        image = builder.add("reshape", x, shape=(first, others, shape[axis], behind))
        y = resampled(builder, image, taps, Taps.identity(behind))
    return builder.add("reshape", y, shape=(*before, taps.outputs, *shape[axis + 1 :]))


def _gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    sizes = tuple(node.inputs[0].shape[axis] for axis in node.attrs["axes"])
    return [builder.add("resize_grad", only(grads), **node.attrs, input_sizes=sizes)]


def _input_shape(shape: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    """What was resized to ``shape``."""
    sizes = dict(zip(attrs["axes"], attrs["input_sizes"], strict=True))
    return tuple(sizes.get(axis, n) for axis, n in enumerate(shape))


def _grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (dy,) = specs
    require_float32("output gradient", dy)
    x = Spec(_input_shape(dy.shape, attrs))
    require_shape("output gradient", dy, _infer([x], attrs)[0].shape)
    return (x,)


def _grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dx = real(arrays[0])
    for axis, one in interpolations(_input_shape(dx.shape, attrs), attrs):
        dx = taps_of(one).transposed().applied(dx, axis)
    return (dx,)


def _grad_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    (dy,), attrs = node.inputs, node.attrs
    axes = interpolations(_input_shape(dy.shape, attrs), attrs)
    return [_along_axes(builder, dy, [(axis, taps_of(one).transposed()) for axis, one in axes])]


def _samples(node: Node) -> tuple[int, ...]:
    return () if 0 in node.attrs["axes"] else (0,)


def _operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    """Two for each element and axis."""
    return 2 * len(attrs["axes"]) * max(math.prod(inputs[0]), math.prod(outputs[0]))


def _problems() -> tuple[tuple[tuple[int, ...], Attrs], ...]:
    image, planes = (2, 3, 5, 6), (2, 3)
    return (
        (image, settings(image, planes, (10, 12))),
        (image, settings(image, planes, (15, 12), transformation="asymmetric", rounding="floor")),
        (image, settings(image, planes, (7, 4), rounding="round_prefer_ceil")),
        (image, settings(image, planes, (3, 9), transformation="align_corners", rounding="ceil")),
        (image, settings(image, planes, (10, 12), mode="linear")),
        (image, settings(image, planes, (7, 6), scales=(1.5, 1.0), mode="linear")),
        (
            image,
            settings(image, planes, (7, 6), scales=(1.5, 1.1), mode="linear", transformation="half_pixel_symmetric"),
        ),
        (image, settings(image, planes, (10, 12), mode="linear", transformation="align_corners")),
        (image, settings(image, planes, (1, 1), mode="linear", transformation="pytorch_half_pixel")),
        (image, settings(image, planes, (8, 3), mode="linear", transformation="asymmetric")),
        (image, settings(image, planes, (2, 3), mode="linear", antialias=True)),
        (image, settings(image, planes, (2, 3), mode="linear", antialias=True, exclude_outside=True)),
        (image, settings(image, planes, (8, 4), mode="cubic")),
        (image, settings(image, planes, (8, 4), mode="cubic", cubic_coeff=-0.5, exclude_outside=True)),
        (image, settings(image, planes, (3, 3), mode="cubic", antialias=True)),
        (
            image,
            settings(
                image,
                planes,
                (4, 6),
                crops=((-0.2, 0.7), (0.9, 0.3)),
                mode="linear",
                transformation=CROP,
                extrapolation_value=3.5,
            ),
        ),
        (image, settings(image, planes, (10, 12), transformation="asymmetric", rounding="floor", single=True)),
        ((2, 3, 7), settings((2, 3, 7), (2,), (13,), mode="linear")),
        ((2, 3, 4, 3, 2), settings((2, 3, 4, 3, 2), (2, 3, 4), (7, 2, 4), mode="linear")),
        ((4, 5), settings((4, 5), (0, 1), (6, 7), mode="cubic")),
        ((3, 4, 2, 2), settings((3, 4, 2, 2), (1,), (6,), mode="linear")),
        ((1, 1, 1, 1), settings((1, 1, 1, 1), planes, (3, 1), mode="cubic")),
        ((7,), settings((7,), (0,), (3,))),
    )


def _output_shape(shape: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    return _infer([Spec(shape)], attrs)[0].shape


register(
    Op(
        "resize",
        _infer,
        _reference,
        _gradient,
        decompose=_decompose,
        cases=lambda: tuple(Case((shape,), attrs) for shape, attrs in _problems()),
        kind="resampling",
        operations=_operations,
        samples=_samples,
    ),
    Op(
        "resize_grad",
        _grad_infer,
        _grad_reference,
        decompose=_grad_decompose,
        cases=lambda: tuple(
            Case((_output_shape(shape, attrs),), {**attrs, "input_sizes": tuple(shape[a] for a in attrs["axes"])})
            for shape, attrs in _problems()
        ),
        kind="resampling",
        operations=_operations,
        samples=_samples,
    ),
)
