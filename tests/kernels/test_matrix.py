"""Matrix products on random shapes in every orientation, with bias and clamp, over long sums, in any order of tasks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel, scattered, whole

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS

ROUNDS = 60
ORIENTATIONS = [(False, False), (False, True), (True, False), (True, True)]
SHAPES = ((1, 96, 70), (1, 37, 1030), (32, 10, 256), (33, 64, 65), (128, 10, 256), (256, 131, 1), (7, 5, 3136))
Problem = tuple[list[np.ndarray], dict[str, Any]]


def rows(isas: tuple[str, ...], *ops: str) -> list[Any]:
    return [pytest.param(k, id=k.name) for op in ops for k in REGISTRY.kernels[op] if k.isa in isas]


every_kernel = pytest.mark.parametrize("kernel", rows(BUILT, "linear", "matmul"))
every_linear = pytest.mark.parametrize("kernel", rows((*BUILT, "numba"), "linear"))


def arrays_of(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def linear(rng: np.random.Generator, m: int, n: int, k: int, bias: bool, **attrs: Any) -> Problem:
    return arrays_of(rng, (m, k), (n, k), *([(n,)] if bias else [])), attrs


def matmul(rng: np.random.Generator, m: int, n: int, k: int, flip_a: bool, flip_b: bool) -> Problem:
    shapes = (k, m) if flip_a else (m, k), (n, k) if flip_b else (k, n)
    return arrays_of(rng, *shapes), {"transpose_a": flip_a, "transpose_b": flip_b}


def problems(op: str, rng: np.random.Generator, m: int, n: int, k: int) -> list[Problem]:
    if op == "linear":
        return [linear(rng, m, n, k, False), linear(rng, m, n, k, True, clamp=(-0.5, 1.5))]
    return [matmul(rng, m, n, k, *flips) for flips in ORIENTATIONS]


def taken(kernel: Kernel, given: list[Problem]) -> list[Problem]:
    return [(arrays, attrs) for arrays, attrs in given if kernel.supports(problem_of(kernel.op, arrays, attrs))]


def check(kernel: Kernel, arrays: list[np.ndarray], attrs: dict[str, Any], depth: int) -> None:
    """Errors are held against the norm of the sums before a clamp: it may leave next to nothing of them."""
    (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS[kernel.op].reference(arrays, attrs)
    plain = {name: value for name, value in attrs.items() if name != "clamp"}
    (sums,) = OPS[kernel.op].reference(arrays, plain)
    bound = 1e-6 * max(1.0, depth / 16) ** 0.5 * float(np.linalg.norm(sums))
    off = float(np.linalg.norm(got - want))
    assert got.shape == want.shape
    assert off <= bound, f"{kernel.name} {[a.shape for a in arrays]} {attrs}: off by {off:.2g}, allowed {bound:.2g}"


@every_kernel
def test_random_shapes(kernel: Kernel) -> None:
    rng = np.random.default_rng(3)
    tried = 0
    for _ in range(ROUNDS):
        m, n, k = (int(v) for v in rng.integers(1, rng.choice([4, 20, 100], 3) + 1))
        for arrays, attrs in taken(kernel, problems(kernel.op, rng, m, n, k)):
            check(kernel, arrays, attrs, k)
            tried += 1
    assert tried >= ROUNDS // 4


@every_kernel
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_shapes_of_layers(kernel: Kernel, m: int, n: int, k: int) -> None:
    for arrays, attrs in taken(kernel, problems(kernel.op, np.random.default_rng(4), m, n, k)):
        check(kernel, arrays, attrs, k)


@every_kernel
def test_long_sums(kernel: Kernel) -> None:
    given = taken(kernel, problems(kernel.op, np.random.default_rng(5), 5, 9, 40_009))
    assert given
    for arrays, attrs in given:
        check(kernel, arrays, attrs, 40_009)


@every_kernel
@pytest.mark.parametrize(("m", "n", "k"), [(70, 131, 600), (1, 300, 333), (130, 10, 70), (3, 1, 4000)])
def test_same_bits_in_any_order(kernel: Kernel, m: int, n: int, k: int) -> None:
    for arrays, attrs in taken(kernel, problems(kernel.op, np.random.default_rng(6), m, n, k)):
        once, again = (run_kernel(kernel, arrays, attrs, order)[0] for order in (whole, scattered))
        assert np.array_equal(once.view(np.uint32), again.view(np.uint32))


@every_linear
@pytest.mark.parametrize("clamp", [(0.0, 6.0), (0.0, math.inf), (-math.inf, 0.25), (-1.0, -0.5)])
def test_results_stay_within_the_clamp(kernel: Kernel, clamp: tuple[float, float]) -> None:
    arrays, attrs = linear(np.random.default_rng(7), 13, 37, 90, True, clamp=clamp)
    (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS["linear"].reference(arrays, attrs)
    assert got.min() >= np.float32(clamp[0])
    assert got.max() <= np.float32(clamp[1])
    assert np.abs(got - want).max() <= 1e-4


@every_linear
@pytest.mark.parametrize(("m", "n", "k"), [(13, 37, 90), (1, 70, 300), (40, 3, 600)])
def test_a_clamp_lets_nan_through(kernel: Kernel, m: int, n: int, k: int) -> None:
    arrays, attrs = linear(np.random.default_rng(8), m, n, k, True, clamp=(0.0, 1.0))
    arrays[0][m // 2, k - 1] = np.nan
    arrays[2][n - 1] = np.nan
    (got,) = run_kernel(kernel, arrays, attrs)
    want = np.zeros((m, n), bool)
    want[m // 2], want[:, n - 1] = True, True
    assert np.array_equal(np.isnan(got), want)


@every_kernel
def test_infinities_stay_in_their_sums(kernel: Kernel) -> None:
    """A tail that is read as part of a whole vector multiplies nothing twice, not even by zero."""
    for m, n, k in ((4, 6, 21), (9, 18, 37)):
        for arrays, attrs in taken(kernel, problems(kernel.op, np.random.default_rng(9), m, n, k)):
            left = arrays[0].T if attrs.get("transpose_a") else arrays[0]
            right = arrays[1] if kernel.op == "linear" or attrs.get("transpose_b") else arrays[1].T
            left[:, k - 3], right[:, k - 3] = np.abs(left[:, k - 3]), np.abs(right[:, k - 3])
            left[1, k - 3] = np.inf
            (got,) = run_kernel(kernel, arrays, {name: value for name, value in attrs.items() if name != "clamp"})
            assert np.isposinf(got[1]).all(), f"{kernel.name} {attrs}"
            assert np.isfinite(np.delete(got, 1, axis=0)).all(), f"{kernel.name} {attrs}"
