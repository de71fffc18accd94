"""Sampling where a grid says, a block of outputs after the other: first the windows of all, then what they do in each
channel.

``workspace`` has for each of three axes, the first of which images of two have not: four pixels (-1 for none), four
weights, four derivatives of these by the grid's coordinate, all of one output; then how many pixels the window of each
output has; then, for each of them, its place in a plane, its weight, and the derivatives of that along the width, the
height and the depth.
"""

from __future__ import annotations

import math

import numpy as np

from ..base import Launch, Problem
from .build import Array, portable

_BLOCK = 128
"""Outputs of a block."""
_CHANNELS = 16
"""Channels of a task of the gradient of the input."""
_COUNTS = 3 * 12
_PLACES = _COUNTS + _BLOCK


def mirrored(u: float, low: float, span: float) -> float:
    """A coordinate mirrored at both ends of an axis until it lies inside."""
    if span == 0.0:
        return 0.0
    away = abs(u - low)
    flips = math.floor(away / span)
    rest = away - flips * span
    return low + (span - rest if flips % 2 == 1 else rest)


def backwards(u: float, low: float, span: float) -> float:
    """The derivative of that: 1 or -1, 0 for an axis without extent."""
    if span == 0.0:
        return 0.0
    flips = math.floor(abs(u - low) / span)
    return -1.0 if (flips % 2 == 1) != (u < low) else 1.0


def pixel(u: float, size: int, padding: int, low: float, span: float) -> float:
    """The pixel at a whole coordinate, -1 for none."""
    if padding == 2:
        u = mirrored(u, low, span)
    if padding != 0:
        u = min(max(u, 0.0), np.float64(size - 1))
    return u if 0.0 <= u < size else -1.0


def cubic(d: float) -> float:
    """The weight of a pixel at the distance."""
    if d <= 1.0:
        return (1.25 * d - 2.25) * d * d + 1.0
    return ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0


def cubic_slope(d: float) -> float:
    """The derivative of that."""
    if d <= 1.0:
        return (3.75 * d - 4.5) * d
    return (-2.25 * d + 7.5) * d - 6.0


def axis_taps(taps: Array, at: int, given: float, size: int, mode: int, padding: int, corners: int) -> None:
    """Fills in the pixels, weights and derivatives of one axis for one coordinate of the grid."""
    g = min(max(given if given == given else -1.0, -1e6), 1e6)
    stretch = (size - 1) / 2.0 if corners else size / 2.0
    low = 0.0 if corners else -0.5
    span = 2.0 * stretch
    u = (g + 1.0) * stretch + low
    for k in range(12):
        taps[at + k] = -1.0 if k < 4 else 0.0
    if mode > 1:
        first = math.floor(u) - 1.0
        for k in range(4):
            s = first + k - u
            taps[at + k] = pixel(first + k, size, padding, low, span)
            taps[at + 4 + k] = cubic(abs(s))
            taps[at + 8 + k] = (cubic_slope(abs(s)) if s < 0.0 else -cubic_slope(abs(s))) * stretch
    else:
        slope = stretch
        if padding == 2:
            slope *= backwards(u, low, span)
            u = mirrored(u, low, span)
        if padding != 0:
            if u <= 0.0 or u >= size - 1:
                slope = 0.0
            u = min(max(u, 0.0), np.float64(size - 1))
        if mode == 1:
            taps[at] = pixel(np.rint(u), size, 0, low, span)
            taps[at + 4] = 1.0
        else:
            first = np.float64(math.floor(u))
            taps[at] = pixel(first, size, 0, low, span)
            taps[at + 1] = pixel(first + 1.0, size, 0, low, span)
            taps[at + 4] = first + 1.0 - u
            taps[at + 5] = u - first
            taps[at + 8] = -slope
            taps[at + 9] = slope


def reach_of(mode: int) -> int:
    """Pixels of a window along an axis."""
    return 4 if mode > 1 else 2 - mode


def window(
    taps: Array, pixel: int, most: int, grid: Array, sample: int, dims: int, D: int, H: int, W: int, mode: int,
    padding: int, corners: int,
) -> None:  # fmt: skip
    """Fills in all axes for one output, then the pixels of its window that there are."""
    place = sample * dims
    axis_taps(taps, 24, np.float64(grid[place]), W, mode, padding, corners)
    axis_taps(taps, 12, np.float64(grid[place + 1]), H, mode, padding, corners)
    reach = reach_of(mode)
    deep = reach
    if dims == 3:
        axis_taps(taps, 0, np.float64(grid[place + 2]), D, mode, padding, corners)
    else:
        deep = 1
        taps[0], taps[4], taps[8] = 0.0, 1.0, 0.0
    step = _BLOCK * most
    e = _PLACES + pixel * most
    count = 0
    for i in range(deep):
        for j in range(reach):
            for k in range(reach):
                if taps[i] >= 0.0 and taps[12 + j] >= 0.0 and taps[24 + k] >= 0.0:
                    d, h, w = taps[4 + i], taps[16 + j], taps[28 + k]
                    taps[e + count] = (taps[i] * H + taps[12 + j]) * W + taps[24 + k]
                    taps[e + step + count] = d * h * w
                    taps[e + 2 * step + count] = d * h * taps[32 + k]
                    taps[e + 3 * step + count] = d * taps[20 + j] * w
                    taps[e + 4 * step + count] = taps[8 + i] * h * w
                    count += 1
    taps[_COUNTS + pixel] = np.float64(count)


