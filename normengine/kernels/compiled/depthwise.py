"""How depthwise convolutions over channel-blocked activations split a problem, and what they cost."""

from __future__ import annotations

from typing import NamedTuple

from ..base import Launch, Problem
from ..machine import DepthwiseCosts, l1, l2, whole_lines
from ..records import Convolution
from .launches import INT64, PartialChunks, Parts, Sizes, ceil_div, convolution_of, tasks_wanted
from .row import Row

PHASED_BAND_BYTES, NEAR_GRADIENT_BYTES = l1(1), l2(2)
"""Rows of the input gradient that the phases of a stride make one after the other: what stays in the L1 cache; but one
row, as memory is written fastest, where the whole leaves the L2 cache."""
COST = DepthwiseCosts
CHUNK_ROWS = 8
"""Rows of the output's gradient of a task of the weight gradient, where the batch has so many for each."""
PART_ROWS = 4
"""Rows of a task, at least, where there are tasks enough: the windows of neighbouring tasks overlap."""


class Bands(NamedTuple):
    """The record of the input gradient: parts of a plane, rows of each phase of the stride in a band."""

    parts: int
    band: int


def supports(problem: Problem) -> bool:
    """One input channel for each output channel."""
    return convolution_of(problem).depthwise


def _blocks(p: Convolution, sizes: Sizes) -> int:
    return ceil_div(p.c, sizes["width"])


def _parts(problem: Problem, rows: int, sizes: Sizes) -> int:
    """Tasks of one plane: enough for the threads, and rows of a few images enough for each of them."""
    p, tasks = convolution_of(problem), tasks_wanted(problem)
    for_threads = min(rows, ceil_div(tasks, p.n * _blocks(p, sizes)))
    return max(for_threads, min(rows // PART_ROWS, tasks // (2 * p.n)))


def conv2d(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights, convolve."""
    p, width = convolution_of(problem), sizes["width"]
    blocks, parts = _blocks(p, sizes), _parts(problem, p.oh, sizes)
    return Launch(
        tasks=(blocks, p.n * blocks * parts),
        scratch=blocks * p.taps * width * problem.item_bytes,
        workspace=p.kh * INT64 + p.w * width * problem.item_bytes,
        extra=Parts(parts),
    )


def conv2d_input_grad(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: pack the weights, convolve."""
    p, width = convolution_of(problem), sizes["width"]
    blocks, rows = _blocks(p, sizes), ceil_div(p.h, p.stride_h)
    parts = _parts(problem, rows, sizes)
    phases = p.stride_h * p.stride_w
    axes = min(p.stride_h, max(p.h, 2)) + min(p.stride_w, max(p.w, 2))
    row_bytes = p.stride_h * p.w * width * problem.item_bytes
    far = p.n * blocks * rows * row_bytes > NEAR_GRADIENT_BYTES
    band = rows if phases == 1 else 1 if far else max(1, PHASED_BAND_BYTES // row_bytes)
    return Launch(
        tasks=(blocks, p.n * blocks * parts),
        scratch=blocks * p.taps * width * problem.item_bytes,
        workspace=axes * sizes["window_axis"] + p.kh * INT64 + p.ow * width * problem.item_bytes,
        extra=Bands(parts, band),
    )


def _chunks(problem: Problem) -> int:
    p = convolution_of(problem)
    return min(tasks_wanted(problem), ceil_div(p.n * p.oh, CHUNK_ROWS))


def conv2d_weight_grad(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: sum over chunks of the rows of all images, add up the chunks."""
    p, width = convolution_of(problem), sizes["width"]
    blocks = _blocks(p, sizes)
    chunks = _chunks(problem)
    return Launch(
        tasks=(chunks, blocks),
        scratch=chunks * whole_lines(blocks * p.taps * width * problem.item_bytes),
        workspace=p.w * width * problem.item_bytes,
        extra=PartialChunks(chunks),
    )


def _products(p: Convolution) -> float:
    """The cost of the products for one vector of the output: kernels of neighbouring taps have code of their own."""
    known = p.kh == p.kw and p.kw in (3, 5) and p.stride_w in (1, 2) and p.dilation_w == 1
    return p.taps * (COST.tap if known else COST.other_tap)


def _planes(p: Convolution, sizes: Sizes) -> int:
    return p.n * _blocks(p, sizes)


def _moved(p: Convolution, sizes: Sizes) -> float:
    return COST.moved * _planes(p, sizes) * (p.h * p.w + p.oh * p.ow)


def packing(problem: Problem, sizes: Sizes) -> float:
    p = convolution_of(problem)
    return COST.packed * p.c * p.taps


def conv2d_cost(problem: Problem, sizes: Sizes) -> float:
    p = convolution_of(problem)
    return _planes(p, sizes) * p.oh * p.ow * (COST.pixel + _products(p)) + _moved(p, sizes) + packing(problem, sizes)


def conv2d_input_grad_cost(problem: Problem, sizes: Sizes) -> float:
    p = convolution_of(problem)
    pixels = p.oh * p.ow * _products(p) + p.h * p.w * COST.pixel
    return _planes(p, sizes) * pixels + _moved(p, sizes) + packing(problem, sizes)


def conv2d_weight_grad_cost(problem: Problem, sizes: Sizes) -> float:
    p = convolution_of(problem)
    chunks = _chunks(problem)
    sums = _planes(p, sizes) * p.oh * p.ow * (1 + COST.weight_tap * _products(p))
    return sums + _moved(p, sizes) + chunks * p.c * p.taps


ROWS = (
    Row(
        "conv2d",
        "depthwise",
        ("depthwise_blocked_pack", "depthwise_blocked"),
        conv2d,
        Parts,
        supports,
        conv2d_cost,
        packs=("weight",),
        packing=packing,
        blocked=("x", "residual", "y"),
    ),
    Row(
        "conv2d_input_grad",
        "depthwise",
        ("depthwise_blocked_input_grad_pack", "depthwise_blocked_input_grad"),
        conv2d_input_grad,
        Bands,
        supports,
        conv2d_input_grad_cost,
        packs=("weight",),
        packing=packing,
        blocked=("dy", "dx"),
    ),
    Row(
        "conv2d_weight_grad",
        "depthwise",
        ("depthwise_blocked_weight_grad", "depthwise_blocked_weight_grad_merge"),
        conv2d_weight_grad,
        PartialChunks,
        supports,
        conv2d_weight_grad_cost,
        blocked=("dy", "x"),
        partial_sums=True,
    ),
)
