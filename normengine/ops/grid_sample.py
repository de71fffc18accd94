"""Images sampled where a grid says: spatial transformer networks (Jaderberg et al., 2015).

``y[n, c, p] = sum over q of w(q - u[n, p]) * x[n, c, q]`` for output pixels ``p``, where ``u`` are the grid's
coordinates in pixels: ``grid[..., 0]`` goes along the last axis of the image, ``grid[..., 1]`` along the one before it,
and -1 to 1 is from one end to the other, from and to the centers of the outermost pixels with ``align_corners``, their
outer edges without. NaN counts as -1. Outside, pixels are zero, those of the border, or those of the image mirrored at
its ends. Cubic weights are those of Keys, with -0.75. Coordinates beyond ``FAR`` count as that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .rules import all_inputs, only, real, require_float32, require_shape
from .table import register

Grads = Sequence["Value | None"]

MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")
CUBIC = -0.75
FAR = 1e6


class _Taps(NamedTuple):
    """For each sample along one axis: pixels, their weights, the derivatives of these by the grid's coordinate."""

    places: np.ndarray
    weights: np.ndarray
    slopes: np.ndarray
    valid: np.ndarray


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, grid = specs
    for name, value, choice in (("mode", attrs["mode"], MODES), ("padding mode", attrs["padding_mode"], PADDINGS)):
        if value not in choice:
            raise OperatorError(f"{name} must be one of {', '.join(choice)}, got {value!r}")
    require_float32("input", x)
    require_float32("grid", grid)
    if x.rank not in (4, 5):
        raise OperatorError(f"input must be (N, C, H, W) or (N, C, D, H, W), got shape {x.shape}")
    if grid.rank != x.rank or grid.shape[0] != x.shape[0] or grid.shape[-1] != x.rank - 2:
        wanted = ", ".join(["N", *(["D'"] if x.rank == 5 else []), "H'", "W'", str(x.rank - 2)])
        raise OperatorError(f"grid must be ({wanted}) for an input of shape {x.shape}, got shape {grid.shape}")
    return (Spec((*x.shape[:2], *grid.shape[1:-1])),)


def _reflected(u: np.ndarray, size: int, attrs: Attrs) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates mirrored at the ends until they lie inside, and whether they run backwards there (-1) or not."""
    low, span = (0.0, size - 1.0) if attrs["align_corners"] else (-0.5, float(size))
    if span == 0:
        return np.zeros(u.shape), np.zeros(u.shape)
    away, sign = np.abs(u - low), np.where(u < low, -1.0, 1.0)
    flips = np.floor(away / span)
    rest = away - flips * span
    backwards = flips % 2 == 1
    return low + np.where(backwards, span - rest, rest), np.where(backwards, -sign, sign)


def _inside(u: np.ndarray, size: int, attrs: Attrs) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates as the padding mode has them, and their derivatives."""
    slope = np.ones(u.shape)
    if attrs["padding_mode"] == "zeros":
        return u, slope
    if attrs["padding_mode"] == "reflection":
        u, slope = _reflected(u, size, attrs)
    return np.clip(u, 0, size - 1), np.where((u > 0) & (u < size - 1), slope, 0.0)


def _axis_taps(g: np.ndarray, size: int, attrs: Attrs) -> _Taps:
    g = np.clip(np.where(np.isnan(g), -1.0, g), -FAR, FAR)
    stretch = (size - 1) / 2 if attrs["align_corners"] else size / 2
    u = (g + 1) * stretch - (0.0 if attrs["align_corners"] else 0.5)
    mode = attrs["mode"]
    if mode == "cubic":
        first = np.floor(u)
        places, _ = _inside(first[..., None] + np.arange(-1, 3), size, attrs)
        weights, slopes = _cubic(first[..., None] + np.arange(-1, 3) - u[..., None])
    else:
        u, slope = _inside(u, size, attrs)
        if mode == "nearest":
            places = np.rint(u)[..., None]
            weights, slopes = np.ones(places.shape), np.zeros(places.shape)
        else:
            places = np.floor(u)[..., None] + np.arange(2)
            weights = np.stack([places[..., 1] - u, u - places[..., 0]], -1)
            slopes = slope[..., None] * np.array([-1.0, 1.0])
    valid = (places >= 0) & (places < size)
    return _Taps(np.where(valid, places, 0).astype(np.int64), weights, slopes * stretch, valid)