def grid_sample(
    x: Array, grid: Array, y: Array, C: int, D: int, H: int, W: int, OD: int, OH: int, OW: int, dims: int, mode: int,
    padding: int, corners: int, workspace: Array, begin: int, end: int,
) -> None:  # fmt: skip
    """Each output is the weighted sum of its window. A task is a block of outputs of one image."""
    outputs = OD * OH * OW
    blocks = (outputs + _BLOCK - 1) // _BLOCK
    most = reach_of(mode) ** dims
    for task in range(begin, end):
        n = task // blocks
        first = task % blocks * _BLOCK
        count = min(_BLOCK, outputs - first)
        for p in range(count):
            window(workspace, p, most, grid, n * outputs + first + p, dims, D, H, W, mode, padding, corners)
        for c in range(n * C, (n + 1) * C):
            for p in range(count):
                total = 0.0
                at = _PLACES + p * most
                for e in range(at, at + np.int64(workspace[_COUNTS + p])):
                    w = workspace[e + _BLOCK * most]
                    if w != 0.0:
                        total += w * np.float64(x[c * D * H * W + np.int64(workspace[e])])
                y[c * outputs + first + p] = np.float32(total)


def grid_sample_input_grad(
    dy: Array, grid: Array, dx: Array, C: int, D: int, H: int, W: int, OD: int, OH: int, OW: int, dims: int, mode: int,
    padding: int, corners: int, workspace: Array, begin: int, end: int,
) -> None:  # fmt: skip
    """Each output's gradient goes to the pixels of its window. A task is some channels of one image."""
    outputs = OD * OH * OW
    parts = (C + _CHANNELS - 1) // _CHANNELS
    most = reach_of(mode) ** dims
    for task in range(begin, end):
        n = task // parts
        low = n * C + task % parts * _CHANNELS
        high = min(low + _CHANNELS, (n + 1) * C)
        for i in range(low * D * H * W, high * D * H * W):
            dx[i] = np.float32(0)
        for first in range(0, outputs, _BLOCK):
            count = min(_BLOCK, outputs - first)
            for p in range(count):
                window(workspace, p, most, grid, n * outputs + first + p, dims, D, H, W, mode, padding, corners)
            for c in range(low, high):
                for p in range(count):
                    flow = np.float64(dy[c * outputs + first + p])
                    at = _PLACES + p * most
                    for e in range(at, at + np.int64(workspace[_COUNTS + p])):
                        w = workspace[e + _BLOCK * most]
                        if w != 0.0:
                            dx[c * D * H * W + np.int64(workspace[e])] += np.float32(w * flow)


def grid_sample_grid_grad(
    dy: Array, x: Array, grid: Array, dgrid: Array, C: int, D: int, H: int, W: int, OD: int, OH: int, OW: int,
    dims: int, mode: int, padding: int, corners: int, workspace: Array, begin: int, end: int,
) -> None:  # fmt: skip
    """How each output moves with its coordinates, times its gradient, over the channels. A task is a block of outputs
    of one image; what flows to each pixel of a window takes the place of its weight."""
    outputs = OD * OH * OW
    blocks = (outputs + _BLOCK - 1) // _BLOCK
    most = reach_of(mode) ** dims
    step = _BLOCK * most
    for task in range(begin, end):
        n = task // blocks
        first = task % blocks * _BLOCK
        count = min(_BLOCK, outputs - first)
        for p in range(count):
            window(workspace, p, most, grid, n * outputs + first + p, dims, D, H, W, mode, padding, corners)
        for e in range(_PLACES + step, _PLACES + 2 * step):
            workspace[e] = 0.0
        for c in range(n * C, (n + 1) * C):
            for p in range(count):
                out = np.float64(dy[c * outputs + first + p])
                at = _PLACES + p * most
                for e in range(at, at + np.int64(workspace[_COUNTS + p])):
                    workspace[e + step] += out * np.float64(x[c * D * H * W + np.int64(workspace[e])])
        for p in range(count):
            at = _PLACES + p * most
            for axis in range(dims):
                along = 0.0
                for e in range(at, at + np.int64(workspace[_COUNTS + p])):
                    along += workspace[e + step] * workspace[e + (2 + axis) * step]
                dgrid[(n * outputs + first + p) * dims + axis] = np.float32(along)


def _bytes(problem: Problem) -> int:
    grid = problem.inputs[-1]
    assert grid is not None
    window = {"linear": 2, "nearest": 1, "cubic": 4}[problem.attrs["mode"]] ** grid[-1]
    return 8 * (_PLACES + 5 * _BLOCK * window)


def _blocks(problem: Problem) -> Launch:
    grid = problem.inputs[-1]
    assert grid is not None
    return Launch((grid[0] * -(-math.prod(grid[1:-1]) // _BLOCK),), workspace=_bytes(problem))


def _channels(problem: Problem) -> Launch:
    n, c = problem.outputs[0][:2]
    return Launch((n * -(-c // _CHANNELS),), workspace=_bytes(problem))


portable("grid_sample", _blocks, grid_sample)
portable("grid_sample_input_grad", _channels, grid_sample_input_grad)
portable("grid_sample_grid_grad", _blocks, grid_sample_grid_grad)
