"""How the convolution of images with few channels is split, and what it costs."""

from __future__ import annotations

from typing import NamedTuple

from ..base import Launch, Prefetcher, Problem
from ..machine import MACHINE, FirstCosts, TileCosts, l1, l2
from ..records import Convolution
from .launches import INT64, Sizes, ceil_div, convolution_of, tasks_wanted
from .row import Row
from .tiles import panel_count, shares, sharing_cost, tiles_cost

FIRST_BAND_BYTES = l1(3 / 4)
"""Rows of an image, with borders, that are copied at a time."""
LEAST_PRODUCTS = 100_000
"""Multiplications below which a task is not worth to be handed out."""
MOST_CHANNELS = 8
COST, TILE = FirstCosts, TileCosts
MOST_BAND_BYTES = l2(1)
"""Of a band's input: what dilation spreads further is left to other kernels."""


class First(NamedTuple):
    """The record of a launch: bands of rows, panels of whole blocks of output channels, whether the taps of a row share
    inputs, and the channels behind those blocks, of which vectors are pixels, or 0."""

    bands: int
    panels: int
    sharing: int
    few: int
    prefetcher: Prefetcher = 0


def _band(p: Convolution, bands: int) -> tuple[int, int]:
    """Output rows of the largest band, and rows of the input that it reads."""
    rows = ceil_div(p.oh, bands)
    return rows, (rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1


def _pitch(p: Convolution) -> int:
    return (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1


def _bands(problem: Problem) -> int:
    """In as many bands as their input needs to stay in the L1 cache, and the few tasks of small batches."""
    p = convolution_of(problem)
    row = p.c * _pitch(p) * problem.item_bytes
    reach = (p.kh - 1) * p.dilation_h + 1
    rows = min(p.oh, max(1, (FIRST_BAND_BYTES // row - reach) // p.stride_h + 1))
    products = p.oh * p.ow * p.oc * p.c * p.taps
    few = min(ceil_div(tasks_wanted(problem), p.n), p.oh, max(1, products // LEAST_PRODUCTS))
    return max(ceil_div(p.oh, rows), few)


def few_channels(problem: Problem) -> bool:
    """Images of few channels, and copies of their rows that are not too large."""
    p = convolution_of(problem)
    if p.groups > 1 or p.c > MOST_CHANNELS:
        return False
    return p.c * _band(p, _bands(problem))[1] * _pitch(p) * problem.item_bytes <= MOST_BAND_BYTES


def _sharing(p: Convolution) -> bool:
    return shares(p.ow, p.kw, p.dilation_w, p.stride_w)


def _few(problem: Problem, sizes: Sizes) -> int:
    """The channels of the last block if vectors of them are pixels, where that costs less; else 0."""
    p = convolution_of(problem)
    rest = p.oc % sizes["width"]
    if p.stride_w > 1 or not 0 < rest <= sizes["first_channels"]:
        return 0
    return rest if _sums(problem, rest, sizes) < _sums(problem, 0, sizes) else 0


def _panels(p: Convolution, few: int, sizes: Sizes) -> tuple[int, int]:
    """Blocks of output channels that are lanes, and the panels that they make."""
    blocks = ceil_div(p.oc - few, sizes["width"])
    return blocks, panel_count(blocks, _sharing(p), sizes) if blocks else 0


def conv2d_first(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights and make tables of places, multiply."""
    p = convolution_of(problem)
    bands, width, few = _bands(problem), sizes["width"], _few(problem, sizes)
    _, panels = _panels(p, few, sizes)
    rows, height = _band(p, bands)
    depth = p.c * p.taps
    tables = (depth + 2 * rows * p.ow) * INT64 + rows * ceil_div(p.ow, width) * sizes["first_pixels"]
    return Launch(
        tasks=(panels + (few > 0), p.n * bands),
        scratch=ceil_div(p.oc, width) * width * depth * problem.item_bytes + tables,
        workspace=(p.c * height * _pitch(p) + width) * problem.item_bytes,
        extra=First(bands, panels, int(_sharing(p)), few),
    )


def _sums(problem: Problem, few: int, sizes: Sizes) -> float:
    """The cost of the products of a band."""
    p = convolution_of(problem)
    depth, (rows, _) = p.c * p.taps, _band(p, _bands(problem))
    runs = ceil_div(depth, max(1, sizes["first_run"] // p.kw) * p.kw)
    blocks, panels = _panels(p, few, sizes)
    cost = 0.0
    for panel in range(panels):
        vectors = blocks * (panel + 1) // panels - blocks * panel // panels
        if _sharing(p) and sizes[f"taps_pixels_{vectors}"] > 0:
            cost += rows * sharing_cost(p.ow, p.kw, p.stride_w, vectors, p.c * p.kh, runs, sizes)
        else:
            cost += tiles_cost(rows * p.ow, 1, vectors, depth, runs, sizes)
    if few:
        vectors, count = min(sizes["first_vectors"], sizes["first_sums"] // few), rows * ceil_div(p.ow, sizes["width"])
        step = max(few * vectors, MACHINE.latency, TILE.load * (few + vectors)) * TILE.step
        cost += ceil_div(count, vectors) * (depth * step + runs * vectors * COST.transposed)
    return cost


def conv2d_first_cost(problem: Problem, sizes: Sizes) -> float:
    p = convolution_of(problem)
    width, bands = sizes["width"], _bands(problem)
    _, height = _band(p, bands)
    copied = p.c * height * (COST.row + COST.vector * ceil_div(_pitch(p), width))
    cost = _sums(problem, _few(problem, sizes), sizes) + copied
    return p.n * bands * cost + conv2d_first_packing(problem, sizes)


def conv2d_first_packing(problem: Problem, sizes: Sizes) -> float:
    p, width = convolution_of(problem), sizes["width"]
    rows, _ = _band(p, _bands(problem))
    return ceil_div(p.oc, width) * width * p.c * p.taps + rows * p.ow


ROWS = (
    Row(
        "conv2d",
        "first",
        ("conv2d_first_pack", "conv2d_first"),
        conv2d_first,
        First,
        few_channels,
        conv2d_first_cost,
        packs=("weight",),
        packing=conv2d_first_packing,
        blocked=("residual", "y"),
        prefetches=1.0,
    ),
)
