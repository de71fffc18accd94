"""How the direct weight gradients split a problem: groups, tiles of output channels, bands of pixels and chunks."""

from __future__ import annotations

from typing import NamedTuple

from ..base import Launch, Prefetcher, Problem
from ..machine import MACHINE, OuterCosts, l1, l2, l3, whole_lines
from ..records import Convolution
from .launches import (
    WIDEST,
    Sizes,
    ceil_div,
    convolution_of,
    copied_at_most,
    copied_pixels,
    largest,
    tasks_wanted,
)
from .row import Row

OUTER_BAND_BYTES = l1(1)
"""The part of a tile of dy and of the input channels that pass with it, which stays in the L1 cache."""
COST = OuterCosts
BAND_PIXELS = 64, 512
"""Terms of a sum in registers, at least and at most where a problem has them."""
FEWEST_COLUMNS = 16
"""Of a band."""
TOGETHER_PIXELS = 256
"""Small images pass together until they have as many."""
OUTER_TASK_PRODUCTS = 250_000
"""Multiplications of the smallest task that a problem is split for."""
OUTER_SUMS_BYTES = l2(5 / 32)
"""Sums of a task, which stay in the L2 cache."""
OUTER_SCRATCH_BYTES = l3(1 / 8)
"""Sums of all chunks, at most."""
ROWS_TOGETHER = 24
"""Rows of the outer product that read a tile of dy while it is in the L1 cache, at least."""


class WeightSplit(NamedTuple):
    """The record of a launch: how the sums are split.

    Groups whose output channels are whole blocks are ``sets`` of their own; else there is one set. Its blocks of output
    channels are split into nearly equal ``tiles``, those into ``tile_parts`` and, where a set is one group, its input
    channels into ``channel_parts``. The pixels are split into ``image_bands * row_bands * col_bands``, and those into
    ``chunks``; ``together`` input channels pass at a time, of bands that may be ``copied``. A tile has sums of
    ``depth`` input channels at most. Where x and dy change places, their channels are ``swapped``. With ``ahead`` the
    kernels of several taps prefetch the next band. The sums are added to what is there if ``accumulate`` is not 0.
    """

    lanes: int
    sets: int
    tiles: int
    tile_parts: int
    channel_parts: int
    image_bands: int
    row_bands: int
    col_bands: int
    together: int
    copied: int
    depth: int
    swapped: int
    ahead: int
    chunks: int
    accumulate: int = 0
    prefetcher: Prefetcher = 0


class Bands(NamedTuple):
    """The largest band."""

    images: int
    rows: int
    cols: int


def _share(total: int, parts: int, part: int) -> int:
    return total * part // parts


