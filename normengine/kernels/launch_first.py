"""How the convolution of images with few channels is split, and what it costs."""

from __future__ import annotations

from .base import Launch, Problem
from .launches import FLOAT, INT64, Convolution, Sizes, ceil_div

BAND_BYTES = 24576
"""Rows of an image, with borders, that are copied at a time."""
INT32 = 4
LEAST_PRODUCTS = 100_000
"""Multiplications below which a task is not worth to be handed out."""
MOST_CHANNELS = 8
MOST_BYTES = 1 << 20
"""Of a band's input: what dilation spreads further is left to other kernels."""
A_TILE, A_ROW, A_VECTOR = 30.0, 24.0, 2.5
"""What it costs to begin a tile and a row of the copied input, and to store a vector or copy one."""
A_STEP, A_LOAD = 1.06, 1.15
"""The cost of a multiply-add, and that of a broadcast value or a vector of weights where there are more of them."""


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


def conv2d_first(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights and make tables of addresses, multiply."""
    p = Convolution.of(problem)
    bands, width = _bands(p), sizes["width"]
    blocks = ceil_div(p.oc, width)
    rows, height = _band(p, bands)
    depth = p.c * p.taps
    tables = depth * INT64 + (rows * p.ow + sizes["first_pixels"]) * INT32
    return Launch(
        tasks=(ceil_div(blocks, sizes["first_vectors"]), p.n * bands),
        scratch=blocks * width * depth * FLOAT + tables,
        workspace=(p.c * height * _pitch(p) + width) * FLOAT,
        extra=(bands,),
    )


def conv2d_first_cost(problem: Problem, sizes: Sizes) -> float:
    p = Convolution.of(problem)
    width, bands, depth = sizes["width"], _bands(p), p.c * p.taps
    rows, height = _band(p, bands)
    blocks = ceil_div(p.oc, width)
    panels = ceil_div(blocks, sizes["first_vectors"])
    cost = 0.0
    for panel in range(panels):
        vectors = blocks * (panel + 1) // panels - blocks * panel // panels
        pixels: float = sizes[f"first_pixels_{vectors}"]
        tiles, in_row = ceil_div(rows * p.ow, int(pixels)), ceil_div(p.ow, sizes["first_row_pixels"])
        if vectors == p.stride_w == 1 and p.ow > in_row * pixels:
            pixels, tiles = p.ow / in_row, rows * in_row
        step = max(pixels * vectors, A_LOAD * (pixels + vectors + 1))
        cost += tiles * (A_STEP * depth * step + A_TILE + A_VECTOR * pixels * vectors)
    cost += p.c * height * (A_ROW + A_VECTOR * ceil_div(_pitch(p), width))
    return p.n * bands * cost + blocks * width * depth + rows * p.ow
