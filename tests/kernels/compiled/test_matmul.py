"""Matrix products: random shapes in every orientation, and values that bounds and other products must not spoil."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from guarded import Fenced, problem_of, run_kernel, scattered, whole

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT

pytestmark = pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")

KERNELS = [k for op in ("linear", "matmul") for k in REGISTRY.kernels[op] if k.isa in BUILT]
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
FLIPS = [(flip_a, flip_b) for flip_a in (False, True) for flip_b in (False, True)]
CLAMPS = [(0.0, math.inf), (0.0, 6.0), (-math.inf, 1.0), (0.25, 0.5)]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def extents(rng: np.random.Generator) -> tuple[int, int, int]:
    """M, N, K: small ones, ones around sizes of tiles, long sums, few terms."""
    m, n, k = (int(v) for v in np.exp(rng.uniform(0, np.log([160, 160, 700]))))
    if rng.random() < 0.2:
        return m, n, int(rng.integers(1, 5))
    if rng.random() < 0.2:
        return min(m, 20), min(n, 40), int(rng.integers(1000, 4000))
    return m, n, k


def stored(matrix: np.ndarray, flip: bool) -> np.ndarray:
    return np.ascontiguousarray(matrix.T if flip else matrix)


Given = tuple[list[np.ndarray], dict[str, Any], np.ndarray]


def problems(kernel: Kernel, seed: int, sizes: tuple[int, int, int] | None = None) -> Iterator[Given]:
    """Arrays, attributes and result in float64 of the problems on these extents, or random ones, that the kernel
    takes."""
    rng = np.random.default_rng(seed)
    m, n, k = sizes or extents(rng)
    a, b = normal(rng, m, k), normal(rng, k, n)
    want = a.astype(np.float64) @ b
    if kernel.op == "linear":
        bias, clamp = normal(rng, n), CLAMPS[int(rng.integers(len(CLAMPS)))]
        weight = stored(b, True)
        given: list[Given] = [
            ([a, weight], {}, want),
            ([a, weight, bias], {}, want + bias),
            ([a, weight, bias], {"clamp": clamp}, np.clip(want + bias, *clamp)),
        ]
    else:
        given = [
            ([stored(a, flip_a), stored(b, flip_b)], {"transpose_a": flip_a, "transpose_b": flip_b}, want)
            for flip_a, flip_b in FLIPS
        ]
    for arrays, attrs, result in given:
        if kernel.supports(problem_of(kernel.op, arrays, attrs)):
            yield arrays, attrs, result


def depth(arrays: Sequence[np.ndarray], attrs: dict[str, Any]) -> int:
    return arrays[0].shape[0 if attrs.get("transpose_a") else 1]


def check(got: np.ndarray, arrays: list[np.ndarray], attrs: dict[str, Any], want: np.ndarray) -> None:
    scale = np.linalg.norm(arrays[0]) * np.linalg.norm(arrays[1]) / math.sqrt(depth(arrays, attrs))
    bound = 1e-6 * math.sqrt(max(1.0, depth(arrays, attrs) / 16)) * max(np.linalg.norm(want), scale)
    assert np.linalg.norm(got - want) <= bound, f"{[a.shape for a in arrays]} {attrs}"


@every_kernel
def test_random_shapes(kernel: Kernel) -> None:
    tried = 0
    for seed in range(40):
        for arrays, attrs, want in problems(kernel, seed):
            tried += 1
            (got,) = run_kernel(kernel, arrays, attrs, scattered if seed % 2 else whole)
            check(got, arrays, attrs, want)
    assert tried > 10


@every_kernel
@pytest.mark.skipif(os.name != "posix", reason="pages are protected by POSIX calls")
@pytest.mark.parametrize(
    "sizes",
    [(161, 40, 60), (256, 300, 33), (512, 64, 128), (1000, 10, 84), (1024, 17, 65), (40, 1024, 32), (9, 1040, 5)],
)
def test_large_batches_and_rows_of_whole_pages(kernel: Kernel, sizes: tuple[int, int, int]) -> None:
    for arrays, attrs, want in problems(kernel, 0, sizes):
        (got,) = run_kernel(kernel, arrays, attrs, memory=Fenced)
        check(got, arrays, attrs, want)


@every_kernel
@pytest.mark.skipif(os.name != "posix", reason="pages are protected by POSIX calls")
def test_nothing_beyond_the_arrays_is_read(kernel: Kernel) -> None:
    for seed in range(100, 112):
        for arrays, attrs, want in problems(kernel, seed):
            for behind in (True, False):
                Fenced.behind = behind
                (got,) = run_kernel(kernel, arrays, attrs, memory=Fenced)
                assert got.shape == want.shape
    Fenced.behind = True


@pytest.mark.skipif(os.name != "posix", reason="pages are protected by POSIX calls")
@pytest.mark.parametrize("kernel", [k for k in KERNELS if k.op == "matmul"], ids=lambda k: k.name)
@pytest.mark.parametrize(
    "a, b", [((5,), (5,)), ((3, 2), (3, 2)), ((3, 1), (2,)), ((4,), ()), ((), (4,)), ((2, 1), (1, 3)), ((1, 3), (2, 3))]
)
def test_products_of_arrays_of_matrices(kernel: Kernel, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Each is the product of its own factors, whichever of them it shares with others."""
    rng = np.random.default_rng(len(a) + 3 * len(b))
    for m, n, k in ((7, 40, 19), (50, 3, 33), (33, 70, 3), (1, 9, 65)):
        for flip_a, flip_b in FLIPS:
            attrs = {"transpose_a": flip_a, "transpose_b": flip_b}
            factors = [
                rng.standard_normal((*a, *((k, m) if flip_a else (m, k)))).astype(np.float32),
                rng.standard_normal((*b, *((n, k) if flip_b else (k, n)))).astype(np.float32),
            ]
            if not kernel.supports(problem_of("matmul", factors, attrs)):
                continue
            (got,) = run_kernel(kernel, factors, attrs, memory=Fenced)
            x, y = (f.swapaxes(-1, -2) if flip else f for f, flip in zip(factors, (flip_a, flip_b), strict=True))
            want = x.astype(np.float64) @ y
            assert got.shape == want.shape
            assert np.abs(got - want).max() <= 2e-6 * math.sqrt(k) * np.abs(want).max()


