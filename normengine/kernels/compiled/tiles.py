"""Register tiles of pixels and vectors of output channels, as ``conv_microkernel.h`` and ``conv_microkernel_taps.h``
have them: how outputs are cut into panels, which pixels share inputs, and what tiles cost."""

from __future__ import annotations

from collections.abc import Iterator

from ..machine import MACHINE, TileCosts
from .launches import Sizes, ceil_div

FEWEST_SHARING = 4
"""Pixels of a row that share inputs, at least."""
COST = TileCosts


def shares(width: int, taps: int, apart: int, step: int) -> bool:
    """Whether the pixels of a row, ``step`` inputs from one to the next, share what they read: their taps in a row,
    ``apart`` inputs from one to the next, are neighbours."""
    return taps > 1 and apart == 1 and step in (1, 2) and width >= FEWEST_SHARING


def taps_at_a_time(taps: int, sizes: Sizes) -> Iterator[int]:
    """The taps of a row, some at a time: see ``taps.h``."""
    most = sizes["taps_together"]
    while taps > 0:
        now = most if taps % most == 0 else most - 1
        yield now
        taps -= now


def panel_count(vectors: int, sharing: bool, sizes: Sizes) -> int:
    """Into how many panels of nearly equal size some vectors of output channels are cut: the fewest, or twos, with a
    three where they are odd, if more do not stay in registers or if weights of several taps are there."""
    widest = sizes["tile_vectors"]
    if widest > 2 and (sizes["tile_held"] < widest or (sharing and sizes["taps_pixels_2"] > 0)):
        return max(1, vectors // 2)
    return ceil_div(vectors, widest)


def span_and_vectors(channels: int, depth: int, sizes: Sizes) -> tuple[int, int]:
    """For some output channels, fewer than a vector has lanes, how many of ``depth`` input channels a vector of sums
    spans (see ``lane_split.h``), and how many vectors there are: 1 and 1 if more do not take far fewer products."""
    width = sizes["width"]
    choices = [(width, channels)] if channels <= sizes["tile_vectors"] else []
    choices += [(2, 1)] if 2 * channels <= width else []
    products = {choice: choice[1] * ceil_div(depth, choice[0]) for choice in choices if channels}
    best = min(products, key=products.__getitem__, default=(1, 1))
    return best if best in products and products[best] <= COST.spanned * depth else (1, 1)


def tiles_cost(pixels: int, row: int, vectors: int, depth: int, runs: int, sizes: Sizes) -> float:
    """Of the tiles that make ``pixels`` in rows of so many, each of which loads ``pixels + vectors`` values a step."""
    count = ceil_div(pixels, sizes[f"tile_pixels_{vectors}"])
    if row >= sizes[f"tile_least_row_{vectors}"]:
        count = min(count, pixels // row * ceil_div(row, sizes[f"tile_row_pixels_{vectors}"]))
    size = pixels / count
    step = max(size * vectors, MACHINE.latency, COST.load * (size + vectors))
    return count * (step * depth * COST.step + runs * _ends(size, vectors))


def sharing_cost(width: int, taps: int, step: int, vectors: int, depth: int, runs: int, sizes: Sizes) -> float:
    """Of a row of pixels that share inputs, under rows of so many taps, ``depth`` of them for all channels."""
    count = ceil_div(width, sizes[f"taps_pixels_{vectors}"])
    size, cost = width / count, 0.0
    for now in taps_at_a_time(taps, sizes):
        loads = now * vectors + (size - 1) * step + now
        cost += max(size * vectors * now, MACHINE.latency * now, COST.load * loads) + COST.channel
    return count * (cost * depth * COST.step + runs * _ends(size, vectors))


def _ends(size: float, vectors: int) -> float:
    """Of beginning a tile and storing it."""
    return COST.begun + COST.stored * size * vectors
