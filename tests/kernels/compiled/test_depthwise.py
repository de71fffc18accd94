"""Depthwise convolution over blocks of channels against the float64 references: every window, tails, single pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel, scattered, whole

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS, OperatorError

DIRECTIONS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
Shape = tuple[int, ...]


@pytest.fixture(params=[(isa, op) for isa in BUILT for op in DIRECTIONS], ids="-".join)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    isa, op = request.param
    return next(k for k in REGISTRY.kernels[op] if k.name == f"{op}_depthwise_f32_{isa}")


def window(stride: Any = (1, 1), padding: Any = (0, 0, 0, 0), dilation: Any = (1, 1)) -> dict[str, Any]:
    return {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}


KNOWN = tuple(
    ((2, c, *size), (k, k), window((s, s), (p, p, p, p)))
    for c, size in ((19, (17, 23)), (8, (8, 8)), (3, (1, 1)), (5, (2, 40)))
    for k in (3, 5)
    for s in (1, 2)
    for p in (k // 2, k - 1)
)
"""The kernels that have code of their own, on images of which all, some or none of the windows reach over the edge."""


def random_problems(count: int, seed: int) -> Iterator[tuple[Shape, tuple[int, int], dict[str, Any]]]:
    """Shapes of x, kernel sizes and windows: uneven strides, dilations and paddings, larger than the kernel too."""
    rng = np.random.default_rng(seed)
    while count:
        x = (int(rng.integers(1, 4)), int(rng.integers(1, 36)), *(int(v) for v in rng.integers(1, 21, 2)))
        kernel = int(rng.integers(1, 10)), int(rng.integers(1, 10))
        attrs = window(rng.integers(1, 5, 2).tolist(), rng.integers(0, 7, 4).tolist(), rng.integers(1, 4, 2).tolist())
        try:
            OPS["conv2d"].infer([Spec(x), Spec((x[1], 1, *kernel))], {**attrs, "groups": x[1]})
        except OperatorError:
            continue
        yield x, kernel, attrs
        count -= 1


def problem_arrays(
    op: str, x: Shape, size: tuple[int, int], attrs: dict[str, Any], more: int = 0
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The operator's inputs and attributes; conv2d has a bias with ``more``, a residual and a clamp with 2."""
    rng, weight = np.random.default_rng(0), (x[1], 1, *size)
    attrs = {**attrs, "groups": x[1]}
    y = OPS["conv2d"].infer([Spec(x), Spec(weight)], attrs)[0].shape
    if op == "conv2d_input_grad":
        shapes, attrs = [y, weight], {**attrs, "input_size": x[2:]}
    elif op == "conv2d_weight_grad":
        shapes, attrs = [y, x], {**attrs, "kernel_size": size}
    else:
        shapes = [x, weight, *[(x[1],), y][:more]]
        attrs = {**attrs, "residual": True, "clamp": (0.25, 1.5)} if more == 2 else attrs
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes], attrs


def check(kernel: Kernel, arrays: list[np.ndarray], attrs: dict[str, Any], length: int) -> None:
    """The relative norm of the error is at most 1e-6 times the square root of a sixteenth of the sums' length."""
    assert kernel.supports(problem_of(kernel.op, arrays, attrs))
    (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS[kernel.op].reference(arrays, attrs)
    bound = 1e-6 * max(1.0, np.sqrt(length / 16)) * float(np.linalg.norm(want))
    error = float(np.linalg.norm(got - want))
    assert error <= bound, f"{kernel.name} {[a.shape for a in arrays]} {attrs}: {error:.3g}, allowed is {bound:.3g}"


def length_of(op: str, arrays: list[np.ndarray], size: tuple[int, int]) -> int:
    """Terms of one sum."""
    return arrays[0].size // arrays[0].shape[1] if op == "conv2d_weight_grad" else size[0] * size[1]


@pytest.mark.parametrize("more", [0, 1, 2])
def test_windows_with_code_of_their_own(kernel: Kernel, more: int) -> None:
    for x, size, attrs in KNOWN:
        arrays, given = problem_arrays(kernel.op, x, size, attrs, more)
        check(kernel, arrays, given, length_of(kernel.op, arrays, size))


def test_random_windows(kernel: Kernel) -> None:
    for number, (x, size, attrs) in enumerate(random_problems(150, 1)):
        arrays, given = problem_arrays(kernel.op, x, size, attrs, number % 3)
        check(kernel, arrays, given, length_of(kernel.op, arrays, size))


def test_long_sums(kernel: Kernel) -> None:
    for x, size in (((3, 9, 90, 301), (3, 3)), ((2, 4, 7, 600), (5, 5)), ((40, 3, 33, 12), (2, 7))):
        arrays, given = problem_arrays(kernel.op, x, size, window(padding=(1, 1, 1, 1)))
        check(kernel, arrays, given, length_of(kernel.op, arrays, size))


def test_the_same_bits_whoever_does_which_task(kernel: Kernel) -> None:
    for x, size, attrs in (*KNOWN[::3], *random_problems(20, 2)):
        arrays, given = problem_arrays(kernel.op, x, size, attrs, 2)
        once, again = (run_kernel(kernel, arrays, given, order)[0] for order in (whole, scattered))
        assert np.array_equal(once.view(np.uint32), again.view(np.uint32)), f"{kernel.name} {x} {size} {attrs}"


def test_a_nan_reaches_what_it_is_part_of_through_a_clamp() -> None:
    for isa in BUILT:
        kernel = next(k for k in REGISTRY.kernels["conv2d"] if k.name == f"conv2d_depthwise_f32_{isa}")
        arrays, attrs = problem_arrays("conv2d", (1, 3, 9, 9), (3, 3), window(padding=(1, 1, 1, 1)), 2)
        arrays[0][0, 1, 4, 4] = np.nan
        (y,) = run_kernel(kernel, arrays, attrs)
        expected = np.zeros(y.shape, bool)
        expected[0, 1, 3:6, 3:6] = True
        assert np.array_equal(np.isnan(y), expected)


def test_several_output_channels_of_a_group_are_left_to_others(kernel: Kernel) -> None:
    x, w = np.zeros((1, 4, 5, 5), np.float32), np.zeros((8, 1, 3, 3), np.float32)
    y, attrs = np.zeros((1, 8, 3, 3), np.float32), {**window(), "groups": 4}
    if kernel.op == "conv2d":
        problem = problem_of("conv2d", [x, w], attrs)
    elif kernel.op == "conv2d_input_grad":
        problem = problem_of("conv2d_input_grad", [y, w], {**attrs, "input_size": (5, 5)})
    else:
        problem = problem_of("conv2d_weight_grad", [y, x], {**attrs, "kernel_size": (3, 3)})
    assert not kernel.supports(problem)
