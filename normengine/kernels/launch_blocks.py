"""Splits of what is summed over, moved into or read beside activations in blocks of channels."""

from __future__ import annotations

import math

from .base import Launch, Problem
from .launches import Sizes, ceil_div, tasks_wanted, whole_lines


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


def batch_stats(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: statistics of each block of channels in each chunk of the batch, merge."""
    blocks, chunks = _split(problem, sizes)
    scratch = chunks * whole_lines(blocks * sizes["lane_moments"])
    return Launch(tasks=(blocks * chunks, blocks), scratch=scratch, extra=(chunks, 0))


def batch_norm_grad_sums(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: sums of each block of channels in each chunk of the batch, merge."""
    blocks, chunks = _split(problem, sizes)
    return Launch((blocks * chunks, blocks), scratch=blocks * chunks * sizes["lane_totals"], extra=(chunks,))


def channel_sums(problem: Problem, sizes: Sizes) -> Launch:
    """As :func:`batch_norm_grad_sums`, of ``reduce_sum``."""
    n, c, *space = problem.inputs[0] or ()
    launch = batch_norm_grad_sums(problem, sizes)
    return launch._replace(extra=(*launch.extra, n, c, math.prod(space)))


def reorder(problem: Problem, sizes: Sizes) -> Launch:
    """A task is one block of channels, some thousand pixels at a time."""
    n, c, *space = problem.outputs[0]
    return Launch(tasks=(n * ceil_div(c, sizes["width"]) * ceil_div(math.prod(space), sizes["reorder_pixels"]),))


def repeat_channels(problem: Problem, sizes: Sizes) -> Launch:
    """One task a block of channels."""
    rows, blocks, _, _ = problem.outputs[0]
    return Launch(tasks=(rows * blocks,))
