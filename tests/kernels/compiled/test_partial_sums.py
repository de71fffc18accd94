"""Sums over the images of a batch that are taken in groups of them, chunk by chunk, against the whole batch at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import fuzz_kernels
import numpy as np
import pytest
from guarded import Fenced, error_bounds, problem_of, run_groups

from normengine.kernels import REGISTRY, Kernel, Problem
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS, OperatorError

pytestmark = pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")

ROUNDS = 60
WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1, "kernel_size": (3, 3)}
NAMES = {
    "conv2d_weight_grad": ("direct", "first", "taps", "packed", "winograd4", "winograd2_5x5", "depthwise"),
    "batch_stats": ("blocked",),
    "sum_images": ("blocked",),
}
Trial = fuzz_kernels.Trial


def rows(op: str) -> list[Kernel]:
    return [k for k in REGISTRY.kernels[op] if k.partial_sums]


def every_row(*ops: str) -> Any:
    return pytest.mark.parametrize("kernel", [k for op in ops for k in rows(op)], ids=lambda k: k.name)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def weight_grad(x: tuple[int, ...], outputs: int, **attrs: Any) -> Trial:
    """The weight gradient of a convolution that keeps the image's size."""
    return Trial("conv2d_weight_grad", [normal(x[0], outputs, *x[2:]), normal(*x, seed=1)], {**WINDOW, **attrs})


WEIGHT_GRADS = (
    weight_grad((12, 37, 7, 5), 29),
    weight_grad((8, 3, 1, 1), 5),
    weight_grad((6, 19, 9, 11), 19, groups=19),
    weight_grad((6, 24, 6, 6), 40, groups=2),
    weight_grad((4, 160, 8, 8), 200),
    weight_grad((6, 33, 5, 9), 70, kernel_size=(1, 1), padding=(0, 0, 0, 0)),
    weight_grad((6, 70, 5, 9), 33, kernel_size=(1, 1), padding=(0, 0, 0, 0)),
)
"""Sums of one task and of several, with tails of channels, of an image or several a group."""


def random_trials(kernel: Kernel, count: int) -> Iterator[Trial]:
    """Problems of any size, stride, dilation, padding and groups that the kernel takes."""
    rng = np.random.default_rng(0)
    while count:
        try:
            of_images = kernel.op != "conv2d_weight_grad"
            trial = random_sums(kernel.op, rng) if of_images else random_weight_grad(kernel.algorithm, rng)
        except OperatorError:
            continue  # an image smaller than its window
        yield trial
        count -= 1


def random_sums(op: str, rng: np.random.Generator) -> Trial:
    images, channels = (int(v) for v in rng.integers(1, 40, 2))
    return Trial(op, [fuzz_kernels.normal(rng, images, channels, *fuzz_kernels.pair(rng, 30))], {})


