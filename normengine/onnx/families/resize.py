"""Interpolation: ``Resize``, and ``Upsample`` that it took the place of at opset 10.

Before opset 11 coordinates are asymmetric, and nearest rounds down where an axis grows and up where it shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from ...graph import MAX_RANK, Node, Value
from ...ops import Attrs
from ...ops.interpolation import CROP, Interpolation, Taps, taps_of
from ...ops.resize import WHOLE, interpolations, settings
from ..export_context import ExportContext
from ..import_context import ImportedNode
from ..node import OnnxError
from ..table import reads, writes

_OLDEST_WITH_COORDINATES = 11
_OLDEST_WITH_AXES = 18
_TABLE_BYTES = 256
"""What is computed for each output and each input of an axis that is resized."""


class _Attributes(TypedDict, total=False):
    """Those of what is written, where they are not what an operator has by default."""

    axis: int
    axes: tuple[int, ...]
    mode: str
    coordinate_transformation_mode: str
    nearest_mode: str
    cubic_coeff_a: float
    exclude_outside: int
    antialias: int
    extrapolation_value: float


@reads("Upsample")
def read_upsample(call: ImportedNode) -> Value:
    x, node = call.value(0), call.node
    if call.given(1):
        scales = _numbers(call, 1, "the scales")
    elif "scales" in node.attributes:
        scales = node.numbers("scales")
    else:
        scales = (1.0, 1.0, node.number("height_scale"), node.number("width_scale"))
    mode = node.text("mode", "nearest")
    return _simple(call, x, scales, "linear" if mode == "bilinear" else mode)


@reads("Resize")
def read_resize(call: ImportedNode) -> Value:
    x, node = call.value(0), call.node
    if call.opset < _OLDEST_WITH_COORDINATES:
        return _simple(call, x, _numbers(call, 1, "the scales"), node.text("mode", "nearest"))
    rank = x.spec.rank
    axes = [call.axis(a, rank) for a in node.integers("axes", tuple(range(rank)))]
    mode = node.text("mode", "nearest")
    transformation = node.text("coordinate_transformation_mode", "half_pixel")
    sizes, scales = _sizes(call, x.shape, axes)
    roi = _numbers(call, 1, "the region") if call.given(1) and transformation == CROP else ()
    if transformation == CROP and len(roi) != 2 * len(axes):
        raise OnnxError(f"the region must be {2 * len(axes)} numbers, starts then ends of its axes, got {len(roi)}")
    return _resized(
        call,
        x,
        settings(
            x.shape,
            axes,
            sizes,
            scales,
            list(zip(roi[: len(axes)], roi[len(axes) :], strict=True)) or None,
            mode=mode,
            transformation=transformation,
            rounding=node.text("nearest_mode", "round_prefer_floor"),
            cubic_coeff=node.number("cubic_coeff_a", -0.75),
            exclude_outside=bool(node.integer("exclude_outside", 0)) and mode != "nearest",
            antialias=bool(node.integer("antialias", 0)),
            extrapolation_value=node.number("extrapolation_value", 0.0),
        ),
    )


def _simple(call: ImportedNode, x: Value, scales: Sequence[float], mode: str) -> Value:
    """As it was before opset 11."""
    axes = tuple(range(x.spec.rank))
    sizes = _scaled(x.shape, axes, scales)
    rounding = "ceil" if any(s < 1 for s in scales) else "floor"
    form = settings(x.shape, axes, sizes, scales, mode=mode, transformation="asymmetric", rounding=rounding)
    return _resized(call, x, form)


def _resized(call: ImportedNode, x: Value, attrs: Attrs) -> Value:
    if not attrs["axes"]:
        return x
    extents = [n for axis, size in zip(attrs["axes"], attrs["sizes"], strict=True) for n in (x.shape[axis], size)]
    call.room([sum(max(n, 1) for n in extents)], _TABLE_BYTES)
    return call.add("resize", x, **attrs)


def _numbers(call: ImportedNode, index: int, what: str) -> tuple[float, ...]:
    """A known input as real numbers that say something of each axis."""
    found = call.array(index, what)
    if found.dtype.kind != "f" or found.size > 2 * MAX_RANK:
        raise OnnxError(f"{what} must be at most {2 * MAX_RANK} real numbers, got {found.size} of {found.dtype}")
    return tuple(map(float, found.reshape(-1)))


def _scaled(shape: tuple[int, ...], axes: Sequence[int], scales: Sequence[float]) -> list[int]:
    """The extents, in float32 as runtimes compute them."""
    if len(scales) != len(axes) or not all(0 < s < math.inf for s in scales):
        raise OnnxError(f"the scales must be {len(axes)} positive numbers, one for each axis, got {tuple(scales)}")
    with np.errstate(over="ignore"):
        products = [np.floor(np.float32(shape[a]) * np.float32(s)) for a, s in zip(axes, scales, strict=True)]
    if not np.isfinite(products).all():
        raise OnnxError(f"the scales {tuple(scales)} are too large for an input of shape {shape}")
    return [int(n) for n in products]


def _sizes(call: ImportedNode, shape: tuple[int, ...], axes: Sequence[int]) -> tuple[list[int], list[float]]:
    """The new extents of ``axes``, and the scales that coordinates are computed by."""
    scales = _numbers(call, 2, "the scales") if call.given(2) else ()
    if not call.given(3):
        return _scaled(shape, axes, scales), list(scales)
    if scales:
        raise OnnxError("scales and sizes are both given; leave one out")
    sizes = call.integers(3, "the sizes")
    if len(sizes) != len(axes) or any(n < 1 for n in sizes):
        raise OnnxError(f"the sizes must be {len(axes)} positive integers, one for each axis, got {sizes}")
    ratios = [n / shape[a] for a, n in zip(axes, sizes, strict=True)]
    policy = call.node.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return list(sizes), ratios
    if policy not in ("not_larger", "not_smaller"):
        raise OnnxError(
            f"attribute 'keep_aspect_ratio_policy' must be stretch, not_larger or not_smaller, got {policy!r}"
        )
    one = min(ratios) if policy == "not_larger" else max(ratios)
    return [int(one * shape[a] + 0.5) for a in axes], [one] * len(axes)


@writes("resize")
def write_resize(writing: ExportContext, node: Node) -> None:
    """``Resize``; products with the weights of an axis, or its picks, where the opset or float32 cannot say it."""
    (x,), attrs = node.inputs, node.attrs
    axes = interpolations(x.shape, attrs)
    if not axes:
        writing.make(node, "Identity", x)
        return
    scales = [_float32_scale(one) for _, one in axes]
    if _says(writing.opset, axes, scales):
        _write_whole(writing, node, scales)
    else:
        _write_axes(writing, node, [(axis, taps_of(one)) for axis, one in axes])


def _float32_scale(axis: Interpolation) -> float | None:
    """The scale as a number of a file from which the same size and coordinates follow; None where there is none."""
    scale = np.float32(axis.scale)
    same = float(scale) == axis.scale or axis.scale != axis.outputs / axis.size
    return float(scale) if same and int(np.floor(np.float32(axis.size) * scale)) == axis.outputs else None


def _says(opset: int, axes: Sequence[tuple[int, Interpolation]], scales: Sequence[float | None]) -> bool:
    """Whether ``Resize`` of that opset computes the same."""
    for (_, one), scale in zip(axes, scales, strict=True):
        if one.antialias and opset < _OLDEST_WITH_AXES:
            return False
        if one.transformation == "half_pixel_symmetric" and opset < 19:
            return False
        if one.transformation == "tf_half_pixel_for_nn" and opset >= 13:
            return False
        known = one.scale if scale is None else scale
        if one.mode == "nearest" and not _same(taps_of(one), taps_of(one._replace(single=False, scale=known))):
            return False
    by_scales = [scale is not None for scale in scales]
    by_sizes = [one.scale == one.outputs / one.size for _, one in axes]
    return all(by_scales) or all(by_sizes)


def _same(a: Taps, b: Taps) -> bool:
    return np.array_equal(a.places, b.places)


def _write_whole(writing: ExportContext, node: Node, scales: Sequence[float | None]) -> None:
    (x,), attrs, opset = node.inputs, node.attrs, writing.opset
    axes = attrs["axes"] if opset >= _OLDEST_WITH_AXES else tuple(range(x.spec.rank))
    place = {axis: i for i, axis in enumerate(attrs["axes"])}
    crops = [attrs["crops"][place[a]] if a in place else WHOLE for a in axes]
    cropped = attrs["transformation"] == CROP
    roi = [low for low, _ in crops] + [high for _, high in crops] if cropped else []
    region = writing.constant(np.array(roi, np.float32), "region") if roi or opset < 13 else ""
    options = _attributes(node, opset)
    if all(scale is not None for scale in scales):
        numbers = np.array([scales[place[a]] if a in place else 1.0 for a in axes], np.float32)
        writing.make(node, "Resize", x, region, writing.constant(numbers, "scales"), **options)
        return
    extents = [attrs["sizes"][place[a]] if a in place else x.shape[a] for a in axes]
    none = writing.constant(np.zeros(0, np.float32), "no_scales") if opset < 13 else ""
    writing.make(node, "Resize", x, region, none, _written_sizes(writing, node, axes, extents), **options)


def _attributes(node: Node, opset: int) -> _Attributes:
    attrs = node.attrs
    options: _Attributes = {"mode": attrs["mode"], "coordinate_transformation_mode": attrs["transformation"]}
    if opset >= _OLDEST_WITH_AXES:
        options["axes"] = attrs["axes"]
    if attrs["mode"] == "nearest":
        options["nearest_mode"] = attrs["rounding"]
    if attrs["mode"] == "cubic":
        options["cubic_coeff_a"] = attrs["cubic_coeff"]
    if attrs["exclude_outside"]:
        options["exclude_outside"] = 1
    if attrs["antialias"]:
        options["antialias"] = 1
    if attrs["transformation"] == CROP:
        options["extrapolation_value"] = attrs["extrapolation_value"]
    return options


def _written_sizes(writing: ExportContext, node: Node, axes: Sequence[int], extents: Sequence[int]) -> str:
    """The extents of ``axes``; the batch is that of the input, whatever it is, unless it is resized."""
    if 0 in node.attrs["axes"] or 0 not in axes:
        return writing.integers(extents, "sizes")
    batch = writing.step(node, "Slice", writing.step(node, "Shape", node.inputs[0]), *_first(writing))
    return writing.step(node, "Concat", batch, writing.integers(extents[1:], "sizes"), axis=0)


def _first(writing: ExportContext) -> tuple[str, str]:
    """Start and end of the first element."""
    return writing.integers([0], "starts"), writing.integers([1], "ends")


def _write_axes(writing: ExportContext, node: Node, axes: Sequence[tuple[int, Taps]]) -> None:
    """One axis after the other, the last one makes the result."""
    (x,), attrs = node.inputs, node.attrs
    rank = x.spec.rank
    if attrs["transformation"] == CROP or any(a < rank - 2 and not taps.picks for a, taps in axes):
        form = f"mode {attrs['mode']!r} with transformation {attrs['transformation']!r} along axes {attrs['axes']}"
        raise OnnxError(f"'{writing.label(node)}': {form} has no form at opset {writing.opset}; choose a newer one")
    source: Value | str = x
    for i, (axis, taps) in enumerate(axes):
        op, inputs, options = _axis_node(writing, source, axis - rank, taps)
        if i + 1 < len(axes):
            source = writing.step(node, op, *inputs, **options)
        else:
            writing.make(node, op, *inputs, **options)


def _axis_node(
    writing: ExportContext, source: Value | str, axis: int, taps: Taps
) -> tuple[str, tuple[Value | str, ...], _Attributes]:
    """The node that resizes ``axis``, counted from behind, the last or the one before it where it does not pick."""
    if taps.picks:
        return "Gather", (source, writing.integers(taps.places.tolist(), "places")), {"axis": axis}
    if axis == -1:
        return "MatMul", (source, writing.constant(_matrix(taps).T.copy(), "columns")), {}
    return "MatMul", (writing.constant(_matrix(taps), "rows"), source), {}


def _matrix(taps: Taps) -> np.ndarray:
    """(outputs, inputs) float32."""
    matrix = np.zeros((taps.outputs, taps.size), np.float32)
    matrix[taps.rows, taps.places] = taps.weights
    return matrix
