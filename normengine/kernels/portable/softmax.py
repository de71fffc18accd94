"""Softmax and its logarithm over the middle axis of ``(A, C, B)``, and their gradients.

Up to 64 neighbouring rows of the axis, a task, are walked together, so that the inner loops become vector code: the
``B`` positions of one ``a``, or where B is 1 the positions ``a`` themselves. Long rows that lie in memory one after the
other are walked one by one.
"""

from __future__ import annotations

import numpy as np

from ..base import REGISTRY, Launch, Problem
from ..chains.scalars import exp, log
from .build import Array, portable

LANES = 64
LONG = 16
"""Elements of a row that is walked by itself, at least."""
KEPT = 128
"""Elements of rows that are walked together whose exponentials are kept beside each other, at most: those of an image's
channels lie in few sets of the L1 cache."""


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


def largest_of_row(x: Array, first: int, C: int, maxima: Array) -> float:
    """The maximum of one row whose elements are neighbours, by way of 64 maxima of every 64th element."""
    for i in range(LANES):
        maxima[i] = -np.inf
    whole = C // LANES * LANES
    for start in range(first, first + whole, LANES):
        for i in range(LANES):
            value = np.float64(x[start + i])
            maxima[i] = value if value > maxima[i] else maxima[i]
    largest = -np.inf
    for c in range(first + whole, first + C):
        largest = x[c] if x[c] > largest else largest
    for i in range(LANES):
        largest = maxima[i] if maxima[i] > largest else largest
    return largest


def softmax_of_row(x: Array, y: Array, maxima: Array, first: int, C: int) -> None:
    """Softmax of one row."""
    largest = np.float32(largest_of_row(x, first, C, maxima))
    for c in range(first, first + C):
        y[c] = exp(x[c] - largest)
    total = 0.0
    for c in range(first, first + C):
        total += y[c]
    share = 1.0 / total
    for c in range(first, first + C):
        y[c] = np.float32(np.float64(y[c]) * share)


def log_softmax_of_row(x: Array, y: Array, maxima: Array, first: int, C: int) -> None:
    """Its logarithm; the exponentials are where the results will be."""
    largest = largest_of_row(x, first, C, maxima)
    for c in range(first, first + C):
        y[c] = exp(x[c] - np.float32(largest))
    total = 0.0
    for c in range(first, first + C):
        total += y[c]
    logarithm = np.float64(log(np.float32(total)))
    for c in range(first, first + C):
        y[c] = np.float32((x[c] - largest) - logarithm)


def softmax_grad_of_row(dy: Array, y: Array, dx: Array, first: int, C: int) -> None:
    """The gradient of one row."""
    total = 0.0
    for c in range(first, first + C):
        total += np.float64(dy[c]) * np.float64(y[c])
    for c in range(first, first + C):
        dx[c] = np.float32(y[c] * (dy[c] - total))


def log_softmax_grad_of_row(dy: Array, y: Array, dx: Array, first: int, C: int) -> None:
    """The gradient of one row of the logarithm."""
    total = 0.0
    for c in range(first, first + C):
        total += dy[c]
    for c in range(first, first + C):
        dx[c] = np.float32(dy[c] - exp(y[c]) * total)


def softmax_of_rows(x: Array, y: Array, workspace: Array, first: int, lanes: int, lane: int, C: int, step: int) -> None:
    """Softmax of rows whose maxima are in the workspace; their sums come behind these, then the exponentials."""
    for i in range(lanes):
        workspace[LANES + i] = 0.0
    for c in range(C):
        for i in range(lanes):
            power = np.float64(exp(x[first + c * step + i * lane] - np.float32(workspace[i])))
            workspace[(2 + c) * LANES + i] = power
            workspace[LANES + i] += power
    for i in range(lanes):
        workspace[LANES + i] = 1.0 / workspace[LANES + i]
    for c in range(C):
        for i in range(lanes):
            y[first + c * step + i * lane] = np.float32(workspace[(2 + c) * LANES + i] * workspace[LANES + i])


def softmax(x: Array, y: Array, workspace: Array, A: int, C: int, B: int, begin: int, end: int) -> None:
    """``y = exp(x - max) / sum(exp(x - max))``; the workspace holds 64 maxima, which become the sums."""
    for task in range(begin, end):
        first, lanes, lane, step = lanes_of(task, A, C, B)
        if B == 1 and C >= LONG:
            for i in range(lanes):
                softmax_of_row(x, y, workspace, first + i * C, C)
            continue
        largest_of_rows(x, first, lanes, lane, C, step, workspace)
        if C <= KEPT:
            softmax_of_rows(x, y, workspace, first, lanes, lane, C, step)
            continue
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                y[at] = exp(x[at] - np.float32(workspace[i]))
        for i in range(lanes):
            workspace[i] = 0.0
        for c in range(C):
            for i in range(lanes):
                workspace[i] += y[first + c * step + i * lane]
        for i in range(lanes):
            workspace[i] = 1.0 / workspace[i]
        for c in range(C):
            for i in range(lanes):
                at = first + c * step + i * lane
                y[at] = np.float32(np.float64(y[at]) * workspace[i])


def log_softmax(x: Array, y: Array, workspace: Array, A: int, C: int, B: int, begin: int, end: int) -> None:
    """``y = x - max - log(sum(exp(x - max)))``; the workspace holds 64 maxima and 64 sums."""
    for task in range(begin, end):
        first, lanes, lane, step = lanes_of(task, A, C, B)
        if B == 1 and C >= LONG:
            for i in range(lanes):
                log_softmax_of_row(x, y, workspace, first + i * C, C)
            continue
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
        if B == 1 and C >= LONG:
            for i in range(lanes):
                softmax_grad_of_row(dy, y, dx, first + i * C, C)
            continue
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
        if B == 1 and C >= LONG:
            for i in range(lanes):
                log_softmax_grad_of_row(dy, y, dx, first + i * C, C)
            continue
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


def _row_blocks_kept(problem: Problem) -> Launch:
    _, c, _ = (int(n) for n in REGISTRY.signatures[problem.op].values(problem))
    return _row_blocks(problem)._replace(workspace=(2 + min(c, KEPT)) * 8 * LANES)


portable("softmax", _row_blocks_kept, softmax)
portable("log_softmax", _row_blocks, log_softmax)
portable("softmax_grad", _row_blocks, softmax_grad)
portable("log_softmax_grad", _row_blocks, log_softmax_grad)
