"""Sums and statistics of channels, of plain activations, of matrices and of activations in blocks of channels."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..base import Launch, Problem
from ..machine import whole_lines
from ..records import Channels
from .launches import Chunks, PartialChunks, Sizes, ceil_div, numbers_of, tasks_wanted
from .row import Row, half


def channel_sums(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: statistics of each channel in each chunk of the batch, merge; of ``batch_stats`` and the like."""
    n, c = (int(v) for v in numbers_of(problem)[:2])
    chunks = min(n, ceil_div(tasks_wanted(problem), c))
    return Launch(tasks=(c * chunks, c), scratch=c * chunks * sizes["moments"], extra=Chunks(chunks))


def channel_columns(problem: Problem, sizes: Sizes) -> Launch:
    """Statistics of the columns of a matrix, several a task."""
    return Launch(tasks=(ceil_div(int(numbers_of(problem)[1]), sizes["channels_together"]),))


def reduce_sum(problem: Problem, sizes: Sizes) -> Launch:
    _, k0, _, k1 = (int(v) for v in numbers_of(problem))
    return Launch(tasks=(k0 * ceil_div(k1, sizes["sum_columns"]),))


def each_image(problem: Problem, sizes: Sizes) -> Launch:
    """A task is one channel of one image."""
    n, c = (int(v) for v in numbers_of(problem)[:2])
    return Launch(tasks=(n * c,))


def each_image_blocked(problem: Problem, sizes: Sizes) -> Launch:
    """A task is one block of channels of one image."""
    n, c, *_ = problem.inputs[0] or ()
    return Launch(tasks=(n * ceil_div(c, sizes["width"]),))


def image_parts(problem: Problem, sizes: Sizes) -> Launch:
    """A task is one part of the batch."""
    return Launch(tasks=(int(numbers_of(problem)[0]),))


def in_blocks(problem: Problem, sizes: Sizes) -> float:
    """As :func:`half`, of channels that fill their blocks; others cost what those of the block would."""
    _, c, *_ = problem.inputs[0] or ()
    width = sizes["width"]
    return half(problem, sizes) * ceil_div(c, width) * width / c


def matrix(problem: Problem) -> bool:
    """One value a channel and image."""
    return numbers_of(problem)[2] == 1


def images(problem: Problem) -> bool:
    """Whether the problem's inputs are images, which alone are held in blocks."""
    x = problem.inputs[0]
    return x is not None and len(x) == 4


def whole_channels(problem: Problem) -> bool:
    """Whether a sum is over everything but the channels of images."""
    return images(problem) and tuple(problem.attrs["axes"]) == (0, 2, 3)


def each_image_sum(problem: Problem) -> bool:
    """Whether a sum is over the pixels of images."""
    return images(problem) and tuple(problem.attrs["axes"]) == (2, 3) and bool(problem.attrs["keepdims"])


def _split(problem: Problem, sizes: Sizes) -> tuple[int, int]:
    """Blocks of channels, and chunks of the batch."""
    n, c, *_ = problem.inputs[0] or ()
    blocks = ceil_div(c, sizes["width"])
    return blocks, min(n, ceil_div(tasks_wanted(problem), blocks))


