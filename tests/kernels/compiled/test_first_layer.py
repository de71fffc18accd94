"""The convolution of images with few channels: random problems over all its parameters, and what makes it special."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel, scattered

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT, first_layer
from normengine.ops import OPS, OperatorError

KERNELS = [k for k in REGISTRY.kernels["conv2d"] if k.name.startswith("conv2d_first")]
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.isa)


def random_case(seed: int) -> tuple[list[np.ndarray], dict[str, Any]] | None:
    """A problem of at most a few hundred thousand products, or None where the image is smaller than its window."""
    rng = np.random.default_rng(seed)
    kernel = tuple(int(v) for v in rng.integers(1, 8, 2))
    attrs: dict[str, Any] = {
        "stride": tuple(int(v) for v in rng.integers(1, 5, 2)),
        "padding": tuple(int(v) for v in rng.integers(0, 2 + max(kernel), 4) * rng.integers(0, 2)),
        "dilation": tuple(int(v) for v in rng.integers(1, 4, 2)),
        "groups": 1,
    }
    channels = int(rng.choice([1, 1, 2, 3, 3, 4, 5, 8]))
    sizes = [int(v) for v in rng.choice([1, 2, 5, 11, 17, 28, 40], 2)]
    x = rng.standard_normal((int(rng.integers(1, 4)), channels, *sizes), np.float32)
    weight = rng.standard_normal((int(rng.integers(1, 70)), channels, *kernel), np.float32)
    arrays = [x, weight]
    try:
        (y,) = problem_of("conv2d", arrays, attrs).outputs
    except OperatorError:
        return None
    if rng.random() < 0.6:
        arrays.append(rng.standard_normal(weight.shape[0], np.float32))
    if rng.random() < 0.4:
        arrays.append(rng.standard_normal(y, np.float32))
        attrs["residual"] = True
    if rng.random() < 0.5:
        attrs["clamp"] = [(0.0, math.inf), (0.0, 6.0), (-math.inf, 1.0), (0.25, 0.5)][int(rng.integers(4))]
    return arrays, attrs


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30))


def test_every_instruction_set_has_it() -> None:
    assert {k.isa for k in KERNELS} == set(BUILT)


@every_kernel
def test_random_problems(kernel: Kernel) -> None:
    tried = 0
    for seed in range(150):
        case = random_case(seed)
        if case is None:
            continue
        arrays, attrs = case
        assert kernel.supports(problem_of("conv2d", arrays, attrs))
        (got,), (again,) = run_kernel(kernel, arrays, attrs), run_kernel(kernel, arrays, attrs, scattered)
        (want,) = OPS["conv2d"].reference(arrays, attrs)
        depth = math.prod(arrays[1].shape[1:])
        assert relative_error(got, want) < 1e-6 * math.sqrt(max(1.0, depth / 16)), f"seed {seed}: {attrs}"
        assert np.array_equal(got.view(np.uint32), again.view(np.uint32)), f"seed {seed}"
        tried += 1
    assert tried > 80


@every_kernel
def test_long_sums_are_taken_in_runs(kernel: Kernel) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.random((1, 8, 40, 40), np.float32), rng.random((5, 8, 15, 15), np.float32)
    attrs = {"stride": (1, 1), "padding": (7, 7, 7, 7), "dilation": (1, 1), "groups": 1}
    (got,), (want,) = run_kernel(kernel, [x, weight], attrs), OPS["conv2d"].reference([x, weight], attrs)
    assert relative_error(got, want) < 1e-6


@every_kernel
@pytest.mark.parametrize("outputs", range(1, 30))
def test_last_channels_with_pixels_as_lanes(kernel: Kernel, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it costs: rows of less than a vector, of whole ones and of some more; steps and dilation; sums of one
    run and of two; bias, residual, clamp."""
    rest = outputs % kernel.width
    few = rest if rest <= kernel.width // 2 else 0
    monkeypatch.setattr(first_layer, "_few", lambda p, sizes: few)
    rng = np.random.default_rng(outputs)
    for channels, side, width, step, apart in (
        (1, 3, 2, 1, 1), (2, 3, 7, 2, 1), (1, 5, 16, 1, 1), (3, 5, 19, 1, 2), (3, 3, 32, 1, 1), (8, 5, 21, 1, 1)
    ):  # fmt: skip
        attrs: dict[str, Any] = {"stride": (step, 1), "dilation": (1, apart), "groups": 1}
        attrs["padding"] = side // 2, 1, 1, side // 2
        x = rng.standard_normal((2, channels, 9, width + (side - 1) * apart - 1 - side // 2), np.float32)
        arrays = [x, rng.standard_normal((outputs, channels, side, side), np.float32)]
        problem = problem_of("conv2d", arrays, attrs)
        (y,) = problem.outputs
        assert y[3] == width and kernel.launch(problem).extra.few == few
        arrays += [rng.standard_normal(outputs, np.float32), rng.standard_normal(y, np.float32)]
        attrs |= {"residual": True, "clamp": (-1.0, 2.0)}
        (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS["conv2d"].reference(arrays, attrs)
        bound = 1e-6 * math.sqrt(max(1.0, channels * side * side / 16))
        assert relative_error(got, want) < bound, f"{channels} channels, rows of {width}"


@every_kernel
def test_few_channels_of_wide_rows_are_made_so(kernel: Kernel) -> None:
    attrs = {"stride": (1, 1), "padding": (2, 2, 2, 2), "dilation": (1, 1), "groups": 1}
    outputs = max(1, kernel.width // 2 - 1)
    x, weight = np.empty((1, 3, 32, 32), np.float32), np.empty((outputs, 3, 5, 5), np.float32)
    assert kernel.launch(problem_of("conv2d", [x, weight], attrs)).extra.few == outputs
    steps = {**attrs, "stride": (1, 2)}
    assert kernel.launch(problem_of("conv2d", [x, weight], steps)).extra.few == 0


@every_kernel
def test_one_image_is_cut_into_bands(kernel: Kernel) -> None:
    attrs = {"stride": (2, 2), "padding": (3, 3, 3, 3), "dilation": (1, 1), "groups": 1}
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((1, 3, 120, 131), np.float32), rng.standard_normal((20, 3, 7, 7), np.float32)]
    assert kernel.launch(problem_of("conv2d", arrays, attrs)).tasks[1] > 4
    (got,), (want,) = run_kernel(kernel, arrays, attrs), OPS["conv2d"].reference(arrays, attrs)
    assert relative_error(got, want) < 3e-6


@every_kernel
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_reach_the_channels_alone(kernel: Kernel, value: float) -> None:
    """The lanes behind the channels stay zero, which run_kernel looks at; a clamp keeps NaN."""
    x, weight = np.ones((1, 1, 6, 6), np.float32), np.ones((3, 1, 3, 3), np.float32)
    x[0, 0, 2, 2] = value
    attrs = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1, "clamp": (1.0, 6.0)}
    (got,) = run_kernel(kernel, [x, weight], attrs)
    assert np.array_equal(got, OPS["conv2d"].reference([x, weight], attrs)[0], equal_nan=True)


@every_kernel
def test_what_it_leaves_to_others(kernel: Kernel) -> None:
    window = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    few = problem_of("conv2d", [np.empty((1, 3, 9, 9), np.float32), np.empty((4, 3, 3, 3), np.float32)], window)
    assert kernel.supports(few)
    assert not kernel.supports(few._replace(inputs=((1, 9, 9, 9), (4, 9, 3, 3), None, None)))
    grouped = {**window, "groups": 2}
    assert not kernel.supports(few._replace(inputs=((1, 4, 9, 9), (4, 2, 3, 3), None, None), attrs=grouped))
    spread = {**window, "padding": (9000, 9000, 9000, 9000), "dilation": (9000, 9000)}
    assert not kernel.supports(few._replace(attrs=spread, outputs=((1, 4, 9, 9),)))
