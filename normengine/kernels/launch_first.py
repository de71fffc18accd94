"""How the convolution of images with few channels is split, and what it costs."""

from __future__ import annotations

from .base import Launch, Problem
from .launch_tiles import panel_count, shares, sharing_cost, tiles_cost
from .launches import FLOAT, INT64, Convolution, Sizes, ceil_div

BAND_BYTES = 24576
"""Rows of an image, with borders, that are copied at a time."""
LEAST_PRODUCTS = 100_000
"""Multiplications below which a task is not worth to be handed out."""
MOST_CHANNELS = 8
MOST_BYTES = 1 << 20
"""Of a band's input: what dilation spreads further is left to other kernels."""
A_ROW, A_VECTOR = 24.0, 2.5
"""What it costs to begin a row of the copied input, and to copy a vector of it."""


def _band(p: Convolution, bands: int) -> tuple[int, int]:
    """Output rows of the largest band, and rows of the input that it reads."""
    rows = ceil_div(p.oh, bands)
    return rows, (rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1


def _pitch(p: Convolution) -> int:
    return (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1


def _bands(p: Convolution) -> int:
    """In as many bands as their input needs to stay in the L1 cache, and the few tasks of small batches."""
    row = p.c * _pitch(p) * FLOAT
    reach = (p.kh - 1) * p.dilation_h + 1
    rows = min(p.oh, max(1, (BAND_BYTES // row - reach) // p.stride_h + 1))
    products = p.oh * p.ow * p.oc * p.c * p.taps
    few = min(ceil_div(p.tasks, p.n), p.oh, max(1, products // LEAST_PRODUCTS))
    return max(ceil_div(p.oh, rows), few)


def few_channels(problem: Problem) -> bool:
    """Images of few channels, and copies of their rows that are not too large."""
    p = Convolution.of(problem)
    if p.groups > 1 or p.c > MOST_CHANNELS:
        return False
    return p.c * _band(p, _bands(p))[1] * _pitch(p) * FLOAT <= MOST_BYTES


def _sharing(p: Convolution) -> bool:
    return shares(p.ow, p.kw, p.dilation_w, p.stride_w)


def conv2d_first(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights and make tables of places, multiply."""
    p = Convolution.of(problem)
    bands, width = _bands(p), sizes["width"]
    blocks, sharing = ceil_div(p.oc, width), _sharing(p)
    panels = panel_count(blocks, sharing, sizes)
    rows, height = _band(p, bands)
    depth = p.c * p.taps
    return Launch(
        tasks=(panels, p.n * bands),
        scratch=blocks * width * depth * FLOAT + (depth + 2 * rows * p.ow) * INT64,
        workspace=(p.c * height * _pitch(p) + width) * FLOAT,
        extra=(bands, panels, int(sharing)),
    )


def conv2d_first_cost(problem: Problem, sizes: Sizes) -> float:
    p = Convolution.of(problem)
    width, bands, depth = sizes["width"], _bands(p), p.c * p.taps
    rows, height = _band(p, bands)
    blocks, sharing = ceil_div(p.oc, width), _sharing(p)
    panels = panel_count(blocks, sharing, sizes)
    runs = ceil_div(depth, max(1, sizes["first_run"] // p.kw) * p.kw)
    cost = 0.0
    for panel in range(panels):
        vectors = blocks * (panel + 1) // panels - blocks * panel // panels
        if sharing and sizes[f"taps_pixels_{vectors}"] > 0:
            cost += rows * sharing_cost(p.ow, p.kw, p.stride_w, vectors, p.c * p.kh, runs, sizes)
        else:
            cost += tiles_cost(rows * p.ow, 1, vectors, depth, runs, sizes)
    cost += p.c * height * (A_ROW + A_VECTOR * ceil_div(_pitch(p), width))
    return p.n * bands * cost + blocks * width * depth + rows * p.ow
