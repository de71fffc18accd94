"""Values that random arrays do not try: NaN, infinities, ties, far means, long sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS

pytestmark = pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")

WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
POOL = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0), "dilation": (1, 1), "ceil_mode": False}


@pytest.fixture(params=BUILT)
def isa(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rows(op: str, isa: str, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> list[Kernel]:
    """All kernels of one instruction set that take the problem."""
    problem = problem_of(op, arrays, attrs)
    found = [k for k in REGISTRY.kernels[op] if k.isa == isa and k.supports(problem)]
    assert found
    return found


def results(op: str, isa: str, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> list[tuple[np.ndarray, ...]]:
    """What each of :func:`rows` makes of the arrays."""
    return [run_kernel(kernel, arrays, attrs) for kernel in rows(op, isa, arrays, attrs)]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def relative_norm(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm((got - want).ravel()) / np.linalg.norm(want.ravel()))


@pytest.mark.parametrize(
    ("op", "shapes", "more", "terms"),
    [
        ("conv2d", ((2, 256, 9, 9), (40, 256, 3, 3)), {}, 256 * 9),
        ("conv2d_input_grad", ((2, 256, 9, 9), (256, 40, 3, 3)), {"input_size": (9, 9)}, 256 * 9),
        ("conv2d_weight_grad", ((64, 5, 20, 20), (64, 7, 20, 20)), {"kernel_size": (3, 3)}, 64 * 400),
    ],
)
def test_long_sums_lose_little(op: str, shapes: Any, more: dict[str, Any], terms: int, isa: str) -> None:
    arrays, attrs = [normal(*shape) for shape in shapes], {**WINDOW, **more}
    (want,) = OPS[op].reference(arrays, attrs)
    for kernel in rows(op, isa, arrays, attrs):
        winograd = 2e-5 if "winograd" in kernel.algorithm else 0.0
        (got,) = run_kernel(kernel, arrays, attrs)
        assert relative_norm(got, want) < max(winograd, 1e-6 * np.sqrt(terms / 16)), kernel.name


@pytest.mark.parametrize(("groups", "taps"), [(1, 3), (16, 3), (1, 5), (16, 5)])
def test_nan_stays_in_its_image_and_its_window(groups: int, taps: int, isa: str) -> None:
    """Winograd may spoil the whole of the tiles that read the value, 4 or 2 results a side."""
    x, weight, reach = normal(3, 16, 10, 11), normal(16, 16 // groups, taps, taps), taps // 2
    x[1, :, 4, 5] = np.nan
    attrs = {**WINDOW, "padding": (reach,) * 4, "groups": groups}
    for kernel in rows("conv2d", isa, [x, weight], attrs):
        side = {"winograd4": 4, "winograd2": 2, "winograd2_5x5": 2}.get(kernel.algorithm, 1)
        (y,) = run_kernel(kernel, [x, weight], attrs)
        assert np.isnan(y[1, :, 4 - reach : 5 + reach, 5 - reach : 6 + reach]).all(), kernel.name
        spoiled = [slice((at - reach) // side * side, (at + reach) // side * side + side) for at in (4, 5)]
        y[1, :, spoiled[0], spoiled[1]] = 0
        assert not np.isnan(y).any(), kernel.name


@pytest.mark.parametrize("groups", [1, 16])
def test_the_gradients_see_no_other_image(groups: int, isa: str) -> None:
    dy, weight = normal(3, 16, 10, 11), normal(16, 16 // groups, 3, 3)
    dy[1] = np.inf
    for (dx,) in results("conv2d_input_grad", isa, [dy, weight], {**WINDOW, "groups": groups, "input_size": (10, 11)}):
        assert np.isfinite(dx[[0, 2]]).all() and not np.isfinite(dx[1]).any()


@pytest.mark.parametrize("shape", [(64, 3, 7, 7), (8, 5, 40, 40), (512, 4)])
def test_variance_far_from_zero(shape: tuple[int, ...], isa: str) -> None:
    x = (1e4 + normal(*shape).astype(np.float64)).astype(np.float32)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    for mean, variance in results("batch_stats", isa, [x], {}):
        np.testing.assert_allclose(mean, x.astype(np.float64).mean(axes), rtol=1e-7)
        np.testing.assert_allclose(variance, x.astype(np.float64).var(axes), rtol=1e-4)


def test_variance_with_an_outlier_first(isa: str) -> None:
    x = normal(4, 2, 64, 64)
    x[0, :, 0, 0] = 1e4
    for _, variance in results("batch_stats", isa, [x], {}):
        np.testing.assert_allclose(variance, x.astype(np.float64).var((0, 2, 3)), rtol=1e-5)


def test_variance_of_equal_values_is_zero(isa: str) -> None:
    for mean, variance in results("batch_stats", isa, [np.full((5, 3, 9, 9), 0.1, np.float32)], {}):
        assert (mean == np.float32(0.1)).all() and (variance == 0).all()


def test_pooling_lets_nan_through(isa: str) -> None:
    x = normal(2, 3, 34, 38)
    x[0, 1, 4, 7] = x[1, 2, 33, 37] = np.nan
    want = OPS["max_pool2d"].reference([x], POOL)[0]
    assert np.isnan(want).sum() == 2
    for (y,) in results("max_pool2d", isa, [x], POOL):
        np.testing.assert_array_equal(y, want.astype(np.float32))


def test_pooling_of_minus_infinity(isa: str) -> None:
    for (y,) in results("max_pool2d", isa, [np.full((1, 2, 6, 6), -np.inf, np.float32)], POOL):
        assert (y == -np.inf).all()


def test_the_first_of_equal_maxima_takes_the_gradient(isa: str) -> None:
    dy = normal(1, 2, 3, 3)
    for (dx,) in results("max_pool2d_grad", isa, [dy, np.zeros((1, 2, 6, 6), np.float32)], POOL):
        assert np.array_equal(dx[..., ::2, ::2], dy)
        assert not dx[..., 1::2, :].any() and not dx[..., 1::2].any()


def test_the_gradient_goes_where_the_nan_is(isa: str) -> None:
    dy, x = normal(1, 1, 3, 3), normal(1, 1, 6, 6)
    x[0, 0, 1, 1] = np.nan
    for (dx,) in results("max_pool2d_grad", isa, [dy, x], POOL):
        assert dx[0, 0, 1, 1] == dy[0, 0, 0, 0] and not dx[0, 0, 0, :2].any()


def test_a_sum_of_many_values(isa: str) -> None:
    x = np.full((1_000_003,), 0.1, np.float32)
    for (total,) in results("reduce_sum", isa, [x], {"axes": (0,), "keepdims": False}):
        np.testing.assert_allclose(total, x.astype(np.float64).sum(), rtol=1e-6)
