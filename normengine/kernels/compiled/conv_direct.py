"""How direct convolution over channel-blocked activations, and its input gradient, cut their work, and what it costs.

Both directions are sums over the pixels of grids (``stencil.py``), in tiles of registers (``tiles.py``).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..base import Launch, Prefetcher, Problem
from ..machine import DirectCosts
from .conv_direct_tiling import MOST_TASKS, Panel, Tiling, blocks_of, shares_inputs, tiling_of
from .launches import (
    INT64,
    MOST_PHASES,
    MOST_SPREAD,
    WIDEST,
    Sizes,
    ceil_div,
    convolution_of,
    copied_at_most,
    copied_pixels,
    from_memory,
    tasks_wanted,
)
from .row import Row
from .stencil import Phase, Stencil, Taps, stencils
from .tiles import sharing_cost, tiles_cost

COST = DirectCosts
MOST_BORDER = 1 << 12
"""Rows at the border of an image that are made by themselves, at most."""


class Grid(NamedTuple):
    """The record of a phase: ``height`` by ``width`` pixels, of which row i is row ``i * out_step_h + out_row`` of the
    output.

    ``weights`` counts floats in the scratch memory; ``sources``, ``targets``, ``taps`` and ``rest`` are positions in
    the tables there; the pixels of a run of ``run`` are neighbours. ``across`` neighbouring taps of a row share what
    they read, or none if it is 0. Where ``apart`` is set, rows of which some taps lie above or below the image are made
    by themselves, without those taps, and the same rows of the images of a task are neighbours in the tables; else the
    rows of an image are.
    """

    height: int
    width: int
    out_row: int
    out_col: int
    out_step_h: int
    out_step_w: int
    run: int
    weights: int
    sources: int
    targets: int
    taps: int
    rest: int
    across: int
    apart: int
    rows: Taps
    cols: Taps


class Direct(NamedTuple):
    """The record of a launch.

    A task makes ``rows`` rows of the grids of ``images`` images, for one of ``parts`` parts of the panels, ``chunk``
    blocks of input channels at a time. Of those it reads ``height`` by ``width`` pixels whose first is that at ``top``,
    ``left`` of the grid's origin, and copies them, with zeros around the image, unless ``copied`` is 0. ``step_h`` and
    ``step_w`` lie between the inputs of neighbouring pixels of a grid; ``row``, ``block`` and ``image`` are distances
    in floats between what is read, ``line`` is that between output rows, in pixels. The tables of pixels and taps begin
    ``tables`` bytes into the scratch memory. ``cleared`` says that some pixels are reached by no tap. ``merged`` is the
    number of phases that lie side by side, or 0, and ``made`` where in the workspace, in floats, they are made.
    ``absent`` says that some weights of a panel are (``absent.h``). ``products`` multiply-adds of vectors of a task
    prefetch what the next one copies, or none if it is 0.
    """

    prefetcher: Prefetcher
    images: int
    rows: int
    bands: int
    parts: int
    chunk: int
    copied: int
    height: int
    width: int
    top: int
    left: int
    step_h: int
    step_w: int
    row: int
    block: int
    image: int
    line: int
    tables: int
    cleared: int
    merged: int
    made: int
    absent: int
    products: int
    panel_count: int
    grid_count: int
    panels: tuple[Panel, ...]
    grids: tuple[Grid, ...]


def supports(problem: Problem) -> bool:
    """Phases of which each can be planned, and rows of the input, and taps, of which a block is no larger than what may
    be copied, and not far more than what is multiplied."""
    p = convolution_of(problem)
    if problem.op == "conv2d":
        pixels = copied_pixels(p, 1, p.ow)
        if pixels > MOST_SPREAD * p.ow * p.taps:
            return False
    elif min(p.stride_h, p.h) * min(p.stride_w, p.w) > MOST_PHASES:
        return False
    else:
        height, width = ((p.kh - 1) * p.dilation_h // p.stride_h, (p.kw - 1) * p.dilation_w // p.stride_w)
        pixels = (height + 1) * (width + ceil_div(p.w, p.stride_w))
    return max(pixels, p.taps * WIDEST) * WIDEST * problem.item_bytes <= copied_at_most(problem)


def _plan(problem: Problem, sizes: Sizes) -> Tiling:
    tasks = tasks_wanted(problem, MOST_TASKS)
    plans = [
        tiling_of(s, sizes["width"], blocks_of(s, sizes), tasks, problem.item_bytes)
        for s in stencils(problem, sizes["width"])
    ]
    return min(plans, key=lambda plan: _cost(plan, sizes)) if len(plans) > 1 else plans[0]


def direct(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights and tabulate where pixels and taps lie; convolve."""
    width, p = sizes["width"], convolution_of(problem)
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
    panels: list[Panel] = []
    a_tap = 0
    for panel in plan.panels:
        panels.append(panel._replace(weights=a_tap))
        a_tap += panel.depth(s, width) * panel.vectors * width
    grids: list[Grid] = []
    weights = entries = 0
    for f in s.phases:
        pixels = plan.images * min(plan.rows, f.height) * f.width
        contiguous = s.step_w == 1 and (s.step_h == 1 and row == f.width * width)
        run = plan.rows * f.width if contiguous and plan.images == 1 else f.width if s.step_w == 1 else 1
        grid = Grid(
            *(f.height, f.width, *f.first, *f.step, run, weights),
            *(entries, entries + pixels, entries + 2 * pixels, entries + 2 * pixels + f.taps),
            across=f.cols.taps if shares_inputs(s, f) else 0,
            apart=int(_apart(plan, f, sizes)),
            rows=f.rows,
            cols=f.cols,
        )
        grids.append(grid)
        entries = grid.rest + rest * f.taps
        weights += a_tap * f.taps
    weights = ceil_div(weights, 16) * 16
    taps = max(p.taps, s.phases[0].taps)
    band = plan.images * plan.chunk * plan.block * plan.copied
    lanes = ceil_div(s.out_channels, width) * width
    made = (plan.images * plan.rows * s.phases[0].width * lanes + width) * bool(s.merged)
    extra = Direct(
        prefetcher=0,
        images=plan.images,
        rows=plan.rows,
        bands=plan.bands,
        parts=plan.parts,
        chunk=plan.chunk,
        copied=int(plan.copied),
        height=read_height,
        width=read_width,
        top=top,
        left=left,
        step_h=s.step_h,
        step_w=s.step_w,
        row=row,
        block=plan.block,
        image=image,
        line=s.out_width,
        tables=weights * problem.item_bytes,
        cleared=int(not all(f.taps for f in s.phases)),
        merged=s.merged,
        made=band,
        absent=int(_absent(s, width)),
        products=_products(plan, width) if plan.copied and from_memory(problem) else 0,
        panel_count=len(panels),
        grid_count=len(grids),
        panels=tuple(panels),
        grids=tuple(grids),
    )
    return Launch(
        tasks=(len(plan.panels) + 1, plan.tasks),
        scratch=weights * problem.item_bytes + entries * INT64,
        workspace=max(taps * width * width, band + made) * problem.item_bytes,
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
        sharing = shares_inputs(s, phase) and panel.span == 1 and sizes[f"taps_pixels_{panel.vectors}"] > 0
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
    return COST.packed * taps * sum(panel.depth(plan.stencil, width) * panel.vectors * width for panel in plan.panels)


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
    return tiles + COST.moved * moved + COST.made * made + _packing(plan, width)


def _row(op: str, blocked: tuple[str, ...]) -> Row:
    return Row(
        op,
        "direct",
        (f"{op}_direct_pack", f"{op}_direct"),
        direct,
        Direct,
        supports,
        direct_cost,
        packs=("weight",),
        packing=direct_packing,
        blocked=blocked,
        prefetches=1.0,
    )


ROWS = (_row("conv2d", ("x", "residual", "y")), _row("conv2d_input_grad", ("dy", "dx")))
