"""How Winograd convolutions split a problem, and what they cost: F(4x4, 3x3), F(2x2, 3x3) and F(2x2, 5x5), and for
weight gradients F(3x3, 4x4) and F(5x5, 2x2)."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ..base import Launch, Prefetcher, Problem
from ..machine import MACHINE, WinogradCosts, l2, l3
from .launches import Sizes, ceil_div, convolution_of, from_memory, tasks_wanted
from .row import Row

COST = WinogradCosts
TOLERANCE = 2e-5
"""Of results, relative to the largest: tiles' transforms round more than sums of products do."""
POINTS_BYTES = l2(3 / 8)
"""Of the L2 cache, what points and products of a task take."""
GROUPS_TOGETHER = 3, 4
"""Register tiles of tiles whose points are at hand at a time, where there are enough: so many that reading the kernels
costs little, and no more than that than fit the cache."""
CHUNK = 8, 16
"""Blocks of output channels whose products are at hand at a time: so many that the points of the inputs, which are read
again for each chunk, cost little, and no more than that than fit the cache."""
FEWEST_BLOCKS = 8
"""Blocks of output channels of a task, at least, so that transforming the same inputs in several tasks costs little;
half as many where there are few tiles."""
STREAMED_BYTES, STREAMED_GROUPS = l2(1), 2
"""Points of kernels that do not stay in the L2 cache, and register tiles of tiles of a task, at least, for which they
come by."""
TILES_AT_A_TIME = 32
"""Tiles of the weight gradient whose points are at hand at a time, beside the sums that they are added to."""
FEWEST_GRADIENT_BLOCKS = 4
"""Blocks of output channels of a task of the weight gradient, at least."""
FEWEST_SUMS, WINOGRAD_SUMS_BYTES, WINOGRAD_SCRATCH_BYTES = 4, l2(5 / 8), l3(1)
"""Partial sums of the weight gradient: so many that there are tasks enough, more where they are small, and at most.
What one thread sums another adds up; where their cores have no cache in common, that takes longer than the sums."""


def _line(problem: Problem) -> int:
    """Elements of a line of a cache, by which arrays of points are longer than their contents."""
    return MACHINE.line_bytes // problem.item_bytes


class WinogradSplit(NamedTuple):
    """The record of a launch: outputs of a side of a tile; the tiles go in ``tile_parts`` nearly equal runs of register
    tiles, the blocks of output channels in ``channel_parts``, ``chunk`` of them at a time. Images may be ``far``,
    outside the caches."""

    m: int
    tile_parts: int
    channel_parts: int
    chunk: int
    far: int
    prefetcher: Prefetcher = 0


class WinogradSums(NamedTuple):
    """The record of a launch of the weight gradient: tiles at a time, parts of the blocks of dy, whether images may be
    ``far``, outside the caches, and parts of the tiles; the sums are added to what is there if ``accumulate`` is not
    0."""

    together: int
    channel_parts: int
    far: int
    chunks: int
    accumulate: int = 0
    prefetcher: Prefetcher = 0


class Map(NamedTuple):
    """A convolution with r x r kernels as tiles of m x m outputs."""

    m: int
    r: int
    tiles: int
    in_blocks: int
    out_blocks: int

    @property
    def points(self) -> int:
        return (self.m + self.r - 1) ** 2


def share_of_products(m: int, r: int) -> float:
    """Multiplications beside those of the direct way, which has r * r for each output."""
    return (m + r - 1) ** 2 / (r * m) ** 2


def supports(problem: Problem, r: int) -> bool:
    """r x r kernels that meet every pixel, in one group."""
    p = convolution_of(problem)
    window = (p.kh, p.kw, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.groups)
    return window == (r, r, 1, 1, 1, 1, 1)


def _map(problem: Problem, m: int, sizes: Sizes) -> Map:
    p = convolution_of(problem)
    read, made, height, width = p.c, p.oc, p.oh, p.ow
    if problem.op == "conv2d_input_grad":
        read, made, height, width = p.oc, p.c, p.h, p.w
    blocks = ceil_div(read, sizes["width"]), ceil_div(made, sizes["width"])
    return Map(m, p.kh, p.n * ceil_div(height, m) * ceil_div(width, m), *blocks)


