"""Products of matrices, a row of the result at a time."""

from __future__ import annotations

import math

import numpy as np

from ..base import REGISTRY, Launch, Problem
from .build import Array, portable

COLUMNS = 32


def linear(
    x: Array,
    weight: Array,
    bias: Array,
    has_bias: bool,
    y: Array,
    M: int,
    N: int,
    K: int,
    low: float,
    high: float,
    begin: int,
    end: int,
) -> None:
    """A task is 32 columns of one row."""
    blocks = (N + COLUMNS - 1) // COLUMNS
    for task in range(begin, end):
        m = task // blocks
        first = task % blocks * COLUMNS
        for n in range(first, min(first + COLUMNS, N)):
            total = np.float32(0)
            for k in range(K):
                total += x[m * K + k] * weight[n * K + k]
            if has_bias:
                total += bias[n]
            total = np.float32(low) if total < low else total
            y[m * N + n] = np.float32(high) if total > high else total


def matmul(
    a: Array,
    b: Array,
    y: Array,
    M: int,
    N: int,
    K: int,
    transpose_a: int,
    transpose_b: int,
    inner: int,
    a_outer: int,
    a_inner: int,
    b_outer: int,
    b_inner: int,
    begin: int,
    end: int,
) -> None:
    """A task is one row of one product."""
    row_a = 1 if transpose_a else K
    step_a = M if transpose_a else 1
    row_b = 1 if transpose_b else N
    step_b = K if transpose_b else 1
    for task in range(begin, end):
        product = task // M
        first_a = (product // inner * a_outer + product % inner * a_inner) * M * K + task % M * row_a
        first_b = (product // inner * b_outer + product % inner * b_inner) * K * N
        for n in range(N):
            y[task * N + n] = np.float32(0)
        for k in range(K):
            factor = a[first_a + k * step_a]
            for n in range(N):
                y[task * N + n] += factor * b[first_b + k * row_b + n * step_b]


def _column_blocks(problem: Problem) -> Launch:
    m, n = problem.outputs[0]
    return Launch((m * -(-n // COLUMNS),))


def _rows(problem: Problem) -> Launch:
    return Launch((math.prod(problem.outputs[0][:-1]),))


def fits_two_parts(problem: Problem) -> bool:
    """Whether the leading extents of the factors are those of :class:`~normengine.kernels.signatures.Batches`."""
    try:
        REGISTRY.signatures[problem.op].values(problem)
    except ValueError:
        return False
    return True


portable("linear", _column_blocks, linear)
portable("matmul", _rows, matmul, supports=fits_two_parts)
