"""Splits of what is summed over, moved into or read beside activations in blocks of channels."""

from __future__ import annotations

import math

from .base import Launch, Problem
from .launches import FEW_TASKS, Sizes, ceil_div


def images(problem: Problem) -> bool:
    """Whether the problem's inputs are images, which alone are held in blocks."""
    x = problem.inputs[0]
    return x is not None and len(x) == 4


def whole_channels(problem: Problem) -> bool:
    """Whether a sum is over everything but the channels of images."""
    return images(problem) and tuple(problem.attrs["axes"]) == (0, 2, 3)


def _sums(problem: Problem, sizes: Sizes, part: str, numbers: bool = False) -> Launch:
    n, c, *space = problem.inputs[0] or ()
    blocks = ceil_div(c, sizes["width"])
    chunks = min(n, ceil_div(FEW_TASKS, blocks))
    extra = (chunks, n, c, math.prod(space)) if numbers else (chunks,)
    return Launch(tasks=(blocks * chunks, blocks), scratch=blocks * chunks * sizes[part], extra=extra)


def batch_stats(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: statistics of each block of channels in each chunk of the batch, merge."""
    return _sums(problem, sizes, "lane_moments")


def batch_norm_grad_sums(problem: Problem, sizes: Sizes) -> Launch:
    """Stages: sums of each block of channels in each chunk of the batch, merge."""
    return _sums(problem, sizes, "lane_totals")


def channel_sums(problem: Problem, sizes: Sizes) -> Launch:
    """As :func:`batch_norm_grad_sums`, of ``reduce_sum``."""
    return _sums(problem, sizes, "lane_totals", numbers=True)


def reorder(problem: Problem, sizes: Sizes) -> Launch:
    """A task is one block of channels, some thousand pixels at a time."""
    n, c, *space = problem.outputs[0]
    return Launch(tasks=(n * ceil_div(c, sizes["width"]) * ceil_div(math.prod(space), sizes["reorder_pixels"]),))


def repeat_channels(problem: Problem, sizes: Sizes) -> Launch:
    """One task a block of channels."""
    rows, blocks, _, _ = problem.outputs[0]
    return Launch(tasks=(rows * blocks,))
