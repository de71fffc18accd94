"""How weight gradients of kernels with several taps in a row split a problem: bands of pixels, chunks and parts.

The columns of the outer products are channels of x: those of a block under several taps of a row or, where channels do
not fill blocks, all of them packed behind each other (``conv_taps_weight.pxi``, ``conv_packed_weight.pxi``).
"""

from __future__ import annotations

from typing import NamedTuple

from ..base import Launch, Problem
from ..machine import OuterCosts, l3, whole_lines
from ..records import Convolution
from .conv_direct_weight import (
    OUTER_SCRATCH_BYTES,
    OUTER_SUMS_BYTES,
    OUTER_TASK_PRODUCTS,
    WeightSplit,
    bands_are_small,
    bands_of,
    copy_cost,
    is_copied,
    memory_cost,
    tile_cost,
)
from .launches import (
    WIDEST,
    Sizes,
    ceil_div,
    convolution_of,
    copied_pixels,
    from_memory,
    tasks_wanted,
)
from .row import Row
from .tiles import taps_at_a_time

FEW_SCRATCH_BYTES = l3(1 / 32)
"""Sums of all chunks, if that makes tasks enough: few bytes pass quickly from the thread that sums to the one that adds
up."""
MOST_PACKED = 64
"""Channels that are packed, at most: of more channels few lanes are empty."""


class Columns(NamedTuple):
    """For each of ``blocks`` of x a row of the kernel has so many ``vectors`` of columns. ``a_pixel`` counts the floats
    of a pixel of a band of x, which may be ``copied``. Tasks of the first stage take a part of the ``pieces``: blocks
    of x or, if that is one, of dy. ``merges`` are the tasks of the second stage."""

    blocks: int
    vectors: int
    a_pixel: int
    copied: bool
    pieces: int
    merges: int

    @classmethod
    def of_taps(cls, p: Convolution, width: int) -> Columns:
        blocks = ceil_div(p.c, width)
        return cls(blocks, p.kw, width, is_copied(p), blocks, blocks * p.oc)

    @classmethod
    def packed(cls, p: Convolution, width: int) -> Columns:
        return cls(1, ceil_div(p.kw * p.c, width), p.c, True, ceil_div(p.oc, width), p.oc)

    def sums(self, p: Convolution) -> int:
        """Vectors of sums."""
        return self.blocks * p.oc * p.kh * self.vectors


def several_taps(problem: Problem) -> bool:
    """Whether rows of a kernel have several taps, in one group and near each other."""
    p = convolution_of(problem)
    return p.groups == 1 and p.kw > 1 and bands_are_small(problem)


def neighbouring_taps(problem: Problem) -> bool:
    """Whether they lie side by side, of few channels that are not whole blocks, and have more columns in a row than the
    widest vectors have lanes."""
    p = convolution_of(problem)
    few = p.kw * p.c > WIDEST and p.c % WIDEST != 0 and p.c <= MOST_PACKED
    return several_taps(problem) and p.dilation_w == 1 and few


def _split(problem: Problem, columns: Columns, width: int) -> WeightSplit:
    p, most_tasks = convolution_of(problem), tasks_wanted(problem)
    tasks = max(1, min(most_tasks, p.n * p.oh * p.ow * p.oc * p.c * p.taps // OUTER_TASK_PRODUCTS))
    bands = bands_of(p, columns.a_pixel, width, tasks, problem.item_bytes)
    image_bands, row_bands = ceil_div(p.n, bands.images), ceil_div(p.oh, bands.rows)
    col_bands = ceil_div(p.ow, bands.cols)
    sums = columns.sums(p) * width * problem.item_bytes
    few_chunks = max(FEW_SCRATCH_BYTES // sums, ceil_div(tasks, columns.pieces))
    most_chunks = max(1, min(image_bands * row_bands * col_bands, OUTER_SCRATCH_BYTES // sums, few_chunks))
    parts = min(columns.pieces, max(ceil_div(sums, OUTER_SUMS_BYTES), ceil_div(tasks, most_chunks)))
    chunks = min(most_chunks, ceil_div(most_tasks, parts))
    return WeightSplit(
        width, 1, 1, 1, parts, image_bands, row_bands, col_bands,
        columns.a_pixel, int(columns.copied), p.oc, 0, int(from_memory(problem)), chunks,
    )  # fmt: skip


def _launch(problem: Problem, columns: Columns, width: int) -> Launch:
    p, s = convolution_of(problem), _split(problem, columns, width)
    images, rows, cols = ceil_div(p.n, s.image_bands), ceil_div(p.oh, s.row_bands), ceil_div(p.ow, s.col_bands)
    copy = images * copied_pixels(p, rows, cols) * columns.a_pixel + width if columns.copied else 0
    return Launch(
        tasks=(s.chunks * s.channel_parts, columns.merges),
        scratch=s.chunks * whole_lines(columns.sums(p) * width * problem.item_bytes),
        workspace=max(copy, p.kh * columns.vectors * width) * problem.item_bytes,
        extra=s,
    )


def _cost(problem: Problem, columns: Columns, sizes: Sizes) -> float:
    p, width = convolution_of(problem), sizes["width"]
    s = _split(problem, columns, width)
    bands = s.image_bands * s.row_bands * s.col_bands
    pixels = p.n * p.oh * p.ow / bands
    lines = int(max(1.0, min(pixels / p.ow, pixels / 8)))
    channels = [min(width, p.oc - first) for first in range(0, p.oc, width)]
    parts = [(rows, together) for rows in channels for together in taps_at_a_time(columns.vectors, sizes)]
    tile = p.kh * sum(tile_cost(rows, together, int(pixels), lines, sizes) for rows, together in parts)
    copies = max(columns.blocks, s.channel_parts)
    a_band = columns.blocks * tile + copies * copy_cost(p, s, ceil_div(columns.a_pixel, width))
    merge = 2 * (1 + s.chunks) * columns.sums(p)
    return max(memory_cost(p, width, width), a_band * bands + merge)


def taps(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: sum over the bands of each chunk, add up the chunks; several taps of a row of x in blocks at a time."""
    return _launch(problem, Columns.of_taps(convolution_of(problem), sizes["width"]), sizes["width"])


def packed(problem: Problem, sizes: Sizes) -> Launch:
    """As :func:`taps`; all taps of a row of x, copied without the lanes that hold no channel."""
    return _launch(problem, Columns.packed(convolution_of(problem), sizes["width"]), sizes["width"])


def taps_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(problem, Columns.of_taps(convolution_of(problem), sizes["width"]), sizes)


def packed_cost(problem: Problem, sizes: Sizes) -> float:
    return OuterCosts.packed * _cost(problem, Columns.packed(convolution_of(problem), sizes["width"]), sizes)


ROWS = (
    Row(
        "conv2d_weight_grad",
        "taps",
        ("conv2d_weight_grad_taps", "conv2d_weight_grad_merge_taps"),
        taps,
        WeightSplit,
        several_taps,
        taps_cost,
        blocked=("dy", "x"),
        partial_sums=True,
        prefetches=1.0,
    ),
    Row(
        "conv2d_weight_grad",
        "packed",
        ("conv2d_weight_grad_packed", "conv2d_weight_grad_merge_packed"),
        packed,
        WeightSplit,
        neighbouring_taps,
        packed_cost,
        blocked=("dy", "x"),
        partial_sums=True,
        prefetches=1.0,
    ),
)
