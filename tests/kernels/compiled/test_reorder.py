"""Activations into blocks of channels and back, and values of channels repeated for loops over blocks."""

from __future__ import annotations

import os

import numpy as np
import pytest
from guarded import Fenced, run_problem, scattered, whole

from normengine.kernels import REGISTRY, Kernel, Problem
from normengine.kernels.compiled import BUILT

SHAPES = (
    (1, 1, 1, 1),
    (2, 3, 5, 7),
    (3, 8, 4, 4),
    (1, 16, 1, 1),
    (2, 20, 33, 9),
    (1, 5, 70, 67),
    (40, 17, 1, 3),
    (9, 21, 2, 2),
    (1, 5, 1, 4099),
    (6, 13, 3, 3),
)


def rows(op: str) -> list[Kernel]:
    return [k for k in REGISTRY.kernels[op] if k.isa in BUILT]


@pytest.mark.parametrize("op", ["to_blocked", "from_blocked"])
@pytest.mark.parametrize("shape", SHAPES)
def test_elements_stay_what_they_are(op: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for kernel in rows(op):
        for order in (whole, scattered):
            (y,) = run_problem(kernel, Problem(op, (shape,), (shape,), {}), [x], order)
            assert np.array_equal(x, y), kernel.name


@pytest.mark.skipif(os.name != "posix", reason="pages are protected by POSIX calls")
@pytest.mark.parametrize("op", ["to_blocked", "from_blocked"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_beyond_the_arrays_is_touched(op: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for kernel in rows(op):
        for behind in (False, True):
            Fenced.behind = behind
            (y,) = run_problem(kernel, Problem(op, (shape,), (shape,), {}), [x], memory=Fenced)
            assert np.array_equal(x, y), kernel.name


@pytest.mark.parametrize(("m", "c", "times"), [(1, 1, 1), (1, 20, 16), (3, 8, 4), (5, 7, 3)])
def test_values_of_channels_are_repeated(m: int, c: int, times: int) -> None:
    x = np.random.default_rng(0).standard_normal((m, c)).astype(np.float32)
    for kernel in rows("repeat_channels"):
        width = kernel.width
        blocks = -(-c // width)
        shape = (m, blocks, times, width)
        (y,) = run_problem(kernel, Problem("repeat_channels", ((m, c),), (shape,), {}), [x], scattered)
        padded = np.zeros((m, blocks * width), np.float32)
        padded[:, :c] = x
        assert np.array_equal(y, np.broadcast_to(padded.reshape(m, blocks, 1, width), shape)), kernel.name
