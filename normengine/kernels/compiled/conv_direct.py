"""How direct convolution over channel-blocked activations, and its input gradient, cut their work, and what it costs.

Both directions are sums over the pixels of grids (``stencil.py``). ``conv_direct.pxi`` has the layout of the parameters
that are made here.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from ..base import Launch, Problem
from .launches import (
    FLOAT,
    INT64,
    MOST_COPIED,
    MOST_PHASES,
    WIDEST,
    Convolution,
    Sizes,
    ceil_div,
    copied_at_most,
    copied_pixels,
    from_memory,
    tasks_wanted,
)
from .row import Row
from .stencil import Phase, Stencil, stencils
from .tiles import panel_count, shares, sharing_cost, span_and_vectors, tiles_cost

WEIGHT_BYTES = 20480
"""Weights of two vectors, which stay in the L1 cache while the pixels of a task pass; wider panels read theirs from the
L2 cache, but fewer times."""
BAND_BYTES = 49152
"""Input that a task copies, or reads in place, of one chunk of channels."""
SPANNED_BAND_BYTES, SPANNED_ROWS = 196608, 4
"""The same where the vectors of all panels span several input channels, whose weights are few: it stays in the L2
cache. Chunks have few enough channels for so many rows of output."""
OUTPUT_BYTES = 196608
"""Output of a task, which stays in the L2 cache from one chunk of channels to the next."""
PIXELS = 64
"""Pixels of a task that use weights often enough, where images are small."""
LEAST_TASKS, FEW_PIXELS = 4, 16
"""Where several threads would have fewer tasks than that, tasks may have as few pixels."""
TASKS = 32
"""Problems are cut into that many tasks where they are large enough."""
TASK_PRODUCTS = 60_000
"""Multiplications of a task that is not worth cutting."""
MOST_BORDER = 1 << 12
"""Rows at the border of an image that are made by themselves, at most."""


class Panel(NamedTuple):
    """Some blocks of output channels and the blocks of input channels on which they depend: a pixel has ``vectors`` of
    sums, whose lanes span so many input channels (see ``lane_split.h``)."""

    first: int
    blocks: int
    in_first: int
    in_end: int
    span: int
    vectors: int

    def depth(self, s: Stencil, width: int) -> int:
        """Products of vectors for a vector of sums and a tap."""
        return ceil_div(min(self.in_end * width, s.in_channels) - self.in_first * width, self.span)


class Tiling(NamedTuple):
    """A launch before its numbers are laid out."""

    stencil: Stencil
    panels: tuple[Panel, ...]
    images: int
    rows: int
    bands: int
    parts: int
    chunk: int
    copied: bool
    height: int
    width: int
    block: int
    flat: bool

    @property
    def tasks(self) -> int:
        return ceil_div(self.stencil.n, self.images) * self.bands * self.parts


class Blocks(NamedTuple):
    """How output blocks become panels. There are ``full`` blocks whose lanes are output channels; ``counts[n]`` panels
    are made of n of them that are neighbours. Behind them may come one whose vectors of sums span ``span`` input
    channels: it has ``vectors`` of them, or 0 if there is none."""

    full: int
    counts: tuple[int, ...]
    span: int
    vectors: int


def _blocks(s: Stencil, sizes: Sizes) -> Blocks:
    full, rest = divmod(s.out_channels, sizes["width"])
    span, vectors = (1, 1) if s.groups > 1 or s.merged else span_and_vectors(rest, s.in_channels, sizes)
    if span == 1:
        full, vectors = full + (rest > 0), 0
    sharing = any(_shares(s, f) for f in s.phases)
    return Blocks(full, tuple(panel_count(n, sharing, sizes) for n in range(full + 1)), span, vectors)


def _panels(s: Stencil, width: int, blocks: Blocks) -> tuple[Panel, ...]:
    """Output blocks that depend on the same input blocks."""
    outs, ins = s.out_channels // s.groups, s.in_channels // s.groups
    runs: list[tuple[int, int, int, int]] = []
    for block in range(blocks.full):
        last = min((block + 1) * width, s.out_channels) - 1
        first_in, end_in = block * width // outs * ins // width, ceil_div((last // outs + 1) * ins, width)
        if runs and runs[-1][2:] == (first_in, end_in):
            first, size, *_ = runs.pop()
            runs.append((first, size + 1, first_in, end_in))
        else:
            runs.append((block, 1, first_in, end_in))
    panels = []
    for first, size, first_in, end_in in runs:
        count = blocks.counts[size]
        for i in range(count):
            begin, end = size * i // count, size * (i + 1) // count
            panels.append(Panel(first + begin, end - begin, first_in, end_in, 1, end - begin))
    if blocks.vectors:
        panels.append(Panel(blocks.full, 1, 0, ceil_div(s.in_channels, width), blocks.span, blocks.vectors))
    return tuple(panels)


def supports(problem: Problem) -> bool:
    """Phases of which each can be planned, and rows of the input, and taps, of which a block is no larger than what may
    be copied."""
    p = Convolution.of(problem)
    if problem.op == "conv2d":
        pixels = copied_pixels(p, 1, p.ow)
    elif min(p.stride_h, p.h) * min(p.stride_w, p.w) > MOST_PHASES:
        return False
    else:
        height, width = ((p.kh - 1) * p.dilation_h // p.stride_h, (p.kw - 1) * p.dilation_w // p.stride_w)
        pixels = (height + 1) * (width + ceil_div(p.w, p.stride_w))
    return max(pixels, p.taps * WIDEST) * WIDEST * FLOAT <= copied_at_most(problem)


def _equal(total: int, most: int) -> int:
    """The size of the fewest equal parts of ``total`` that have at most ``most``."""
    return ceil_div(total, ceil_div(total, max(1, min(most, total))))


@lru_cache(maxsize=1024)
def _cut(s: Stencil, width: int, blocks: Blocks, tasks: int) -> Tiling:
    flat = (
        len(s.phases) == 1
        and not s.merged
        and s.phases[0].taps == 1
        and s.phases[0].rows.shift == s.phases[0].cols.shift == 0
        and s.step_h == s.step_w == 1
        and (s.in_height, s.in_width) == (s.out_height, s.out_width)
    )
    if flat:
        pixels = s.out_height * s.out_width
        phase = s.phases[0]._replace(height=pixels, width=1, step=(1, 1))
        s = Stencil(s.n, s.in_channels, pixels, 1, s.out_channels, pixels, 1, s.groups, 1, 1, (phase,))
    panels = _panels(s, width, blocks)
    taps = max(f.taps for f in s.phases)
    in_blocks = max(p.in_end - p.in_first for p in panels)
    copied = not s.inside()
    top, left, bottom, right = s.reach()
    grid_h, grid_w = max(f.height for f in s.phases), max(f.width for f in s.phases)
    cols = (grid_w - 1) * s.step_w + right - left + 1
    pixel = width * FLOAT
    chunk, band_bytes = WEIGHT_BYTES // (2 * width * width * FLOAT * max(taps, 1)), BAND_BYTES
    if blocks.full == 0:
        few_rows = (min(grid_h, SPANNED_ROWS) - 1) * s.step_h + bottom - top + 1
        chunk, band_bytes = SPANNED_BAND_BYTES // (few_rows * cols * pixel), SPANNED_BAND_BYTES
    if copied:
        chunk = min(chunk, MOST_COPIED // ((bottom - top + 1) * cols * pixel))
    chunk = _equal(in_blocks, chunk)
    made = s.out_width * s.phases[0].step[0] * ceil_div(s.out_channels, width) * pixel
    rows = min(
        (band_bytes // (chunk * pixel * cols) - (bottom - top)) // s.step_h,
        OUTPUT_BYTES // made if chunk < in_blocks else grid_h,
    )
    rows = _equal(grid_h, rows)
    products = s.out_channels * (s.in_channels // s.groups) * sum(f.taps * f.width for f in s.phases)
    pixels, wanted = PIXELS, max(1, min(tasks, s.n * grid_h * products // TASK_PRODUCTS))
    if wanted > 1 and ceil_div(s.n * grid_h * grid_w, PIXELS) * len(panels) < LEAST_TASKS:
        pixels, wanted = FEW_PIXELS, min(wanted, LEAST_TASKS)
    few_images = max(pixels // (grid_h * grid_w), min(s.n // wanted, PIXELS // (grid_h * grid_w)))
    if copied:
        few_images = min(few_images, MOST_COPIED // (chunk * ((rows - 1) * s.step_h + bottom - top + 1) * cols * pixel))
    images = _equal(s.n, few_images) if rows == grid_h else 1
    groups = ceil_div(s.n, images)
    few = max(1, min(grid_h, ceil_div(pixels, grid_w)))
    bands = max(ceil_div(grid_h, rows), min(ceil_div(wanted, groups), ceil_div(grid_h, few)))
    rows = ceil_div(grid_h, bands)
    bands = ceil_div(grid_h, rows)
    parts = 1 if s.merged else min(len(panels), ceil_div(wanted, groups * bands))
    height = (rows - 1) * s.step_h + bottom - top + 1
    if copied:
        # An odd number of cache lines between blocks keeps them in different sets of the cache.
        lines = ceil_div(height * cols * pixel, 64) | 1
        block = lines * 64 // FLOAT
    else:
        block = s.in_height * s.in_width * width
    return Tiling(s, panels, images, rows, bands, parts, chunk, copied, height, cols, block, flat)


def _plan(problem: Problem, sizes: Sizes) -> Tiling:
    tasks = tasks_wanted(problem, TASKS)
    plans = [_cut(s, sizes["width"], _blocks(s, sizes), tasks) for s in stencils(problem, sizes["width"])]
    return min(plans, key=lambda plan: _cost(plan, sizes)) if len(plans) > 1 else plans[0]


def direct(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights and tabulate where pixels and taps lie; convolve."""
    width, p = sizes["width"], Convolution.of(problem)
    plan = _plan(problem, sizes)
    s = plan.stencil
    in_blocks, rest = ceil_div(s.in_channels, width), s.in_channels % width
    top, left = s.reach()[:2]
    read_height, read_width = plan.height, plan.width
    if plan.copied:
        row, image = plan.width * width, plan.chunk * plan.block
    else:
        read_height, read_width, top, left = read_height + top, min(read_width + left, s.in_width), 0, 0
        row, image = s.in_width * width, in_blocks * plan.block
    panels: list[int] = []
    a_tap = 0
    for panel in plan.panels:
        panels += (*panel, a_tap)
        a_tap += panel.depth(s, width) * panel.vectors * width
    phases: list[int] = []
    weights = entries = 0
    for f in s.phases:
        pixels = plan.images * min(plan.rows, f.height) * f.width
        contiguous = s.step_w == 1 and (s.step_h == 1 and row == f.width * width)
        run = plan.rows * f.width if contiguous and plan.images == 1 else f.width if s.step_w == 1 else 1
        places = entries, entries + pixels, entries + 2 * pixels, entries + 2 * pixels + f.taps
        across = f.cols.taps if _shares(s, f) else 0
        phases += (f.height, f.width, *f.first, *f.step, run, weights, *places, across, int(_apart(plan, f, sizes)))
        phases += (*f.rows, *f.cols)
        entries = places[-1] + rest * f.taps
        weights += a_tap * f.taps
    weights = ceil_div(weights, 16) * 16
    taps = max(p.taps, s.phases[0].taps)
    band = plan.images * plan.chunk * plan.block * plan.copied
    lanes = ceil_div(s.out_channels, width) * width
    made = (plan.images * plan.rows * s.phases[0].width * lanes + width) * bool(s.merged)
    extra = (
        *(plan.images, plan.rows, plan.bands, plan.parts, plan.chunk, int(plan.copied), read_height, read_width),
        *(top, left, s.step_h, s.step_w, row, plan.block, image, s.out_width),
        *(weights * FLOAT, int(not all(f.taps for f in s.phases)), s.merged, band, int(_absent(s, width))),
        _products(plan, width) if plan.copied and from_memory(problem) else 0,
        *(len(plan.panels), len(s.phases), *panels, *phases),
    )
    return Launch(
        tasks=(len(plan.panels) + 1, plan.tasks),
        scratch=weights * FLOAT + entries * INT64,
        workspace=max(taps * width * width, band + made) * FLOAT,
        extra=extra,
    )


