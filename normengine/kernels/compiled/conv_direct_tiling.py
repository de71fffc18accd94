"""How direct convolution over channel-blocked activations cuts its work: panels of output channels, bands of rows,
chunks of input channels, tasks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..machine import MACHINE, l1, l2
from .launches import MOST_COPIED, Sizes, ceil_div
from .stencil import Phase, Stencil
from .tiles import panel_count, shares, span_and_vectors

WEIGHT_BYTES = l1(5 / 8)
"""Weights of two vectors, which stay in the L1 cache while the pixels of a task pass; wider panels read theirs from the
L2 cache, but fewer times."""
DIRECT_BAND_BYTES = l1(3 / 2)
"""Input that a task copies, or reads in place, of one chunk of channels."""
SPANNED_BAND_BYTES, SPANNED_ROWS = l2(3 / 16), 4
"""The same where the vectors of all panels span several input channels, whose weights are few: it stays in the L2
cache. Chunks have few enough channels for so many rows of output."""
OUTPUT_BYTES = l2(3 / 16)
"""Output of a task, which stays in the L2 cache from one chunk of channels to the next."""
PIXELS = 64
"""Pixels of a task that use weights often enough, where images are small."""
LEAST_TASKS, FEW_PIXELS = 4, 16
"""Where several threads would have fewer tasks than that, tasks may have as few pixels."""
MOST_TASKS = 32
"""Problems are cut into that many tasks where they are large enough."""
TASK_PRODUCTS = 60_000
"""Multiplications of a task that is not worth cutting."""


class Panel(NamedTuple):
    """Some blocks of output channels and the blocks of input channels on which they depend: a pixel has ``vectors`` of
    sums, whose lanes span so many input channels (see ``lane_split.h``). Also a record, in which ``weights`` says where
    the weights of a tap begin."""

    first: int
    blocks: int
    in_first: int
    in_end: int
    span: int
    vectors: int
    weights: int = 0

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


def blocks_of(s: Stencil, sizes: Sizes) -> Blocks:
    full, rest = divmod(s.out_channels, sizes["width"])
    span, vectors = (1, 1) if s.groups > 1 or s.merged else span_and_vectors(rest, s.in_channels, sizes)
    if span == 1:
        full, vectors = full + (rest > 0), 0
    sharing = any(shares_inputs(s, f) for f in s.phases)
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


def _equal(total: int, most: int) -> int:
    """The size of the fewest equal parts of ``total`` that have at most ``most``."""
    return ceil_div(total, ceil_div(total, max(1, min(most, total))))


@lru_cache(maxsize=1024)
def tiling_of(s: Stencil, width: int, blocks: Blocks, tasks: int, item_bytes: int) -> Tiling:
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
    pixel = width * item_bytes
    chunk, band_bytes = WEIGHT_BYTES // (2 * width * width * item_bytes * max(taps, 1)), DIRECT_BAND_BYTES
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
        lines = ceil_div(height * cols * pixel, MACHINE.line_bytes) | 1
        block = lines * MACHINE.line_bytes // item_bytes
    else:
        block = s.in_height * s.in_width * width
    return Tiling(s, panels, images, rows, bands, parts, chunk, copied, height, cols, block, flat)


def shares_inputs(s: Stencil, phase: Phase) -> bool:
    return shares(phase.width, phase.cols.taps, phase.cols.shift_step, s.step_w)