def _depth(p: Convolution, tiles: int, width: int) -> int:
    """Input channels of the widest of ``tiles`` over all output channels, with those of every group they touch."""
    blocks, group = ceil_div(p.oc, width), p.oc // p.groups
    widest = 0
    for tile in range(tiles):
        first = _share(blocks, tiles, tile) * width // group
        last = (min(p.oc, _share(blocks, tiles, tile + 1) * width) - 1) // group
        widest = max(widest, last - first + 1)
    return widest * (p.c // p.groups)


def _tiles(p: Convolution, sets: int, sizes: Sizes) -> tuple[int, int]:
    """Tiles of a set, and input channels of each."""
    blocks = ceil_div(p.oc // sets, sizes["width"])
    fewest = ceil_div(blocks, sizes["outer_blocks"])
    if sets == p.groups:
        return fewest, p.c // sets
    choices = {ceil_div(blocks, size) for size in range(1, sizes["outer_blocks"] + 1)}
    depths = {tiles: _depth(p, tiles, sizes["width"]) for tiles in choices}
    best = min(choices, key=lambda tiles: (depths[tiles] * ceil_div(blocks, tiles) * tiles, tiles))
    return best, depths[best]


def is_copied(p: Convolution) -> bool:
    """Whether windows reach beyond the image."""
    down = (p.oh - 1) * p.stride_h + (p.kh - 1) * p.dilation_h - p.pad_top
    right = (p.ow - 1) * p.stride_w + (p.kw - 1) * p.dilation_w - p.pad_left
    return p.pad_top > 0 or p.pad_left > 0 or down >= p.h or right >= p.w


def _band_items(p: Convolution, rows: int, cols: int, together: int, columns: int) -> int:
    """Elements of x and dy that a band of one image reads; lines between windows stay where they are."""
    pixels = copied_pixels(p, rows, cols)
    if p.kh == 1:
        pixels = pixels * rows // ((rows - 1) * p.stride_h + 1)
    return pixels * together + rows * cols * columns


def bands_of(p: Convolution, together: int, columns: int, tasks: int, item_bytes: int) -> Bands:
    few, many = BAND_PIXELS
    limit = max(few, min(many, p.n * p.oh * p.ow // tasks))

    def fits(images: int, rows: int, cols: int) -> bool:
        bytes_ = images * _band_items(p, rows, cols, together, columns) * item_bytes
        return bytes_ <= OUTER_BAND_BYTES and images * rows * cols <= limit

    if not fits(1, 1, p.ow):
        cols = max(min(p.ow, FEWEST_COLUMNS), largest(lambda cols: fits(1, 1, cols), p.ow))
        return Bands(1, 1, ceil_div(p.ow, ceil_div(p.ow, cols)))
    rows = largest(lambda rows: fits(1, rows, p.ow), p.oh)
    if rows < p.oh:
        return Bands(1, ceil_div(p.oh, ceil_div(p.oh, rows)), p.ow)
    images = min(p.n, max(1, TOGETHER_PIXELS // (p.oh * p.ow)))
    return Bands(largest(lambda images: fits(images, p.oh, p.ow), images), p.oh, p.ow)


def bands_are_small(problem: Problem) -> bool:
    """Whether the smallest band of x is no larger than what may be copied."""
    p = convolution_of(problem)
    return copied_pixels(p, 1, min(p.ow, FEWEST_COLUMNS)) * WIDEST * problem.item_bytes <= copied_at_most(problem)


def _swapped(p: Convolution, sizes: Sizes, lanes: int) -> bool:
    """Whether x and dy change places, which they may where windows are pixels: it takes fewer multiply-adds."""
    width = sizes["width"]
    pixels = p.taps == p.stride_h == p.stride_w == p.groups == 1 and not is_copied(p)
    return pixels and lanes == width and p.oc * ceil_div(p.c, width) < p.c * ceil_div(p.oc, width)


def _placed(p: Convolution, sizes: Sizes, lanes: int) -> Convolution:
    return p._replace(c=p.oc, oc=p.c) if _swapped(p, sizes, lanes) else p


def _split(problem: Problem, sizes: Sizes, lanes: int) -> WeightSplit:
    p, most_tasks = convolution_of(problem), tasks_wanted(problem)
    swapped, width = _swapped(p, sizes, lanes), sizes["width"]
    p = _placed(p, sizes, lanes)
    sets = p.groups if p.oc // p.groups % width == 0 else 1
    blocks = ceil_div(p.oc // sets, width)
    tiles, depth = _tiles(p, sets, sizes)
    tile_blocks = ceil_div(blocks, tiles)
    together = min(ceil_div(depth, lanes), max(1, ceil_div(ROWS_TOGETHER, lanes * p.taps))) * lanes
    products = p.n * p.oh * p.ow * p.oc * (p.c // p.groups) * p.taps
    tasks = max(1, min(most_tasks, products // OUTER_TASK_PRODUCTS))
    bands = bands_of(p, together, tile_blocks * width, tasks, problem.item_bytes)
    image_bands, row_bands = ceil_div(p.n, bands.images), ceil_div(p.oh, bands.rows)
    col_bands = ceil_div(p.ow, bands.cols)
    count = image_bands * row_bands * col_bands
    sums = blocks * width * depth * p.taps * problem.item_bytes
    most_chunks = max(1, min(count, OUTER_SCRATCH_BYTES // (sets * sums)))
    tile_parts, channel_parts = 1 if sets == p.groups else tiles, 1
    while sets == p.groups:
        parts = tile_parts * channel_parts
        if sums <= OUTER_SUMS_BYTES * parts and sets * parts * most_chunks >= tasks:
            break
        wide, deep = ceil_div(tiles, tile_parts) * tile_blocks * width, ceil_div(depth, channel_parts)
        if deep >= 2 * together and (deep >= wide or tile_parts == tiles):
            channel_parts += 1
        elif tile_parts < tiles:
            tile_parts += 1
        else:
            break
    chunks = min(most_chunks, ceil_div(most_tasks, sets * tile_parts * channel_parts))
    return WeightSplit(
        lanes, sets, tiles, tile_parts, channel_parts,
        image_bands, row_bands, col_bands, together, int(is_copied(p)), depth, int(swapped), 0, chunks,
    )  # fmt: skip


def _launch(problem: Problem, sizes: Sizes, lanes: int) -> Launch:
    s, width = _split(problem, sizes, lanes), sizes["width"]
    p = _placed(convolution_of(problem), sizes, lanes)
    blocks = ceil_div(p.oc // s.sets, width)
    channels = ceil_div(ceil_div(s.depth, lanes), s.channel_parts) * lanes
    images, rows, cols = ceil_div(p.n, s.image_bands), ceil_div(p.oh, s.row_bands), ceil_div(p.ow, s.col_bands)
    copy = images * copied_pixels(p, rows, cols) * s.together * problem.item_bytes if s.copied else 0
    merged = sizes["merged_rows"] * width * problem.item_bytes
    return Launch(
        tasks=(
            s.chunks * s.sets * s.tile_parts * s.channel_parts,
            s.sets * blocks * ceil_div(s.depth * p.taps, sizes["merged_rows"]),
        ),
        scratch=s.chunks * whole_lines(s.sets * blocks * s.depth * p.taps * width * problem.item_bytes),
        workspace=max(merged, channels * p.taps * sizes["outer_row"] + copy),
        extra=s,
    )


def tile_cost(rows: int, blocks: int, pixels: int, lines: int, sizes: Sizes) -> float:
    """Of all the calls that multiply ``rows`` by a tile, once."""
    calls = ceil_div(rows, sizes[f"outer_rows_{blocks}"])
    few, more = rows // calls, rows % calls
    cost = calls * (COST.tile + COST.line * lines) + COST.sum * rows * blocks
    for count, times in ((few, calls - more), (few + 1, more)):
        loads = count + blocks
        cost += times * pixels * (max(count * blocks, loads, MACHINE.latency) + COST.load * loads)
    return cost


def _cost(problem: Problem, sizes: Sizes, lanes: int) -> float:
    s, width = _split(problem, sizes, lanes), sizes["width"]
    p = _placed(convolution_of(problem), sizes, lanes)
    blocks = ceil_div(p.oc // s.sets, width)
    bands = s.image_bands * s.row_bands * s.col_bands
    pixels = p.n * p.oh * p.ow / bands
    lines = max(1.0, min(pixels / p.ow, pixels / 8)) if s.copied or p.taps > 1 or p.stride_w > 1 else 1.0
    passes = ceil_div(s.depth, s.together)
    rows = ceil_div(s.depth * p.taps, passes)
    cost = 0.0
    for tile in range(s.tiles):
        size = _share(blocks, s.tiles, tile + 1) - _share(blocks, s.tiles, tile)
        cost += passes * (tile_cost(rows, size, int(pixels), int(lines), sizes) + 2 * size * pixels)
    cost += s.tile_parts * ceil_div(s.depth, lanes) * copy_cost(p, s, lanes / width)
    merge = 2 * (1 + s.chunks) * blocks * s.depth * p.taps
    return max(memory_cost(p, lanes, width), s.sets * (cost * bands + merge))


def copy_cost(p: Convolution, s: WeightSplit, vectors: float) -> float:
    """Of the copy of a band of one block of x, with so many vectors a pixel."""
    if not s.copied:
        return 0.0
    images, rows, cols = p.n / s.image_bands, ceil_div(p.oh, s.row_bands), ceil_div(p.ow, s.col_bands)
    height = (rows - 1) * p.stride_h + (p.kh - 1) * p.dilation_h + 1
    line = ((cols - 1) * p.stride_w + (p.kw - 1) * p.dilation_w + 1) * vectors * COST.copy + COST.copied_line
    return images * height * line


def memory_cost(p: Convolution, lanes: int, width: int) -> float:
    """Of reading x and dy once."""
    x, dy = ceil_div(p.c, lanes) * lanes * p.h * p.w, ceil_div(p.oc, width) * width * p.oh * p.ow
    return COST.value * p.n * (x + dy)


def conv2d_weight_grad_direct(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: sum over the bands of each chunk, add up the chunks; x in blocks."""
    return _launch(problem, sizes, sizes["width"])


def conv2d_weight_grad_first(problem: Problem, sizes: Sizes) -> Launch:
    """As :func:`conv2d_weight_grad_direct`, x plain."""
    return _launch(problem, sizes, 1)


def direct_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(problem, sizes, sizes["width"])


def first_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(problem, sizes, 1)


ROWS = (
    Row(
        "conv2d_weight_grad",
        "direct",
        ("conv2d_weight_grad_direct", "conv2d_weight_grad_merge_direct"),
        conv2d_weight_grad_direct,
        WeightSplit,
        bands_are_small,
        direct_cost,
        blocked=("dy", "x"),
        partial_sums=True,
        prefetches=1.0,
    ),
    Row(
        "conv2d_weight_grad",
        "first",
        ("conv2d_weight_grad_direct", "conv2d_weight_grad_merge_direct"),
        conv2d_weight_grad_first,
        WeightSplit,
        bands_are_small,
        first_cost,
        blocked=("dy",),
        partial_sums=True,
        prefetches=1.0,
    ),
)
