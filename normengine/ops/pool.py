"""Pooling over windows ``(N, C, H, W) -> (N, C, OH, OW)``: maximum, average, and adaptive average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .carries import Carries, along_axes, of_channels, where_padded_with_nothing, where_positive
from .rules import all_inputs, only, real, require_layout, require_positive, require_shape
from .table import register
from .window import SIDES, Extents, Pair, check_pixels, check_window, output_size, positions, taps

Grads = Sequence["Value | None"]


def _image_size(spec: Spec | np.ndarray) -> Pair:
    return spec.shape[2], spec.shape[3]


def check_padding(padding: Extents, kernel: Extents, dilation: Extents) -> None:
    """No window may lie in the padding alone."""
    rank = len(kernel)
    if any(side > dilation[i % rank] * (kernel[i % rank] - 1) for i, side in enumerate(padding)):
        raise OperatorError(f"padding {padding} ({SIDES[rank]}) must be smaller than the kernel {kernel}")


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_layout("input", x, "(N, C, H, W)")
    kernel, padding = attrs["kernel_size"], attrs["padding"]
    check_window(attrs, kernel)
    check_padding(padding, kernel, attrs.get("dilation", (1, 1)))
    return (Spec((*x.shape[:2], *output_size(_image_size(x), attrs, kernel))),)


def _choices(x: np.ndarray, attrs: Attrs) -> tuple[np.ndarray, np.ndarray]:
    """The maxima, and which tap (counted along rows) holds each: the first of equal ones, -1 where there is none."""
    kernel = attrs["kernel_size"]
    size = output_size(_image_size(x), attrs, kernel)
    best: np.ndarray = np.full((*x.shape[:2], *size), -np.inf)
    chosen: np.ndarray = np.full(best.shape, -1)
    for row, column, made, read in taps(attrs, kernel, _image_size(x), size):
        value = x[read]
        better = (chosen[made] < 0) | (value > best[made]) | np.isnan(value)
        best[made] = np.where(better, value, best[made])
        chosen[made] = np.where(better, row * kernel[1] + column, chosen[made])
    return best, chosen


def _max_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (_choices(real(arrays[0]), attrs)[0],)


def _max_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("max_pool2d_grad", only(grads), node.inputs[0], **node.attrs)]


def _max_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, x = specs
    (y,) = _infer([x], attrs)
    require_layout("output gradient", dy, "(N, C, OH, OW)")
    require_shape("output gradient", dy, y.shape)
    return (x,)


def _max_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, x = map(real, arrays)
    kernel, chosen, dx = attrs["kernel_size"], _choices(x, attrs)[1], np.zeros(x.shape)
    for row, column, made, read in taps(attrs, kernel, _image_size(x), _image_size(dy)):
        dx[read] += np.where(chosen[made] == row * kernel[1] + column, dy[made], 0.0)
    return (dx,)


def divisors(size: Extents, attrs: Attrs) -> np.ndarray:
    """Values that each average divides by: those of the window inside the image, or inside image and padding."""
    kernel, rank = attrs["kernel_size"], len(size)
    counts: np.ndarray = np.ones((), np.int64)
    for axis, count in enumerate(positions(size, attrs, kernel)):
        before, after = attrs["padding"][axis], attrs["padding"][axis + rank]
        start = np.arange(count) * attrs["stride"][axis] - before
        if attrs["count_include_pad"]:
            own = np.minimum(start + kernel[axis], size[axis] + after) - start
        else:
            own = np.minimum(start + kernel[axis], size[axis]) - np.maximum(start, 0)
        counts = np.multiply.outer(counts, own)
    return counts


def _avg_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x = real(arrays[0])
    kernel, size = attrs["kernel_size"], output_size(_image_size(x), attrs, attrs["kernel_size"])
    total = np.zeros((*x.shape[:2], *size))
    for _, _, made, read in taps(attrs, kernel, _image_size(x), size):
        total[made] += x[read]
    return (total / divisors(_image_size(x), attrs),)


def _avg_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    size = node.inputs[0].shape[2:]
    return [builder.add("avg_pool2d_grad", only(grads), **node.attrs, input_size=size)]


def _avg_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (dy,) = specs
    require_layout("output gradient", dy, "(N, C, OH, OW)")
    x = Spec((*dy.shape[:2], *attrs["input_size"]))
    (y,) = _infer([x], attrs)
    require_shape("output gradient", dy, y.shape)
    return (x,)


def _avg_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, size = real(arrays[0]), attrs["input_size"]
    dx = np.zeros((*dy.shape[:2], *size))
    share = dy / divisors(size, attrs)
    for _, _, made, read in taps(attrs, attrs["kernel_size"], size, _image_size(dy)):
        dx[read] += share[made]
    return (dx,)


def _adaptive_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_layout("input", x, "(N, C, H, W)")
    require_positive("output size", attrs["output_size"])
    check_pixels("the input", _image_size(x))
    check_pixels("the output", attrs["output_size"])
    return (Spec((*x.shape[:2], *attrs["output_size"])),)


def _regions(size: Pair, positions: Pair) -> Iterator[tuple[int, int, tuple[Any, slice, slice]]]:
    """Rows ``floor(i H / OH)`` up to ``ceil((i + 1) H / OH)``, columns alike, of each output pixel."""

    def span(i: int, extent: int, count: int) -> slice:
        return slice(i * extent // count, -(-(i + 1) * extent // count))

    for p in range(positions[0]):
        for q in range(positions[1]):
            yield p, q, (..., span(p, size[0], positions[0]), span(q, size[1], positions[1]))


def _adaptive_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x = real(arrays[0])
    y = np.empty((*x.shape[:2], *attrs["output_size"]))
    for p, q, region in _regions(_image_size(x), attrs["output_size"]):
        y[..., p, q] = x[region].mean(axis=(2, 3))
    return (y,)


def _adaptive_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    size = node.inputs[0].shape[2:]
    return [builder.add("adaptive_avg_pool2d_grad", only(grads), input_size=size, **node.attrs)]


def _adaptive_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (dy,) = specs
    require_layout("output gradient", dy, "(N, C, OH, OW)")
    x = Spec((*dy.shape[:2], *attrs["input_size"]))
    (y,) = _adaptive_infer([x], attrs)
    require_shape("output gradient", dy, y.shape)
    return (x,)


def _adaptive_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy = real(arrays[0])
    dx = np.zeros((*dy.shape[:2], *attrs["input_size"]))
    for p, q, region in _regions(attrs["input_size"], attrs["output_size"]):
        part = dx[region]
        part += dy[..., p, q, None, None] / (part.shape[2] * part.shape[3])
    return (dx,)


def _operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    """One for each tap of a window, or for each pixel of the larger image where windows differ."""
    whole, pooled = sorted((prod(inputs[0]), prod(outputs[0])), reverse=True)
    return pooled * prod(attrs["kernel_size"]) if "kernel_size" in attrs else whole


def _pooling(
    name: str,
    infer: Callable[[Sequence[Spec], Attrs], tuple[Spec, ...]],
    reference: Callable[[Arrays, Attrs], tuple[np.ndarray, ...]],
    gradient: Callable[[Builder, Node, Grads], Grads] | None = None,
    cases: Callable[[], tuple[Case, ...]] = tuple,
    tolerance: float = 1e-5,
    carries: Carries | None = None,
) -> Op:
    return Op(
        name,
        infer,
        reference,
        gradient,
        cases=cases,
        tolerance=tolerance,
        kind="pooling",
        operations=_operations,
        samples=all_inputs,
        carries=carries,
    )


def _window(
    kernel: Pair,
    stride: Pair,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
    **more: object,
) -> dict[str, Any]:
    return {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, **more}


_MAX = tuple(
    (shape, _window(kernel, stride, padding, ceil_mode, dilation=dilation))
    for shape, kernel, stride, padding, dilation, ceil_mode in (
        ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), False),
        ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), False),
        ((1, 17, 7, 9), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False),
        ((2, 2, 7, 7), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), True),
        ((1, 3, 8, 6), (3, 2), (2, 1), (0, 0, 1, 1), (1, 1), False),
        ((1, 2, 9, 9), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), False),
        ((1, 2, 6, 5), (2, 2), (3, 3), (1, 1, 1, 1), (1, 1), True),
        ((2, 3, 1, 2), (4, 4), (4, 4), (1, 1, 1, 1), (1, 1), True),
        ((1, 4, 5, 5), (5, 5), (5, 5), (0, 0, 0, 0), (1, 1), False),
        ((2, 3, 5, 5), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), False),
    )
)
_AVG = tuple(
    (shape, _window(kernel, stride, padding, ceil_mode, count_include_pad=count_include_pad))
    for shape, kernel, stride, padding, ceil_mode, count_include_pad in (
        ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0, 0, 0), False, True),
        ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0, 0, 0), False, True),
        ((1, 17, 7, 9), (3, 3), (2, 2), (1, 1, 1, 1), False, True),
        ((1, 17, 7, 9), (3, 3), (2, 2), (1, 1, 1, 1), False, False),
        ((2, 2, 7, 8), (3, 3), (2, 2), (1, 1, 1, 1), True, True),
        ((2, 2, 6, 8), (3, 3), (2, 2), (1, 1, 1, 1), True, False),
        ((1, 3, 8, 6), (3, 2), (2, 1), (0, 0, 1, 1), False, False),
        ((1, 2, 4, 5), (2, 2), (3, 3), (0, 0, 0, 0), True, True),
        ((2, 3, 1, 2), (4, 4), (4, 4), (1, 1, 1, 1), True, True),
        ((2, 3, 1, 2), (4, 4), (4, 4), (1, 1, 1, 1), True, False),
        ((1, 8, 4, 4), (4, 4), (4, 4), (0, 0, 0, 0), False, True),
    )
)
_ADAPTIVE = (
    ((1, 1, 1, 1), (1, 1)),
    ((2, 3, 8, 8), (1, 1)),
    ((1, 17, 7, 9), (1, 1)),
    ((2, 3, 8, 6), (4, 3)),
    ((1, 2, 7, 5), (3, 4)),
    ((1, 2, 3, 2), (5, 7)),
)


def _output_shape(shape: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    return _infer([Spec(shape)], attrs)[0].shape


register(
    _pooling(
        "max_pool2d",
        _infer,
        _max_reference,
        _max_gradient,
        cases=lambda: tuple(Case((shape,), attrs) for shape, attrs in _MAX),
        tolerance=0.0,
        carries=along_axes(of_channels, where_positive),
    ),
    _pooling(
        "max_pool2d_grad",
        _max_grad_infer,
        _max_grad_reference,
        cases=lambda: tuple(Case((_output_shape(shape, attrs), shape), attrs) for shape, attrs in _MAX),
    ),
    _pooling(
        "avg_pool2d",
        _infer,
        _avg_reference,
        _avg_gradient,
        cases=lambda: tuple(Case((shape,), attrs) for shape, attrs in _AVG),
        carries=along_axes(of_channels, where_padded_with_nothing),
    ),
    _pooling(
        "avg_pool2d_grad",
        _avg_grad_infer,
        _avg_grad_reference,
        cases=lambda: tuple(
            Case((_output_shape(shape, attrs),), {**attrs, "input_size": shape[2:]}) for shape, attrs in _AVG
        ),
    ),
    _pooling(
        "adaptive_avg_pool2d",
        _adaptive_infer,
        _adaptive_reference,
        _adaptive_gradient,
        cases=lambda: tuple(Case((shape,), {"output_size": size}) for shape, size in _ADAPTIVE),
        carries=along_axes(of_channels),
    ),
    _pooling(
        "adaptive_avg_pool2d_grad",
        _adaptive_grad_infer,
        _adaptive_grad_reference,
        cases=lambda: tuple(
            Case(((*shape[:2], *size),), {"input_size": shape[2:], "output_size": size}) for shape, size in _ADAPTIVE
        ),
    ),
)
