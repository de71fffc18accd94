"""Sums and statistics of channels, of plain activations, of matrices and of activations in blocks of channels."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..base import Launch, Problem
from ..machine import whole_lines
from ..signatures import Channels
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


ROWS = (
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
)
