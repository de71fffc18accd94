"""Pooling over blocks of channels against the float64 references: every window, tails, single pixels, NaN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from guarded import run_kernel, scattered, whole

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS, OperatorError
from normengine.ops.window import MAX_WINDOW

Shape = tuple[int, ...]
Attrs = dict[str, Any]


def kernels(*ops: str, isas: tuple[str, ...] = BUILT) -> Any:
    ids = [(isa, op) for isa in isas for op in ops]
    return pytest.mark.parametrize("kernel", ids, ids="-".join, indirect=True)


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Kernel:
    isa, op = request.param
    return next(k for k in REGISTRY.kernels[op] if k.name == f"{op}_f32_{isa}")


WINDOWS = ("max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad")
SLIDING = kernels(*WINDOWS)
EVERYWHERE = kernels(*WINDOWS, isas=("numba", *BUILT))
ADAPTIVE = kernels("adaptive_avg_pool2d", "adaptive_avg_pool2d_grad")
MAXIMA = kernels("max_pool2d", "max_pool2d_grad")


def window(op: str, kernel: Any, stride: Any, padding: Any, more: Any, ceil_mode: bool) -> Attrs:
    """``more`` is the dilation of a maximum, and whether an average counts the padding."""
    attrs = {"kernel_size": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding), "ceil_mode": ceil_mode}
    name = "dilation" if op.startswith("max") else "count_include_pad"
    return {**attrs, name: more}


def common(op: str) -> Iterator[tuple[Shape, Attrs]]:
    """Windows that have code of their own, and images that they fill, overlap and leave rows and columns of."""
    more = (1, 1) if op.startswith("max") else False
    for shape in ((2, 19, 8, 10), (1, 3, 9, 7), (2, 8, 1, 1), (1, 5, 16, 3)):
        for size, stride, pad in ((2, 2, 0), (2, 2, 1), (3, 2, 1), (3, 3, 0), (3, 1, 1), (2, 3, 0)):
            if size <= min(shape[2:]) + 2 * pad:
                for ceil_mode in (False, True):
                    yield shape, window(op, (size, size), (stride, stride), (pad,) * 4, more, ceil_mode)


def random_windows(op: str, count: int, seed: int) -> Iterator[tuple[Shape, Attrs]]:
    rng = np.random.default_rng(seed)
    while count:
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 36)), *(int(v) for v in rng.integers(1, 19, 2)))
        kernel = rng.integers(1, 7, 2).tolist()
        dilation = tuple(rng.integers(1, 4, 2).tolist()) if op.startswith("max") else (1, 1)
        most = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)] * 2
        padding = [int(rng.integers(0, side + 1)) for side in most]
        more = dilation if op.startswith("max") else bool(rng.integers(2))
        attrs = window(op, kernel, rng.integers(1, 7, 2).tolist(), padding, more, bool(rng.integers(2)))
        try:
            pooled(op, shape, attrs)
        except OperatorError:
            continue
        yield shape, attrs
        count -= 1


def pooled(op: str, shape: Shape, attrs: Attrs) -> Shape:
    return OPS[op.removesuffix("_grad")].infer([Spec(shape)], attrs)[0].shape


def problem_arrays(op: str, shape: Shape, attrs: Attrs, seed: int = 0) -> tuple[list[np.ndarray], Attrs]:
    """The operator's inputs and attributes; images of few different values, so that maxima are often equal."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    if not op.endswith("grad"):
        return [x], attrs
    dy = rng.standard_normal(pooled(op, shape, attrs)).astype(np.float32)
    return ([dy, x], attrs) if op.startswith("max") else ([dy], {**attrs, "input_size": shape[2:]})


def check(kernel: Kernel, arrays: list[np.ndarray], attrs: Attrs) -> None:
    (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS[kernel.op].reference(arrays, attrs)
    what = f"{kernel.name} {[a.shape for a in arrays]} {attrs}"
    if kernel.op == "max_pool2d":
        assert np.array_equal(got, want, equal_nan=True), what
    else:
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6, err_msg=what)


@SLIDING
def test_common_windows(kernel: Kernel) -> None:
    for shape, attrs in common(kernel.op):
        check(kernel, *problem_arrays(kernel.op, shape, attrs))


