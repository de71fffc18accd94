"""Weighted sums of pixels by tables. A task is one plane (n, c)."""

from __future__ import annotations

import math

import numpy as np

from ..base import Launch, Problem
from .build import Array, portable


def resample2d(
    x: Array, row_taps: Array, row_weights: Array, column_taps: Array, column_weights: Array, y: Array, H: int, W: int,
    OH: int, OW: int, workspace: Array, begin: int, end: int,
) -> None:  # fmt: skip
    """A row of sums over rows, in ``workspace``, then sums of these over columns; one weight of 1 copies."""
    for task in range(begin, end):
        for oh in range(OH):
            for w in range(W):
                workspace[w] = 0.0
            for t in range(row_taps[oh], row_taps[oh + 1]):
                line = (task * H + row_taps[OH + 1 + t]) * W
                for w in range(W):
                    workspace[w] += np.float64(x[line + w]) * np.float64(row_weights[t])
            for ow in range(OW):
                total = 0.0
                for t in range(column_taps[ow], column_taps[ow + 1]):
                    total += workspace[column_taps[OW + 1 + t]] * np.float64(column_weights[t])
                y[(task * OH + oh) * OW + ow] = np.float32(total)


def _planes(problem: Problem) -> Launch:
    n, c, _, w = problem.outputs[0][:2] + problem.inputs[0][2:]  # type: ignore[index]
    return Launch((math.prod((n, c)),), workspace=8 * w)


portable("resample2d", _planes, resample2d)
