"""How the compiled kernels split a problem: tasks, block sizes and memory, from the problem and the vector width alone.

Nothing here asks how many threads there are, so that results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .base import REGISTRY, Launch, Problem

Sizes = Mapping[str, int]
"""What an extension module says of itself: vector ``width``, ``rows`` and ``columns`` of its register tile, ..."""

PANEL_BYTES = 20480
"""Tiles of the right factor, which stay in the L1 cache while the rows of the left one pass."""
TASK_PRODUCTS = 2_000_000
"""Multiplications of a task that is large enough to be handed out by itself."""
FEW_TASKS = 16
"""Problems are cut into at least that many tasks where they can be."""
WEIGHT_GRAD_DEPTH = 192
"""Rows of the im2col matrix of a task of the weight gradient, which stay in the L2 cache."""
BAND_BYTES = 24576
"""Rows of a plane, with borders, that a depthwise convolution copies at a time."""
FLOAT, INT64, DOUBLE = 4, 8, 8


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Convolution:
    """The numbers of a convolution's signature."""

    n: int
    c: int
    h: int
    w: int
    oc: int
    oh: int
    ow: int
    kh: int
    kw: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    dilation_h: int
    dilation_w: int
    groups: int

    @classmethod
    def of(cls, problem: Problem) -> Convolution:
        return cls(*(int(v) for v in _numbers(problem)[:16]))

    @property
    def taps(self) -> int:
        return self.kh * self.kw

    @property
    def depthwise(self) -> bool:
        return self.groups == self.c == self.oc


def _numbers(problem: Problem) -> tuple[int | float, ...]:
    return REGISTRY.signatures[problem.op].values(problem)


def depth_block(depth: int, sizes: Sizes) -> int:
    """Rows of a panel: ``depth`` in the fewest equal blocks of at most PANEL_BYTES."""
    limit = PANEL_BYTES // (sizes["columns"] * FLOAT)
    return ceil_div(depth, ceil_div(depth, limit))


def _windows(p: Convolution, sizes: Sizes) -> int:
    """Bytes that say where the windows of one vector of pixels lie."""
    return sizes["pixels"] + p.taps * sizes["tap_lanes"]