def batch_stats_blocked(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: statistics of each block of channels in each chunk of the batch, merge."""
    blocks, chunks = _split(problem, sizes)
    scratch = chunks * whole_lines(blocks * sizes["lane_moments"])
    return Launch(tasks=(blocks * chunks, blocks), scratch=scratch, extra=PartialChunks(chunks))


def batch_norm_grad_sums_blocked(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: sums of each block of channels in each chunk of the batch, merge."""
    blocks, chunks = _split(problem, sizes)
    return Launch((blocks * chunks, blocks), scratch=blocks * chunks * sizes["lane_totals"], extra=Chunks(chunks))


def sum_images(problem: Problem, sizes: Sizes) -> Launch:
    """A task makes some neighbouring elements."""
    _, c, s = (int(v) for v in numbers_of(problem))
    return Launch(tasks=(ceil_div(c * s, sizes["sum_columns"]),))


def sum_images_blocked(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: the sum of each chunk of the batch, then of the chunks for each block of channels."""
    n, c, s = (int(v) for v in numbers_of(problem))
    blocks, chunks = ceil_div(c, sizes["width"]), min(n, tasks_wanted(problem))
    scratch = chunks * whole_lines(blocks * s * sizes["width"] * problem.item_bytes)
    return Launch(tasks=(chunks, blocks), scratch=scratch, extra=PartialChunks(chunks))


class ChannelSums(NamedTuple):
    """The record of ``reduce_sum`` over all but the channels of images."""

    chunks: int
    channels: Channels


def channel_sums_blocked(problem: Problem, sizes: Sizes) -> Launch:
    """As :func:`batch_norm_grad_sums_blocked`, of ``reduce_sum``."""
    n, c, *space = problem.inputs[0] or ()
    _, chunks = _split(problem, sizes)
    extra = ChannelSums(chunks, Channels(n, c, math.prod(space)))
    return batch_norm_grad_sums_blocked(problem, sizes)._replace(extra=extra)


class ImageSums(NamedTuple):
    """The record of ``reduce_sum`` over the pixels of images."""

    channels: Channels


def image_sums_blocked(problem: Problem, sizes: Sizes) -> Launch:
    """As :func:`each_image_blocked`, of ``reduce_sum``."""
    n, c, *space = problem.inputs[0] or ()
    return each_image_blocked(problem, sizes)._replace(extra=ImageSums(Channels(n, c, math.prod(space))))


ROWS = (
    Row("moments", "", ("moments",), each_image),
    Row("moments", "blocked", ("moments_blocked",), each_image_blocked, cost=in_blocks, blocked=("x", "mean", "var")),
    Row("normalize_grad_sums", "", ("normalize_grad_sums",), each_image),
    Row(
        "normalize_grad_sums",
        "blocked",
        ("normalize_grad_sums_blocked",),
        each_image_blocked,
        cost=in_blocks,
        blocked=("dy", "x", "mean", "weighted", "plain"),
    ),
    Row("group_mean", "", ("group_mean",), image_parts),
    Row("batch_stats", "", ("batch_stats_chunk", "batch_stats_merge"), channel_sums, Chunks),
    Row(
        "batch_norm_grad_sums",
        "",
        ("batch_norm_grad_sums_chunk", "batch_norm_grad_sums_merge"),
        channel_sums,
        Chunks,
    ),
    Row("batch_stats", "columns", ("batch_stats_columns",), channel_columns, supports=matrix, cost=half),
    Row(
        "batch_norm_grad_sums",
        "columns",
        ("batch_norm_grad_sums_columns",),
        channel_columns,
        supports=matrix,
        cost=half,
    ),
    Row("reduce_sum", "", ("reduce_sum",), reduce_sum),
    Row(
        "batch_stats",
        "blocked",
        ("batch_stats_blocked", "batch_stats_blocked_merge"),
        batch_stats_blocked,
        PartialChunks,
        images,
        cost=half,
        blocked=("x",),
        partial_sums=True,
    ),
    Row(
        "batch_norm_grad_sums",
        "blocked",
        ("batch_norm_grad_sums_blocked", "batch_norm_grad_sums_blocked_merge"),
        batch_norm_grad_sums_blocked,
        Chunks,
        images,
        cost=half,
        blocked=("dy", "x"),
    ),
    Row(
        "reduce_sum",
        "blocked",
        ("channel_sums_blocked", "channel_sums_blocked_merge"),
        channel_sums_blocked,
        ChannelSums,
        whole_channels,
        cost=half,
        blocked=("x",),
    ),
    Row(
        "reduce_sum",
        "images",
        ("image_sums_blocked",),
        image_sums_blocked,
        ImageSums,
        each_image_sum,
        cost=half,
        blocked=("x", "y"),
    ),
    Row("sum_images", "", ("sum_images",), sum_images),
    Row(
        "sum_images",
        "blocked",
        ("sum_images_blocked", "sum_images_blocked_merge"),
        sum_images_blocked,
        PartialChunks,
        cost=in_blocks,
        blocked=("x",),
        partial_sums=True,
    ),
)
