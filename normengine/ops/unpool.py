"""Where the maxima of windows lie, and what puts values back there: the two ends of unpooling (Zeiler and Fergus,
2014).

``max_pool2d_places`` gives, for each window of ``max_pool2d``, the pixel of its maximum, the first of equal ones,
counted along the rows of its plane, or along its columns with ``column_major``. ``max_unpool2d`` makes planes of
``output_size`` that are 0 but for the values of x at their places, the last of those that share one; ``at_places``
takes values from there again. Shapes: x ``(N, C, H, W)``, places ``(N, C, OH, OW)`` float32, which holds whole numbers
exactly up to ``MAX_PLACE``. Places outside of the plane are left out, or give 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .pool import check_padding
from .rules import all_inputs, only, real, require_layout, require_positive, require_shape
from .table import register
from .window import check_pixels, check_window, output_size, taps

MAX_PLACE = 2**24
"""The most pixels of a plane whose places float32 tells apart."""


def _check_plane(name: str, height: int, width: int) -> None:
    if height * width > MAX_PLACE:
        raise OperatorError(f"{name} has {height} x {width} pixels, places are told apart among {MAX_PLACE} at most")


def _places_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_layout("input", x, "(N, C, H, W)")
    kernel, height, width = attrs["kernel_size"], *x.shape[2:]
    check_window(attrs, kernel)
    check_padding(attrs["padding"], kernel, attrs["dilation"])
    _check_plane("the input", height, width)
    return (Spec((*x.shape[:2], *output_size((height, width), attrs, kernel))),)


def _places_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, kernel = real(arrays[0]), attrs["kernel_size"]
    height, width = x.shape[2:]
    size = output_size((height, width), attrs, kernel)
    rows, columns = np.indices((height, width))
    own = (columns * height + rows if attrs["column_major"] else rows * width + columns).astype(np.float64)
    best = np.full((*x.shape[:2], *size), -np.inf)
    places = np.full(best.shape, -1.0)
    for _, _, made, read in taps(attrs, kernel, (height, width), size):
        value = x[read]
        better = (places[made] < 0) | (value > best[made]) | np.isnan(value)
        best[made] = np.where(better, value, best[made])
        places[made] = np.where(better, own[read], places[made])
    return (places,)


def _unpool_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, places = specs
    height, width = attrs["output_size"]
    require_layout("input", x, "(N, C, H, W)")
    require_layout("places", places, "(N, C, H, W)")
    require_shape("places", places, x.shape)
    require_positive("output size", (height, width))
    check_pixels("the output", (height, width))
    _check_plane("the output", height, width)
    return (Spec((*x.shape[:2], height, width)),)


def _inside(places: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Which places are inside of the plane, and all of them as indices, 0 where they are not."""
    inside = (places >= 0) & (places < pixels)
    return inside, np.where(inside, places, 0).astype(np.int64)


def _unpool_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, places = map(real, arrays)
    height, width = attrs["output_size"]
    y = np.zeros((x.shape[0] * x.shape[1], height * width))
    inside, index = _inside(places, height * width)
    for plane, values, at, kept in zip(y, *(a.reshape(len(y), -1) for a in (x, index, inside)), strict=True):
        for value, place in zip(values[kept], at[kept], strict=True):
            plane[place] = value
    return (y.reshape(*x.shape[:2], height, width),)


def _unpool_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    """As in PyTorch, of values that share a place each gets what is there."""
    return [builder.add("at_places", only(grads), node.inputs[1]), None]


def _at_places_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, places = specs
    require_layout("input", x, "(N, C, H, W)")
    require_layout("places", places, "(N, C, OH, OW)")
    require_shape("places", places, (*x.shape[:2], *places.shape[2:]))
    _check_plane("the input", *x.shape[2:])
    return (places,)


def _at_places_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, places = map(real, arrays)
    pixels = x.shape[2] * x.shape[3]
    inside, index = _inside(places, pixels)
    flat = index.reshape(*places.shape[:2], -1)
    values = np.take_along_axis(x.reshape(*x.shape[:2], pixels), flat, axis=2).reshape(places.shape)
    return (np.where(inside, values, 0.0),)


def _window(kernel: int, stride: int, padding: int = 0, dilation: int = 1, ceil_mode: bool = False) -> Attrs:
    return {
        "kernel_size": (kernel, kernel),
        "stride": (stride, stride),
        "padding": (padding,) * 4,
        "dilation": (dilation, dilation),
        "ceil_mode": ceil_mode,
        "column_major": False,
    }


def _places_of(*shape: int, pixels: int) -> Case:
    """Places of which each plane has every one once at most, and one that is outside."""

    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        x = rng.standard_normal(shape).astype(np.float32)
        rows = x.reshape(-1, shape[2] * shape[3])
        places = np.stack([rng.permutation(pixels)[: rows.shape[1]] for _ in rows]).astype(np.float32)
        places[0, 0] = pixels
        return [x, places.reshape(shape)]

    return Case(draw=draw, attrs={"output_size": (pixels // 3, 3)}, differentiable=False)


def _draw_from(rng: np.random.Generator) -> Sequence[np.ndarray]:
    places = rng.integers(-1, 22, (2, 3, 2, 5)).astype(np.float32)
    return [rng.standard_normal((2, 3, 4, 5)).astype(np.float32), places]


register(
    Op(
        "max_pool2d_places",
        _places_infer,
        _places_reference,
        cases=lambda: (
            Case(((1, 1, 1, 1),), _window(1, 1), differentiable=False),
            Case(((2, 3, 8, 7),), _window(2, 2), differentiable=False),
            Case(((2, 3, 8, 7),), {**_window(3, 2, 1), "column_major": True}, differentiable=False),
            Case(((1, 17, 7, 9),), _window(2, 1, 1, 3, True), differentiable=False),
        ),
        tolerance=0.0,
        kind="pooling",
        samples=all_inputs,
    ),
    Op(
        "max_unpool2d",
        _unpool_infer,
        _unpool_reference,
        _unpool_gradient,
        cases=lambda: (_places_of(2, 3, 2, 3, pixels=21), _places_of(1, 17, 3, 3, pixels=9)),
        tolerance=0.0,
        kind="pooling",
        samples=all_inputs,
    ),
    Op(
        "at_places",
        _at_places_infer,
        _at_places_reference,
        cases=lambda: (Case(draw=_draw_from, differentiable=False),),
        tolerance=0.0,
        kind="pooling",
        samples=all_inputs,
    ),
)
