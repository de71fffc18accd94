"""Weighted sums of pixels by tables, in blocks of channels and in rows of single floats, against the float64 reference:
every table, tails, rows that are short, few and far apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS, Attrs
from normengine.ops.interpolation import Interpolation, Taps, taps_of
from normengine.ops.resample import attributes, tables

NAMES = [(isa, name) for isa in BUILT for name in ("resample2d", "resample2d_plain")]


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Kernel:
    isa, name = request.param
    return next(k for k in REGISTRY.kernels["resample2d"] if k.name == f"{name}_f32_{isa}")


every_row = pytest.mark.parametrize("kernel", NAMES, ids="-".join, indirect=True)


def axis(size: int, outputs: int, mode: str, **settings: object) -> Interpolation:
    plain = Interpolation(
        size, outputs, outputs / size, (0.0, 1.0), mode, "half_pixel", "floor", -0.75, False, False, False
    )
    return plain._replace(**settings)  # type: ignore[arg-type]


def random_taps(rng: np.random.Generator, size: int) -> Taps:
    """Of one of the ways an axis is resized, or of its gradient."""
    outputs = int(rng.integers(1, 2 * size + 9))
    way = rng.integers(7)
    if way == 0:
        return Taps.identity(size)
    if way == 1:  # entries anywhere, some rows without any
        count = int(rng.integers(1, 3 * outputs))
        return Taps.of(size, outputs, rng.integers(0, outputs, count), rng.integers(0, size, count), rng.random(count))
    settings: dict[str, Any] = {"antialias": True} if way == 2 else {}
    if way == 3:
        settings = {"transformation": "tf_crop_and_resize", "crop": tuple(rng.uniform(-0.5, 1.5, 2))}
    mode = ("linear", "cubic")[int(rng.integers(2))] if way != 4 else "nearest"
    taps = taps_of(axis(size, outputs, mode, **settings))
    return taps_of(axis(outputs, size, mode)).transposed() if way == 5 else taps


def problem(x: np.ndarray, rows: Taps, columns: Taps) -> tuple[list[np.ndarray], Attrs]:
    return [x, *tables(rows), *tables(columns)], attributes(rows, columns)


def random_problems(count: int) -> Iterator[tuple[list[np.ndarray], Attrs]]:
    rng = np.random.default_rng(7)
    for _ in range(count):
        n, c, h, w = (int(rng.integers(1, most)) for most in (3, 36, 14, 90))
        x = rng.standard_normal((n, c, h, w)).astype(np.float32)
        yield problem(x, random_taps(rng, h), random_taps(rng, w))


@every_row
def test_random_tables(kernel: Kernel) -> None:
    for arrays, attrs in random_problems(120):
        (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS["resample2d"].reference(arrays, attrs)
        bound = 3e-6 * max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=f"{kernel.name} {arrays[0].shape} {attrs}")


@every_row
def test_pixels_that_are_not_finite_stay_in_their_windows(kernel: Kernel) -> None:
    x = np.zeros((1, 3, 6, 40), np.float32)
    x[0, 1, 2, 17], x[0, 1, 4, 0], x[0, 1, 4, 39] = np.nan, np.inf, -np.inf
    for mode in ("nearest", "linear", "cubic"):
        arrays, attrs = problem(x, taps_of(axis(6, 12, mode)), taps_of(axis(40, 80, mode)))
        with np.errstate(invalid="ignore"):
            (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS["resample2d"].reference(arrays, attrs)
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
        np.testing.assert_array_equal(got[np.isinf(want)], want[np.isinf(want)])


@every_row
def test_nearest_copies_to_the_bit(kernel: Kernel) -> None:
    x = np.random.default_rng(0).standard_normal((2, 19, 5, 37)).astype(np.float32)
    for times in (2, 3, 4):
        arrays, attrs = problem(
            x, *(taps_of(axis(n, times * n, "nearest", transformation="asymmetric")) for n in (5, 37))
        )
        (got,) = run_kernel(kernel, arrays, attrs)
        np.testing.assert_array_equal(got, x.repeat(times, 2).repeat(times, 3))


def test_blocks_and_rows_have_kernels_of_their_own() -> None:
    """What a plane costs in blocks of channels is less than what the same channels cost one by one."""
    shape = (1, 64, 28, 28)
    taps = taps_of(axis(28, 56, "linear"))
    arrays, attrs = problem(np.zeros(shape, np.float32), taps, taps)
    costs = {
        k.algorithm: k.cost(problem_of("resample2d", arrays, attrs))
        for k in REGISTRY.kernels["resample2d"]
        if k.isa == BUILT[-1]
    }
    assert costs[""] < costs["plain"]