@SLIDING
def test_random_windows(kernel: Kernel) -> None:
    for number, (shape, attrs) in enumerate(random_windows(kernel.op, 150, 1)):
        check(kernel, *problem_arrays(kernel.op, shape, attrs, number))


def largest_windows(op: str) -> Iterator[Attrs]:
    """Windows as large as they may be: SAME over everything, beyond it, and steps from one end to the other."""
    more: tuple[Any, ...] = ((1, 1), (1, 1)) if op.startswith("max") else (True, False)
    far, half = MAX_WINDOW - 1, MAX_WINDOW // 2 - 1
    for each in more:
        yield window(op, (far, far), (1, 1), (half,) * 4, each, False)
        yield window(op, (far, 3), (MAX_WINDOW, 2), (far - 1, 1, far - 1, 1), each, True)
        yield window(op, (2, far), (1, MAX_WINDOW), (0, 2, 0, far - 1), each, False)
        yield window(op, (1, 2), (MAX_WINDOW, MAX_WINDOW), (0, 1, 0, 1), each, True)
    if op.startswith("max"):
        yield window(op, (3, 3), (1, 1), (half,) * 4, (half, half), False)
        yield window(op, (2, far), (1, 3), (far, half, 0, half), (far, 1), False)
        yield window(op, (MAX_WINDOW // 3, 2), (1, MAX_WINDOW), (0, far, MAX_WINDOW - 3, 0), (3, far), True)


@EVERYWHERE
def test_the_largest_windows(kernel: Kernel) -> None:
    for attrs in largest_windows(kernel.op):
        for shape in ((1, 1, 1, 1), (2, 19, 8, 7), (1, 3, 2, 9)):
            try:
                pooled(kernel.op, shape, attrs)
            except OperatorError:
                continue
            check(kernel, *problem_arrays(kernel.op, shape, attrs))


@ADAPTIVE
def test_random_regions(kernel: Kernel) -> None:
    rng = np.random.default_rng(2)
    sizes = [(1, 1), (1, 3), (3, 1)] * 5 + [tuple(rng.integers(1, 12, 2).tolist()) for _ in range(60)]
    for number, size in enumerate(sizes):
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 36)), *(int(v) for v in rng.integers(1, 30, 2)))
        check(kernel, *problem_arrays(kernel.op, shape, {"output_size": size}, number))


@ADAPTIVE
def test_large_planes(kernel: Kernel) -> None:
    for shape, size in (((1, 9, 150, 131), (1, 1)), ((2, 3, 64, 700), (2, 1)), ((1, 3, 40, 1001), (4, 1))):
        check(kernel, *problem_arrays(kernel.op, shape, {"output_size": size}))


@MAXIMA
def test_nan_is_the_largest_and_the_last_of_them_takes_the_gradient(kernel: Kernel) -> None:
    for number, (shape, attrs) in enumerate([*common(kernel.op)][::5] + [*random_windows(kernel.op, 40, 3)]):
        arrays, attrs = problem_arrays(kernel.op, shape, attrs, number)
        chance = np.random.default_rng(number).random(shape)
        arrays[-1][chance < 0.3] = np.nan
        arrays[-1][chance > 0.8] = -np.inf
        check(kernel, arrays, attrs)


@kernels("max_pool2d")
def test_windows_on_nothing_but_padding(kernel: Kernel) -> None:
    attrs = window("max_pool2d", (2, 2), (1, 1), (1, 1, 1, 1), (2, 2), False)
    arrays, attrs = problem_arrays("max_pool2d", (1, 3, 1, 1), attrs)
    (y,) = run_kernel(kernel, arrays, attrs)
    assert np.array_equal(y, np.full(y.shape, -np.inf, np.float32))


@kernels(*(op + end for op in ("max_pool2d", "avg_pool2d") for end in ("", "_grad")))
def test_the_same_bits_whoever_does_which_task(kernel: Kernel) -> None:
    for shape, attrs in random_windows(kernel.op, 30, 4):
        arrays, given = problem_arrays(kernel.op, shape, attrs)
        once, again = (run_kernel(kernel, arrays, given, order)[0] for order in (whole, scattered))
        assert np.array_equal(once.view(np.uint32), again.view(np.uint32)), f"{kernel.name} {shape} {attrs}"