def tiles(problem: Problem, sizes: Sizes, m: int) -> Launch:
    """Stages: transform the kernels, convolve."""
    map, width, together = _map(problem, m, sizes), sizes["width"], sizes["winograd_tiles"]
    tasks = tasks_wanted(problem)
    groups = ceil_div(map.tiles, together)
    most_parts = max(1, map.out_blocks // FEWEST_BLOCKS)
    if groups < tasks // 2:
        most_parts = max(1, min(4, 2 * map.out_blocks // FEWEST_BLOCKS))
    group = together * map.points * width * problem.item_bytes
    fitting = POINTS_BYTES // (group * (map.in_blocks + min(map.out_blocks, CHUNK[1])))
    kernels = map.in_blocks * map.out_blocks * width * width + _line(problem)
    fewest = STREAMED_GROUPS if map.points * kernels * problem.item_bytes > STREAMED_BYTES else 1
    at_a_time = min(max(fitting, GROUPS_TOGETHER[0]), GROUPS_TOGETHER[1], max(fewest, groups * most_parts // tasks))
    tile_parts = ceil_div(groups, at_a_time)
    channel_parts = min(most_parts, ceil_div(tasks, tile_parts))
    block = ceil_div(groups, tile_parts) * group
    blocks = 2 * ceil_div(ceil_div(map.out_blocks, 2), channel_parts)
    chunk = min(blocks, max(CHUNK[0], (POINTS_BYTES // block - map.in_blocks) // 2 * 2))
    return Launch(
        tasks=(map.out_blocks, tile_parts * channel_parts),
        scratch=map.points * kernels * problem.item_bytes,
        workspace=(map.in_blocks + chunk) * block,
        extra=WinogradSplit(m, tile_parts, channel_parts, chunk, int(from_memory(problem))),
    )


def _gradient_map(problem: Problem, sizes: Sizes) -> Map:
    """That of the weight gradient, which has six points a side."""
    return _map(problem, 7 - convolution_of(problem).kh, sizes)


def weight_grad(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: sums over parts of the tiles, kernels from them."""
    map, width, group = _gradient_map(problem, sizes), sizes["width"], sizes["winograd_group"]
    channels = (map.in_blocks + map.out_blocks) * width
    sums = map.in_blocks * map.out_blocks * width * width + _line(problem)
    wanted = ceil_div(tasks_wanted(problem), 3)
    few, nbytes = min(FEWEST_SUMS, wanted), map.points * sums * problem.item_bytes
    most_parts = max(1, map.out_blocks // FEWEST_GRADIENT_BLOCKS)
    fitting = min(WINOGRAD_SCRATCH_BYTES // nbytes, max(ceil_div(few, most_parts), WINOGRAD_SUMS_BYTES // nbytes))
    chunks = max(1, min(wanted, map.tiles // max(32, channels // 4), fitting))
    channel_parts = min(most_parts, ceil_div(few, chunks))
    together = min(TILES_AT_A_TIME, ceil_div(ceil_div(map.tiles, chunks), group) * group)
    blocks = map.in_blocks + ceil_div(map.out_blocks, channel_parts)
    floats = map.in_blocks * map.out_blocks * width * width + channel_parts * _line(problem)
    return Launch(
        tasks=(3 * channel_parts * chunks, map.in_blocks * map.out_blocks),
        scratch=chunks * map.points * floats * problem.item_bytes,
        workspace=map.points // 3 * together * blocks * width * problem.item_bytes,
        extra=WinogradSums(together, channel_parts, int(from_memory(problem)), chunks),
    )


FAR_BYTES = l3(3 / 8)
"""What stays in a cache of an array that is moved."""


def _far(nbytes: int) -> float:
    return COST.far * max(0, nbytes - FAR_BYTES)


def tiles_cost(problem: Problem, sizes: Sizes, m: int) -> float:
    map, width = _map(problem, m, sizes), sizes["width"]
    launch = tiles(problem, sizes, m)
    split = launch.extra
    assert isinstance(split, WinogradSplit)
    inputs, outputs = COST.inputs[m + map.r - 1], COST.outputs[m, map.r]
    pairs = ceil_div(map.out_blocks, 2)
    products = map.in_blocks * width * map.out_blocks / COST.share_of_peak + COST.register_tile * pairs
    tile = map.points * products + split.channel_parts * map.in_blocks * inputs + map.out_blocks * outputs
    return map.tiles * tile + split.tile_parts * _far(launch.scratch) + tiles_packing(problem, sizes, m)


def tiles_packing(problem: Problem, sizes: Sizes, m: int) -> float:
    map = _map(problem, m, sizes)
    points = map.points * map.in_blocks * sizes["width"] * map.out_blocks
    return COST.point_of_kernels * points + _far(points * sizes["width"] * problem.item_bytes)


def weight_grad_cost(problem: Problem, sizes: Sizes) -> float:
    map, width = _gradient_map(problem, sizes), sizes["width"]
    launch = weight_grad(problem, sizes)
    split = launch.extra
    assert isinstance(split, WinogradSums)
    sums = map.points * map.in_blocks * width * map.out_blocks
    inputs, outputs = COST.gradient_inputs, COST.gradient_outputs[map.m]
    transforms = split.channel_parts * map.in_blocks * inputs + map.out_blocks * outputs
    tile = sums / COST.share_of_peak + transforms
    if problem.single_thread:
        return map.tiles * tile + COST.sum * sums + _far(2 * launch.scratch)
    return map.tiles * tile + COST.point_of_kernels * (1 + split.chunks / 3) * sums + 3 * _far(launch.scratch)


def _name(m: int, r: int) -> str:
    return f"winograd{m}" if r == 3 else f"winograd{m}_{r}x{r}"


def _row(op: str, m: int, r: int, blocked: tuple[str, ...]) -> Row:
    """F(m x m, r x r), forward or of the input gradient."""
    return Row(
        op,
        _name(m, r),
        (f"{op}_winograd_pack", f"{op}_winograd"),
        partial(tiles, m=m),
        WinogradSplit,
        partial(supports, r=r),
        partial(tiles_cost, m=m),
        packs=("weight",),
        packing=partial(tiles_packing, m=m),
        blocked=blocked,
        tolerance=TOLERANCE,
        prefetches=share_of_products(m, r),
        writes_late=True,
    )


def _weight_grad_row(m: int, r: int) -> Row:
    """F(r x r, m x m)."""
    return Row(
        "conv2d_weight_grad",
        _name(m, r),
        ("conv2d_weight_grad_winograd", "conv2d_weight_grad_winograd_taps"),
        weight_grad,
        WinogradSums,
        partial(supports, r=r),
        weight_grad_cost,
        blocked=("dy", "x"),
        tolerance=TOLERANCE,
        partial_sums=True,
        prefetches=share_of_products(m, r),
    )


ROWS = (
    *(_row("conv2d", m, r, ("x", "residual", "y")) for m, r in ((4, 3), (2, 3), (2, 5))),
    *(_row("conv2d_input_grad", m, r, ("dy", "dx")) for m, r in ((4, 3), (2, 3), (2, 5))),
    *(_weight_grad_row(m, r) for m, r in ((4, 3), (2, 5))),
)