def _cubic(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of pixels ``s`` behind the coordinate, and their derivatives by the coordinate."""
    a, d = CUBIC, np.abs(s)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    near_slope, far_slope = (3 * (a + 2) * d - 2 * (a + 3)) * d, (3 * a * d - 10 * a) * d + 8 * a
    return np.where(d <= 1, near, far), -np.sign(s) * np.where(d <= 1, near_slope, far_slope)


def _taps(grid: np.ndarray, sizes: Sequence[int], attrs: Attrs) -> list[_Taps]:
    """Those of each axis of the image, in its order."""
    return [_axis_taps(grid[..., -1 - axis], size, attrs) for axis, size in enumerate(sizes)]


def _combinations(axes: Sequence[_Taps]) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray, list[np.ndarray]]]:
    """Each pixel of the windows: its place, its weight, and the derivatives of that by each axis' coordinate."""
    for each in itertools.product(*(range(taps.places.shape[-1]) for taps in axes)):
        chosen = [_Taps(*(part[..., k] for part in taps)) for taps, k in zip(axes, each, strict=True)]
        valid = np.logical_and.reduce([taps.valid for taps in chosen])
        weight = np.where(valid, np.multiply.reduce([taps.weights for taps in chosen]), 0)
        slopes = [
            np.where(valid, np.multiply.reduce([t.slopes if i == j else t.weights for j, t in enumerate(chosen)]), 0)
            for i in range(len(chosen))
        ]
        yield tuple(taps.places for taps in chosen), weight, slopes


def _pixels(x: np.ndarray, places: tuple[np.ndarray, ...], n: int) -> np.ndarray:
    """(C, ...) of one image."""
    return x[n][(slice(None), *(p[n] for p in places))]


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, grid = map(real, arrays)
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for places, weight, _ in _combinations(_taps(grid, x.shape[2:], attrs)):
        for n in range(len(x)):
            y[n] += np.where(weight[n] != 0, _pixels(x, places, n), 0) * weight[n]
    return (y,)


def _gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    x, grid = node.inputs
    dy = only(grads)
    return [
        builder.add("grid_sample_input_grad", dy, grid, **node.attrs, input_size=x.shape[2:]),
        builder.add("grid_sample_grid_grad", dy, x, grid, **node.attrs),
    ]


def _input_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, grid = specs
    require_float32("output gradient", dy)
    x = Spec((*dy.shape[:2], *attrs["input_size"]))
    require_shape("output gradient", dy, _infer([x, grid], attrs)[0].shape)
    return (x,)


def _input_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, grid = map(real, arrays)
    dx = np.zeros((*dy.shape[:2], *attrs["input_size"]))
    for places, weight, _ in _combinations(_taps(grid, dx.shape[2:], attrs)):
        for n in range(len(dx)):
            np.add.at(dx[n], (slice(None), *(p[n] for p in places)), dy[n] * weight[n])
    return (dx,)


def _grid_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, x, grid = specs
    require_float32("output gradient", dy)
    require_shape("output gradient", dy, _infer([x, grid], attrs)[0].shape)
    return (grid,)


def _grid_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, x, grid = map(real, arrays)
    dgrid = np.zeros(grid.shape)
    for places, _, slopes in _combinations(_taps(grid, x.shape[2:], attrs)):
        for n in range(len(x)):
            flow = (dy[n] * _pixels(x, places, n)).sum(axis=0)
            for axis, slope in enumerate(slopes):
                dgrid[n, ..., -1 - axis] += flow * slope[n]
    return (dgrid,)


def affine_points(sizes: Sequence[int], align_corners: bool) -> np.ndarray:
    """The pixels of an image or volume as columns (x, y, 1) or (x, y, z, 1) float32, in the grid's coordinates."""
    lines = [
        np.linspace(-1.0, 1.0, n) * (1.0 if align_corners else (n - 1) / n) if n > 1 else np.zeros(1) for n in sizes
    ]
    axes = [axis.reshape(-1) for axis in np.meshgrid(*lines, indexing="ij")]
    return np.stack([*reversed(axes), np.ones(len(axes[0]))]).astype(np.float32)


def _operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    """Two for each pixel of each window."""
    grid = inputs[-1]
    window = {"nearest": 1, "linear": 2, "cubic": 4}[attrs["mode"]] ** grid[-1]
    return 2 * window * inputs[0][1] * prod(grid[:-1])


def _attrs(mode: str = "linear", padding_mode: str = "zeros", align_corners: bool = False) -> Attrs:
    return {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}


_PROBLEMS: tuple[tuple[tuple[int, ...], tuple[int, ...], Attrs], ...] = (
    *(
        ((2, 3, 5, 6), (2, 4, 3, 2), _attrs(mode, padding, corners))
        for mode in MODES
        for padding in PADDINGS
        for corners in (False, True)
    ),
    ((1, 17, 1, 4), (1, 3, 5, 2), _attrs("linear", "reflection", True)),
    ((2, 2, 3, 4, 5), (2, 2, 3, 3, 3), _attrs("linear", "reflection")),
    ((1, 2, 3, 2, 4), (1, 2, 2, 3, 3), _attrs("linear", "border", True)),
    ((1, 2, 3, 4, 5), (1, 2, 3, 3, 3), _attrs("nearest")),
    ((1, 2, 3, 4, 2), (1, 2, 1, 3, 3), _attrs("cubic")),
)


def _cases(grads: int) -> tuple[Case, ...]:
    """Of the operator (0), of the gradient of the input (1) and that of the grid (2)."""
    found = []
    for shape, grid, attrs in _PROBLEMS:
        dy = (*shape[:2], *grid[1:-1])
        shapes = ((shape, grid), (dy, grid), (dy, shape, grid))[grads]
        found.append(Case(shapes, {**attrs, "input_size": shape[2:]} if grads == 1 else attrs))
    return tuple(found)


register(
    Op(
        "grid_sample",
        _infer,
        _reference,
        _gradient,
        cases=lambda: _cases(0),
        kind="resampling",
        operations=_operations,
        samples=all_inputs,
        evaluator_is_exact=False,  # it does not know the names that modes had before opset 20
    ),
    Op(
        "grid_sample_input_grad",
        _input_grad_infer,
        _input_grad_reference,
        cases=lambda: _cases(1),
        kind="resampling",
        operations=_operations,
        samples=all_inputs,
    ),
    Op(
        "grid_sample_grid_grad",
        _grid_grad_infer,
        _grid_grad_reference,
        cases=lambda: _cases(2),
        kind="resampling",
        operations=_operations,
        samples=all_inputs,
    ),
)
