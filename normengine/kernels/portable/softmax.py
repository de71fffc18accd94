"""Softmax and its logarithm over the middle axis of ``(A, C, B)``, and their gradients.

Up to 64 neighbouring rows of the axis, a task, are walked together, so that the inner loops become vector code: the
``B`` positions of one ``a``, or where B is 1 the positions ``a`` themselves.
"""

from __future__ import annotations

import numpy as np

from ..base import REGISTRY, Launch, Problem
from ..chains.scalars import exp, log
from .build import Array, portable

LANES = 64


def lanes_of(task: int, A: int, C: int, B: int) -> tuple[int, int, int, int]:
    """First element of a task's rows, how many they are, the stride between rows and the stride along the axis."""
    if B == 1:
        return task * LANES * C, min(LANES, A - task * LANES), C, 1
    blocks = (B + LANES - 1) // LANES
    first = task % blocks * LANES
    return task // blocks * C * B + first, min(LANES, B - first), 1, B


def largest_of_rows(x: Array, first: int, lanes: int, lane: int, C: int, step: int, maxima: Array) -> None:
    """The maximum of each row, in ``maxima``."""
    for i in range(lanes):
        maxima[i] = -np.inf
    for c in range(C):
        for i in range(lanes):
            value = np.float64(x[first + c * step + i * lane])
            maxima[i] = value if value > maxima[i] else maxima[i]


def softmax(x: Array, y: Array, workspace: Array, A: int, C: int, B: int, begin: int, end: int) -> None:
    """``y = exp(x - max) / sum(exp(x - max))``; the workspace holds 64 maxima, which become the sums."""
    for task in range(begin, end):
        first, lanes, lane, step = lanes_of(task, A, C, B)
        largest_of_rows(x, first, lanes, lane, C, step, workspace)
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                y[at] = exp(x[at] - np.float32(workspace[i]))
        for i in range(lanes):
            workspace[i] = 0.0
        for c in range(C):
            for i in range(lanes):
                workspace[i] += y[first + c * step + i * lane]
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                y[at] = np.float32(np.float64(y[at]) / workspace[i])


def log_softmax(x: Array, y: Array, workspace: Array, A: int, C: int, B: int, begin: int, end: int) -> None:
    """``y = x - max - log(sum(exp(x - max)))``; the workspace holds 64 maxima and 64 sums."""
    for task in range(begin, end):
        first, lanes, lane, step = lanes_of(task, A, C, B)
        largest_of_rows(x, first, lanes, lane, C, step, workspace)
        for i in range(lanes):
            workspace[LANES + i] = 0.0
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                workspace[LANES + i] += exp(x[at] - np.float32(workspace[i]))
        for i in range(lanes):
            workspace[LANES + i] = log(np.float32(workspace[LANES + i]))
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                y[at] = np.float32((x[at] - workspace[i]) - workspace[LANES + i])


def softmax_grad(
    dy: Array, y: Array, dx: Array, workspace: Array, A: int, C: int, B: int, begin: int, end: int
) -> None:
    """``dx = y * (dy - sum(dy * y))``."""
    for task in range(begin, end):
        first, lanes, lane, step = lanes_of(task, A, C, B)
        for i in range(lanes):
            workspace[i] = 0.0
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                workspace[i] += np.float64(dy[at]) * np.float64(y[at])
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                dx[at] = np.float32(y[at] * (dy[at] - workspace[i]))


def log_softmax_grad(
    dy: Array, y: Array, dx: Array, workspace: Array, A: int, C: int, B: int, begin: int, end: int
) -> None:
    """``dx = dy - exp(y) * sum(dy)``."""
    for task in range(begin, end):
        first, lanes, lane, step = lanes_of(task, A, C, B)
        for i in range(lanes):
            workspace[i] = 0.0
        for c in range(C):
            for i in range(lanes):
                workspace[i] += dy[first + c * step + i * lane]
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                dx[at] = np.float32(dy[at] - exp(y[at]) * workspace[i])


def _row_blocks(problem: Problem) -> Launch:
    a, _, b = (int(n) for n in REGISTRY.signatures[problem.op].values(problem))
    tasks = -(-a // LANES) if b == 1 else a * -(-b // LANES)
    return Launch((tasks,), workspace=2 * 8 * LANES)


portable("softmax", _row_blocks, softmax)
portable("log_softmax", _row_blocks, log_softmax)
portable("softmax_grad", _row_blocks, softmax_grad)
portable("log_softmax_grad", _row_blocks, log_softmax_grad)
