"""Statistics and sums of channels held in blocks: planes of any size, far means, channels that do not vary."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from guarded import Fenced, run_kernel, scattered

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS

pytestmark = pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")

SHAPES = (
    (1, 1, 1, 2), (700, 5, 1, 1), (33, 17, 1, 1), (150, 9, 2, 2), (40, 20, 3, 1), (64, 12, 4, 4),
    (5, 33, 7, 7), (2, 8, 33, 31), (1, 3, 70, 75), (19, 16, 5, 5),
)  # fmt: skip
SUM = {"axes": (0, 2, 3), "keepdims": False}
IMAGE_SUM = {"axes": (2, 3), "keepdims": True}
SUMS = {"blocked": SUM, "images": IMAGE_SUM}
"""The sums that each algorithm of ``reduce_sum`` takes."""


def rows(op: str) -> list[Kernel]:
    return [k for k in REGISTRY.kernels[op] if k.isa in BUILT and k.blocked]


def of(op: str) -> Any:
    return pytest.mark.parametrize("kernel", rows(op), ids=lambda k: k.name)


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def close(got: np.ndarray, want: np.ndarray, tolerance: float) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * max(1.0, float(np.abs(want).max())))


@of("batch_stats")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("center", [0.0, 1e4])
def test_statistics_of_far_values(kernel: Kernel, shape: tuple[int, ...], center: float) -> None:
    x = (normal(shape) + np.float32(center)).astype(np.float32)
    mean, var = run_kernel(kernel, [x], {}, scattered)
    exact = x.astype(np.float64)
    assert np.abs(mean - exact.mean((0, 2, 3))).max() <= 1e-6 * max(1.0, center)
    assert (np.abs(var - exact.var((0, 2, 3))) <= 1e-4 * exact.var((0, 2, 3))).all()


@of("batch_stats")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_channels_of_one_value_have_no_variance(kernel: Kernel, shape: tuple[int, ...]) -> None:
    values = 1e3 * normal((1, shape[1], 1, 1), 1)
    mean, var = run_kernel(kernel, [np.broadcast_to(values, shape).copy()], {})
    assert np.array_equal(mean, values.ravel())
    assert not var.any()


@of("batch_stats")
@pytest.mark.parametrize("shape", [(64, 9, 8, 8), (700, 5, 1, 1), (6, 3, 40, 40)], ids=str)
def test_the_first_values_may_be_unlike_all_others(kernel: Kernel, shape: tuple[int, ...]) -> None:
    for unlike in (np.s_[:1, :, :1, :1], np.s_[:1]):
        x = (1e4 + normal(shape)).astype(np.float32)
        x[unlike] = 0.0
        _, var = run_kernel(kernel, [x], {})
        exact = x.astype(np.float64).var((0, 2, 3))
        assert (np.abs(var - exact) <= 1e-4 * exact).all()


@of("batch_norm_grad_sums")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_of_gradients(kernel: Kernel, shape: tuple[int, ...]) -> None:
    channels = shape[1:2]
    arrays = [normal(shape, 1), normal(shape, 2) + 100, normal(channels, 3) + 100, np.abs(normal(channels, 4)) + 0.1]
    got = run_kernel(kernel, arrays, {"eps": 1e-5}, scattered)
    for one, want in zip(got, OPS["batch_norm_grad_sums"].reference(arrays, {"eps": 1e-5}), strict=True):
        assert close(one, want, 2e-6)


@of("reduce_sum")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums(kernel: Kernel, shape: tuple[int, ...]) -> None:
    x, attrs = normal(shape) + 1, SUMS[kernel.algorithm]
    (got,) = run_kernel(kernel, [x], attrs, scattered)
    (want,) = OPS["reduce_sum"].reference([x], attrs)
    assert got.shape == want.shape
    assert close(got, want, 1e-6)


@of("moments")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("center", [0.0, 1e4])
def test_moments_of_far_values(kernel: Kernel, shape: tuple[int, ...], center: float) -> None:
    x = (normal(shape) + np.float32(center)).astype(np.float32)
    mean, var = run_kernel(kernel, [x], {}, scattered)
    for got, want, bound in zip((mean, var), OPS["moments"].reference([x], {}), (1e-6 * center, 0), strict=True):
        assert (np.abs(got - want) <= np.maximum(bound, 1e-4 * np.abs(want)) + 1e-6).all()


@of("normalize_grad_sums")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_of_gradients_of_each_image(kernel: Kernel, shape: tuple[int, ...]) -> None:
    arrays = [normal(shape, 1), normal(shape, 2) + 100, normal((*shape[:2], 1, 1), 3) + 100]
    got = run_kernel(kernel, arrays, {}, scattered)
    for one, want in zip(got, OPS["normalize_grad_sums"].reference(arrays, {}), strict=True):
        assert close(one, want, 2e-6)


@pytest.mark.skipif(os.name != "posix", reason="pages are protected by POSIX calls")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nothing_beyond_the_arrays_is_read(shape: tuple[int, ...]) -> None:
    channels = shape[1:2]
    vectors = [normal(channels), np.ones(channels, np.float32)]
    for behind in (False, True):
        Fenced.behind = behind
        for kernel in rows("batch_stats"):
            run_kernel(kernel, [normal(shape)], {}, memory=Fenced)
        for kernel in rows("batch_norm_grad_sums"):
            dweight, dbias = run_kernel(kernel, [normal(shape), normal(shape), *vectors], {"eps": 1.0}, memory=Fenced)
            assert np.isfinite(dweight).all() and np.isfinite(dbias).all()
        for kernel in rows("reduce_sum"):
            run_kernel(kernel, [normal(shape)], SUMS[kernel.algorithm], memory=Fenced)
        for kernel in rows("moments"):
            run_kernel(kernel, [normal(shape)], {}, memory=Fenced)
        for kernel in rows("normalize_grad_sums"):
            run_kernel(kernel, [normal(shape), normal(shape), normal((*shape[:2], 1, 1))], {}, memory=Fenced)


def test_every_instruction_set_has_them() -> None:
    for op in ("batch_stats", "batch_norm_grad_sums", "reduce_sum", "moments", "normalize_grad_sums"):
        assert {k.isa for k in rows(op)} == set(BUILT)
