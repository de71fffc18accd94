"""Activations moved into blocks of channels and back, and values of channels as chains over blocks read them."""

from __future__ import annotations

import math

from ..base import Launch, Problem
from .launches import Sizes, ceil_div
from .row import Row


def reorder(problem: Problem, sizes: Sizes) -> Launch:
    """A task is one block of channels, some thousand pixels at a time."""
    n, c, *space = problem.outputs[0]
    return Launch(tasks=(n * ceil_div(c, sizes["width"]) * ceil_div(math.prod(space), sizes["reorder_pixels"]),))


def repeat_channels(problem: Problem, sizes: Sizes) -> Launch:
    """One task a block of channels."""
    rows, blocks, _, _ = problem.outputs[0]
    return Launch(tasks=(rows * blocks,))


ROWS = (
    Row("to_blocked", "", ("to_blocked",), reorder, blocked=("y",)),
    Row("from_blocked", "", ("from_blocked",), reorder, blocked=("x",)),
    Row("repeat_channels", "", ("repeat_channels",), repeat_channels),
)