def _absent(s: Stencil, width: int) -> bool:
    """Whether outputs of one block differ in the inputs of which they are sums: groups that are no whole blocks, phases
    side by side."""
    ragged = s.groups > 1 and (s.out_channels // s.groups % width or s.in_channels // s.groups % width)
    return bool(s.merged or ragged)


def _products(plan: Tiling, width: int) -> int:
    """Multiply-adds of vectors of the first task."""
    s, products = plan.stencil, 0
    for panel in plan.panels[: ceil_div(len(plan.panels), plan.parts)]:
        pixels = sum(f.taps * f.width * min(plan.rows, f.height) for f in s.phases)
        products += panel.vectors * panel.depth(s, width) * pixels
    return plan.images * products


def _shares(s: Stencil, phase: Phase) -> bool:
    return shares(phase.width, phase.cols.taps, phase.cols.shift_step, s.step_w)


Rows = Counter[tuple[int, int]]
"""How often so many rows, which so many rows of taps reach, are made together."""


def _apart(plan: Tiling, phase: Phase, sizes: Sizes) -> bool:
    """Whether rows of which some taps lie above or below the image are made by themselves: fewer products, in tiles
    that may be smaller."""
    border = _rows_apart(plan, phase)
    return bool(border) and _tiles(plan, phase, border, sizes) < _tiles(plan, phase, _rows(plan, phase), sizes)


def _rows(plan: Tiling, phase: Phase) -> Rows:
    return Counter({(min(plan.rows, phase.height), phase.rows.taps): plan.bands})


def _rows_apart(plan: Tiling, phase: Phase) -> Rows:
    """Those inside the image together, in each band, and those at the border alone; none if no row is at the border."""
    s, most = plan.stencil, phase.rows.taps
    low, high = phase.rows.reach()
    first = min(max(0, -(low // s.step_h)), phase.height)
    end = max(first, min(phase.height, (s.in_height - 1 - high) // s.step_h + 1))
    if not plan.copied or most == 1 or not 0 < phase.height - (end - first) <= MOST_BORDER:
        return Counter()
    bands = ceil_div(phase.height, plan.rows)
    whole = range(ceil_div(first, plan.rows), end // plan.rows)
    cut = (*range(whole.start), *range(whole.stop, bands)) if whole else range(bands)
    inside = (min(end, (band + 1) * plan.rows) - max(first, band * plan.rows) for band in cut)
    border = (phase.rows.within(row * s.step_h, s.in_height) for row in (*range(first), *range(end, phase.height)))
    return (
        Counter({(plan.rows, most): len(whole)})
        + Counter((n, most) for n in inside if n > 0)
        + Counter((1, few) for few in border)
    )


def _tiles(plan: Tiling, phase: Phase, rows: Rows, sizes: Sizes) -> float:
    """The cost of the tiles of a phase."""
    s, cost = plan.stencil, 0.0
    for panel in plan.panels:
        channels = panel.depth(s, sizes["width"])
        runs = ceil_div(panel.in_end - panel.in_first, plan.chunk)
        sharing = _shares(s, phase) and panel.span == 1 and sizes[f"taps_pixels_{panel.vectors}"] > 0
        for (count, taps), times in rows.items():
            if sharing:
                depth, cols = channels * taps, phase.cols.taps
                a_row = sharing_cost(phase.width, cols, s.step_w, panel.vectors, depth, runs, sizes)
                cost += times * plan.images * count * a_row
            else:
                row = (count if plan.flat else 1) * phase.width if s.step_w == 1 else 1
                depth, pixels = channels * taps * phase.cols.taps, plan.images * count * phase.width
                cost += times * tiles_cost(pixels, row, panel.vectors, depth, runs, sizes)
    return ceil_div(s.n, plan.images) * cost


def direct_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(_plan(problem, sizes), sizes)


def direct_packing(problem: Problem, sizes: Sizes) -> float:
    return _packing(_plan(problem, sizes), sizes["width"])


def _packing(plan: Tiling, width: int) -> float:
    taps = sum(f.taps for f in plan.stencil.phases)
    return 4.0 * taps * sum(panel.depth(plan.stencil, width) * panel.vectors * width for panel in plan.panels)


def _cost(plan: Tiling, sizes: Sizes) -> float:
    """The tiles, what is copied, and the packing of the weights."""
    s, width, tiles = plan.stencil, sizes["width"], 0.0
    for f in s.phases:
        if f.taps == 0:
            continue
        choices = filter(None, (_rows(plan, f), _rows_apart(plan, f)))
        tiles += min(_tiles(plan, f, rows, sizes) for rows in choices)
    band = plan.height * plan.width * max(p.in_end for p in plan.panels) * plan.images
    moved = plan.tasks * band if plan.copied else s.n * s.in_height * s.in_width * ceil_div(s.in_channels, width)
    made = s.n * s.out_height * s.out_width * ceil_div(s.out_channels, width)
    return tiles + 4 * moved + 4 * made + _packing(plan, width)


def _row(op: str, blocked: tuple[str, ...]) -> Row:
    return Row(
        op,
        "direct",
        (f"{op}_direct_pack", f"{op}_direct"),
        direct,
        supports,
        direct_cost,
        packs=("weight",),
        packing=direct_packing,
        blocked=blocked,
        asking=1.0,
    )


ROWS = (_row("conv2d", ("x", "residual", "y")), _row("conv2d_input_grad", ("dy", "dx")))