def _implicit_gemm(p: Convolution, pixels: int, rows: int, channels: int, phases: int, sizes: Sizes) -> Launch:
    images, groups, depth = p.n, p.groups, channels * p.taps
    tiles, pixel_tiles = ceil_div(rows, sizes["rows"]), ceil_div(pixels, sizes["columns"])
    deepest = ceil_div(depth, phases)
    tiles_a_task = max(1, TASK_PRODUCTS // (sizes["columns"] * deepest * rows))
    tiles_a_task = min(tiles_a_task, max(1, images * groups * phases * pixel_tiles // FEW_TASKS))
    span = tiles_a_task * sizes["columns"]
    tasks = images * groups * phases * ceil_div(pixels, span)
    channel_blocks = min(tiles, ceil_div(FEW_TASKS, tasks))
    block = depth_block(depth, sizes)
    panel = block * sizes["columns"] * FLOAT
    panels = min(tiles_a_task, max(1, PANEL_BYTES // panel))
    return Launch(
        tasks=(groups * tiles, tasks * channel_blocks),
        scratch=groups * tiles * depth * sizes["rows"] * FLOAT,
        workspace=panels * panel + _windows(p, sizes),
        extra=(span, channel_blocks, block, panels),
    )


def conv2d_gemm(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights, multiply."""
    p = Convolution.of(problem)
    return _implicit_gemm(p, p.oh * p.ow, p.oc // p.groups, p.c // p.groups, 1, sizes)


def conv2d_input_grad_gemm(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights, multiply; the pixels of each phase of the stride are a grid of their own."""
    p = Convolution.of(problem)
    pixels = ceil_div(p.h, p.stride_h) * ceil_div(p.w, p.stride_w)
    return _implicit_gemm(p, pixels, p.c // p.groups, p.oc // p.groups, p.stride_h * p.stride_w, sizes)


def conv2d_weight_grad_gemm(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: multiply for each block of the im2col rows and chunk of the batch, add up the chunks."""
    p = Convolution.of(problem)
    channels = p.c // p.groups
    depth, tiles = channels * p.taps, ceil_div(p.oc // p.groups, sizes["columns"])
    depth_blocks = ceil_div(depth, WEIGHT_GRAD_DEPTH)
    chunks = min(p.n, ceil_div(FEW_TASKS, p.groups * depth_blocks))
    panel = ceil_div(depth, depth_blocks) * sizes["panel_pitch"]
    return Launch(
        tasks=(p.groups * depth_blocks * chunks, p.groups * tiles * channels),
        scratch=chunks * p.groups * tiles * depth * sizes["columns"] * FLOAT,
        workspace=(panel + sizes["panel_pixels"] * sizes["columns"]) * FLOAT + _windows(p, sizes),
        extra=(depth_blocks, chunks),
    )


def _whole_vectors(count: int, sizes: Sizes) -> int:
    return ceil_div(count, sizes["width"]) * sizes["width"]


def _band(p: Convolution, sizes: Sizes) -> tuple[int, int]:
    """Output rows of a band, and bytes of the input rows, with borders, that they read."""
    row = _whole_vectors(p.ow, sizes) + (p.kw - 1) * p.dilation_w // p.stride_w
    pitch = p.stride_w * _whole_vectors(row, sizes)
    reach = (p.kh - 1) * p.dilation_h + 1
    rows = min(p.oh, max(8, (BAND_BYTES // (pitch * FLOAT) - reach) // p.stride_h + 1))
    return rows, ((rows - 1) * p.stride_h + reach) * pitch * FLOAT


def conv2d_depthwise(problem: Problem, sizes: Sizes) -> Launch:
    p = Convolution.of(problem)
    rows, band = _band(p, sizes)
    return Launch(tasks=(p.n * p.c,), workspace=p.taps * INT64 + band, extra=(rows,))


def conv2d_input_grad_depthwise(problem: Problem, sizes: Sizes) -> Launch:
    p = Convolution.of(problem)
    around_h = _around(p.kh, p.stride_h, p.pad_top, p.dilation_h)
    around_w = _around(p.kw, p.stride_w, p.pad_left, p.dilation_w)
    pitch = _whole_vectors(_whole_vectors(ceil_div(p.w, p.stride_w), sizes) + around_w, sizes)
    rows = min(ceil_div(p.h, p.stride_h), max(8, BAND_BYTES // (pitch * FLOAT) - around_h))
    workspace = p.taps * (INT64 + FLOAT) + (rows + around_h) * pitch * FLOAT
    return Launch(tasks=(p.n * p.c,), workspace=workspace, extra=(rows,))


def _around(kernel: int, stride: int, pad: int, dilation: int) -> int:
    """Positions of dy before and after a grid of input pixels that the grid reads."""
    return ((kernel - 1) * dilation - pad) // stride + (stride - 1 + pad) // stride


def conv2d_weight_grad_depthwise(problem: Problem, sizes: Sizes) -> Launch:
    p = Convolution.of(problem)
    rows, band = _band(p, sizes)
    dy = rows * _whole_vectors(p.ow, sizes) * FLOAT
    return Launch(tasks=(p.c,), workspace=p.taps * (INT64 + DOUBLE) + dy + band, extra=(rows,))


def channel_sums(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: statistics of each channel in each chunk of the batch, merge; of ``batch_stats`` and the like."""
    n, c = (int(v) for v in _numbers(problem)[:2])
    chunks = min(n, ceil_div(FEW_TASKS, c))
    return Launch(tasks=(c * chunks, c), scratch=c * chunks * sizes["moments"], extra=(chunks,))


def channel_columns(problem: Problem, sizes: Sizes) -> Launch:
    """Statistics of the columns of a matrix, several a task."""
    return Launch(tasks=(ceil_div(int(_numbers(problem)[1]), sizes["channels_together"]),))


def reduce_sum(problem: Problem, sizes: Sizes) -> Launch:
    _, k0, _, k1 = (int(v) for v in _numbers(problem))
    return Launch(tasks=(k0 * ceil_div(k1, sizes["sum_columns"]),))


def windows(problem: Problem, sizes: Sizes) -> Launch:
    """One task a plane, of pooling over windows; a span for each tap column and two rows of results are at hand."""
    numbers = dict(zip(REGISTRY.signatures[problem.op].parameters, _numbers(problem), strict=True))
    workspace = int(numbers["KW"]) * sizes["span"] + 2 * int(numbers["OW"]) * FLOAT
    return Launch(tasks=(int(numbers["N"] * numbers["C"]),), workspace=workspace)


def planes(problem: Problem, sizes: Sizes) -> Launch:
    """One task a plane."""
    n, c = (int(v) for v in _numbers(problem)[:2])
    return Launch(tasks=(n * c,))