@every_kernel
@pytest.mark.parametrize("spoiled", [math.nan, math.inf])
def test_a_value_spoils_its_own_sums_alone(kernel: Kernel, spoiled: float) -> None:
    for seed in range(200, 212):
        for arrays, attrs, want in problems(kernel, seed):
            rng = np.random.default_rng(seed)
            row, k = int(rng.integers(want.shape[0])), int(rng.integers(depth(arrays, attrs)))
            whole_arrays = [a.copy() for a in arrays]
            arrays[0][(k, row) if attrs.get("transpose_a") else (row, k)] = spoiled
            (got,) = run_kernel(kernel, arrays, attrs)
            (once,) = run_kernel(kernel, whole_arrays, attrs)
            others = np.arange(want.shape[0]) != row
            assert np.array_equal(got[others], once[others])
            if math.isnan(spoiled):
                assert np.isnan(got[row]).all()
            elif "clamp" not in attrs:
                assert np.isinf(got[row]).all()


def test_what_is_asked_most_often_is_taken_by_the_kernel_made_for_it() -> None:
    isa = BUILT[-1]

    def chosen(op: str, *shapes: tuple[int, int], **attrs: bool) -> str:
        arrays = [np.zeros(shape, np.float32) for shape in shapes]
        return REGISTRY.choose(problem_of(op, arrays, attrs), (isa,)).name

    assert "dots" in chosen("linear", (1, 512), (512, 512))
    assert "panels" in chosen("linear", (512, 512), (512, 512))
    assert "panels" in chosen("matmul", (128, 512), (512, 512), transpose_a=False, transpose_b=False)
    assert "terms" in chosen("matmul", (1, 512), (1, 512), transpose_a=True, transpose_b=False)
