"""Statistics of each channel and the sums of batch normalization's gradient, in float64. A task is one channel."""

from __future__ import annotations

import math

import numpy as np

from ..base import Launch, Problem
from .build import Array, portable


def batch_stats(x: Array, mean: Array, var: Array, N: int, C: int, S: int, begin: int, end: int) -> None:
    """Sums of the values, and of their squares, after the channel's first value is taken from each."""
    for c in range(begin, end):
        shift = np.float64(x[c * S])
        total = 0.0
        squares = 0.0
        for n in range(N):
            first = (n * C + c) * S
            for i in range(first, first + S):
                d = np.float64(x[i]) - shift
                total += d
                squares += d * d
        m = np.float64(N * S)
        mean[c] = shift + total / m
        var[c] = max(squares - total * (total / m), 0.0) / m


def batch_norm_grad_sums(
    dy: Array, x: Array, mean: Array, var: Array, dweight: Array, dbias: Array,
    N: int, C: int, S: int, eps: float, begin: int, end: int,
) -> None:  # fmt: skip
    """``dbias = sum(dy)``, ``dweight = sum(dy * (x - mean)) / sqrt(var + eps)``."""
    for c in range(begin, end):
        middle = np.float64(mean[c])
        plain = 0.0
        weighted = 0.0
        for n in range(N):
            first = (n * C + c) * S
            for i in range(first, first + S):
                g = np.float64(dy[i])
                plain += g
                weighted += g * (np.float64(x[i]) - middle)
        dbias[c] = plain
        dweight[c] = weighted / math.sqrt(np.float64(var[c]) + eps)


def _channels(problem: Problem) -> Launch:
    return Launch((math.prod(problem.outputs[0]),))


portable("batch_stats", _channels, batch_stats)
portable("batch_norm_grad_sums", _channels, batch_norm_grad_sums)