def random_weight_grad(algorithm: str, rng: np.random.Generator) -> Trial:
    groups = int(rng.choice([1, 1, 2, 3, 8]))
    inside, outside = (int(v) for v in rng.integers(1, 50 // groups + 2, 2))
    window: dict[str, Any] = {
        "stride": fuzz_kernels.pair(rng, 3),
        "dilation": fuzz_kernels.pair(rng, 2),
    }
    size = fuzz_kernels.pair(rng, 4)
    if algorithm.startswith("winograd"):
        side = 5 if algorithm.endswith("5x5") else 3
        groups, size, window = 1, (side, side), {"stride": (1, 1), "dilation": (1, 1)}
    if algorithm in ("taps", "packed"):
        groups, size = 1, (size[0], size[1] + 1)
    if algorithm == "packed":
        inside, window = inside + 8, {**window, "dilation": (window["dilation"][0], 1)}
    if algorithm == "depthwise":
        groups, inside, outside = inside * groups, 1, 1
    window |= {"padding": tuple(int(v) for v in rng.choice([0, 1, 2, 4], 4)), "groups": groups}
    x = fuzz_kernels.normal(rng, int(rng.integers(1, 13)), groups * inside, *fuzz_kernels.pair(rng, 16))
    weight = np.empty((groups * outside, inside, *size), np.float32)
    (y,) = problem_of("conv2d", [x, weight], window).outputs
    return Trial("conv2d_weight_grad", [fuzz_kernels.normal(rng, *y), x], {**window, "kernel_size": size})


def splits(images: int) -> list[tuple[int, int]]:
    """Groups and chunks: an image a group and all images in one, one chunk, some, and as many as there are groups."""
    divisors = [n for n in range(1, images + 1) if images % n == 0]
    groups = sorted({divisors[0], divisors[len(divisors) // 2], images})
    return sorted({(g, chunks) for g in groups for chunks in (1, min(3, g), g)})


def of_a_group(trial: Trial, groups: int) -> Problem:
    arrays = [a[: len(a) // groups] for a in trial.arrays]
    return problem_of(trial.op, arrays, trial.attrs)._replace(single_thread=True)


def check(kernel: Kernel, trial: Trial, groups: int, chunks: int) -> None:
    got = run_groups(kernel, trial.arrays, trial.attrs, groups, chunks)
    wanted = OPS[trial.op].reference(trial.arrays, trial.attrs)
    bounds = error_bounds(kernel, trial.arrays, trial.attrs)
    for result, want, bound in zip(got, wanted, bounds, strict=True):
        off = np.abs(result - want).max()
        assert off <= bound, (
            f"{kernel.name}: {groups} groups, {chunks} chunks: off by {off:.3g}, {bound:.3g} is allowed: {trial.what}"
        )


def test_every_sum_over_images_can_be_partial() -> None:
    for op, names in NAMES.items():
        assert {(k.isa, k.algorithm) for k in rows(op)} == {(isa, name) for isa in BUILT for name in names}
    assert all(not rows(op) for op in REGISTRY.kernels if op not in NAMES)


@every_row(*NAMES)
def test_random_problems(kernel: Kernel) -> None:
    for trial in random_trials(kernel, ROUNDS):
        for groups, chunks in splits(len(trial.arrays[0])):
            check(kernel, trial, groups, chunks)


@every_row("conv2d_weight_grad")
def test_weight_gradients(kernel: Kernel) -> None:
    for trial in WEIGHT_GRADS:
        if kernel in fuzz_kernels.rows(trial, BUILT):
            for groups, chunks in splits(len(trial.arrays[0])):
                check(kernel, trial, groups, chunks)


@every_row(*NAMES)
def test_launches(kernel: Kernel) -> None:
    """Chunks are whole lines of the cache, the sums of a group are not cut into more chunks, and how they are merged
    does not depend on the images of a group."""
    parts = kernel.partial_sums
    assert parts
    for trial in random_trials(kernel, ROUNDS):
        problem = of_a_group(trial, len(trial.arrays[0]))
        sums, merge = parts.group(problem), parts.merge(problem, 5)
        shared = problem._replace(single_thread=False)
        assert (sums, merge) == (parts.group(shared), parts.merge(shared, 5))
        launch = kernel.launch(problem)
        assert sums.tasks + merge.tasks == launch.tasks and sums.scratch == launch.scratch
        assert sums.scratch % 64 == 0 and sums.scratch > 0 and merge.scratch == 5 * sums.scratch
        assert sums.extra == launch.extra and sums.extra.accumulate == 0


@every_row("conv2d_weight_grad")
def test_smaller_groups_cost_more(kernel: Kernel) -> None:
    """Each of them reads and writes the sums."""
    channels = 96
    depthwise = {"groups": channels} if kernel.algorithm == "depthwise" else {}
    trial = weight_grad((16, channels, 4, 4), channels, **depthwise)
    costs = [groups * kernel.cost(of_a_group(trial, groups)) for groups in (1, 2, 4, 8, 16)]
    assert costs == sorted(costs) and costs[0] < costs[-1], costs


@every_row("batch_stats")
@pytest.mark.parametrize("shape", [(48, 17, 3, 5), (12, 9, 40, 33), (60, 5, 1, 1), (6, 33, 23, 23)], ids=str)
@pytest.mark.parametrize("center", [0.0, 1e4])
def test_statistics_of_far_values(kernel: Kernel, shape: tuple[int, ...], center: float) -> None:
    x = (normal(*shape) + np.float32(center)).astype(np.float32)
    exact = x.astype(np.float64)
    for groups, chunks in splits(len(x)):
        mean, var = run_groups(kernel, [x], {}, groups, chunks)
        assert np.abs(mean - exact.mean((0, 2, 3))).max() <= 1e-6 * max(1.0, center)
        assert (np.abs(var - exact.var((0, 2, 3))) <= 1e-4 * exact.var((0, 2, 3))).all()


@every_row("batch_stats")
@pytest.mark.parametrize("shape", [(24, 9, 8, 8), (70, 5, 1, 1), (6, 3, 40, 40)], ids=str)
def test_the_first_values_may_be_unlike_all_others(kernel: Kernel, shape: tuple[int, ...]) -> None:
    for unlike in (np.s_[:1, :, :1, :1], np.s_[:1]):
        x = (1e4 + normal(*shape)).astype(np.float32)
        x[unlike] = 0.0
        exact = x.astype(np.float64).var((0, 2, 3))
        for groups, chunks in splits(len(x)):
            _, var = run_groups(kernel, [x], {}, groups, chunks)
            assert (np.abs(var - exact) <= 1e-4 * exact).all()


@every_row("batch_stats")
def test_channels_of_one_value_have_no_variance(kernel: Kernel) -> None:
    values = 1e3 * normal(1, 19, 1, 1)
    x = np.broadcast_to(values, (12, 19, 9, 7)).copy()
    for groups, chunks in splits(len(x)):
        mean, var = run_groups(kernel, [x], {}, groups, chunks)
        assert np.array_equal(mean, values.ravel())
        assert not var.any()


@pytest.mark.skipif(os.name != "posix", reason="pages are protected by POSIX calls")
@every_row(*NAMES)
def test_nothing_beyond_the_arrays_is_read(kernel: Kernel) -> None:
    for trial in random_trials(kernel, 10):
        for behind in (False, True):
            Fenced.behind = behind
            for groups, chunks in splits(len(trial.arrays[0])):
                run_groups(kernel, trial.arrays, trial.attrs, groups, chunks, Fenced)
