"""The direct weight gradients on random problems, at the edges of their splits, and over long sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel, scattered, whole

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS
from normengine.ops.base import OperatorError

pytestmark = pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")

OP = "conv2d_weight_grad"
ROUNDS = 60


KERNELS = [k for k in REGISTRY.kernels[OP] if k.isa in BUILT and k.algorithm in ("direct", "first", "taps", "packed")]
Fixed = tuple[tuple[int, ...], int, dict[str, Any]]


@pytest.fixture(params=KERNELS, ids=lambda k: k.name)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    kernel: Kernel = request.param
    return kernel


def arrays_of(x: tuple[int, ...], outputs: int, rng: np.random.Generator, **attrs: Any) -> tuple[Any, dict[str, Any]]:
    """dy and x of a convolution that has the given number of output channels, and the attributes of its gradient."""
    window = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1, **attrs}
    kernel_size = window["kernel_size"]
    convolution = {name: value for name, value in window.items() if name != "kernel_size"}
    weight = (outputs, x[1] // window["groups"], *kernel_size)
    y = OPS["conv2d"].infer([Spec(x), Spec(weight)], convolution)[0].shape
    return [rng.standard_normal(shape).astype(np.float32) for shape in (y, x)], window


def each(*problems: Fixed) -> Any:
    """Every problem with every kernel that takes it."""

    def takes(kernel: Kernel, problem: Fixed) -> bool:
        x, outputs, attrs = problem
        return kernel.supports(problem_of(OP, *arrays_of(x, outputs, np.random.default_rng(0), **attrs)))

    pairs = [pytest.param(k, *p, id=f"{k.name}-{i}") for k in KERNELS for i, p in enumerate(problems) if takes(k, p)]
    return pytest.mark.parametrize(("kernel", "x", "outputs", "attrs"), pairs)


def check(kernel: Kernel, arrays: Any, attrs: dict[str, Any]) -> np.ndarray:
    """The result, after a look at its error against the reference."""
    (got,) = run_kernel(kernel, arrays, attrs)
    (want,) = OPS[OP].reference(arrays, attrs)
    terms = arrays[0].size // arrays[0].shape[1]
    off = np.linalg.norm((got - want).ravel()) / max(float(np.linalg.norm(want.ravel())), 1e-30)
    assert off <= 1e-6 * max(1.0, terms / 16) ** 0.5, (
        f"{kernel.name} {[a.shape for a in arrays]} {attrs}: off by {off:.2g}"
    )
    return got


def random_problem(rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    groups = int(rng.choice([1, 1, 1, 2, 3, 8, 17]))
    inside = int(rng.integers(1, 40 // groups + 2))
    outside = int(rng.choice([1, 2, 8, 16, int(rng.integers(1, 70 // groups + 2))]))
    images = int(rng.choice([1, 2, 3, 11]))
    height, width = (int(v) for v in rng.choice([1, 2, 3, 5, 8, 13, 16, 33], 2))
    pairs = {name: tuple(int(v) for v in rng.integers(1, 4, 2)) for name in ("stride", "dilation")}
    pads = tuple(int(v) for v in rng.choice([0, 0, 1, 2, 5], 4)) if rng.random() < 0.7 else (0, 0, 0, 0)
    size = tuple(int(v) for v in rng.integers(1, 6, 2))
    return arrays_of(
        (images, inside * groups, height, width), outside * groups, rng,
        kernel_size=size, padding=pads, groups=groups, **pairs,
    )  # fmt: skip


def test_random_problems(kernel: Kernel) -> None:
    rng, done = np.random.default_rng(0), 0
    while done < ROUNDS:
        try:
            arrays, attrs = random_problem(rng)
        except OperatorError:
            continue
        if not kernel.supports(problem_of(OP, arrays, attrs)):
            continue
        once = check(kernel, arrays, attrs)
        (again,) = run_kernel(kernel, arrays, attrs, scattered)
        assert np.array_equal(once, again), f"{[a.shape for a in arrays]} {attrs} depends on the order of its tasks"
        done += 1


@each(
    ((200, 9, 1, 1), 19, {"kernel_size": (1, 1)}),
    ((5, 33, 7, 3), 17, {"kernel_size": (1, 1)}),
    ((33, 17, 2, 2), 24, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((1, 3, 5, 1500), 8, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((2, 4, 3, 2000), 40, {"kernel_size": (1, 1)}),
    ((1, 2, 1, 1), 3, {"kernel_size": (3, 5), "padding": (1, 2, 1, 2)}),
    ((1, 1, 3, 3), 1, {"kernel_size": (3, 3), "padding": (7, 5, 6, 8)}),
    ((2, 130, 6, 6), 150, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((3, 60, 7, 9), 48, {"kernel_size": (3, 3), "padding": (1, 0, 1, 0), "groups": 2}),
    ((3, 60, 7, 9), 36, {"kernel_size": (3, 2), "groups": 6}),
    ((2, 70, 9, 9), 70, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1), "groups": 70}),
    ((2, 24, 11, 9), 12, {"kernel_size": (1, 1), "stride": (2, 3), "padding": (0, 1, 0, 0)}),
    ((3, 33, 9, 7), 21, {"kernel_size": (2, 7), "padding": (0, 5, 1, 5), "stride": (1, 2), "dilation": (2, 1)}),
    ((2, 5, 1, 40), 1, {"kernel_size": (1, 4), "dilation": (1, 3)}),
    ((2, 24, 13, 30), 24, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((3, 6, 14, 14), 20, {"kernel_size": (5, 5), "padding": (2, 2, 2, 2)}),
    ((2, 9, 7, 2), 17, {"kernel_size": (2, 2), "padding": (3, 3, 2, 4), "stride": (2, 3), "dilation": (3, 1)}),
    ((1, 40, 5, 301), 3, {"kernel_size": (3, 5), "padding": (1, 0, 1, 2)}),
)
def test_edges_of_the_split(kernel: Kernel, x: tuple[int, ...], outputs: int, attrs: dict[str, Any]) -> None:
    arrays, attrs = arrays_of(x, outputs, np.random.default_rng(1), **attrs)
    once = check(kernel, arrays, attrs)
    (again,) = run_kernel(kernel, arrays, attrs, scattered)
    assert np.array_equal(once, again)


def test_long_sums_of_values_of_one_sign(kernel: Kernel) -> None:
    arrays, attrs = arrays_of((64, 6, 32, 32), 4, np.random.default_rng(2), kernel_size=(3, 3), padding=(1, 1, 1, 1))
    check(kernel, [np.abs(a) for a in arrays], attrs)


def test_what_is_not_finite_reaches_its_channels_alone(kernel: Kernel) -> None:
    arrays, attrs = arrays_of((2, 6, 5, 5), 20, np.random.default_rng(3), kernel_size=(3, 3), padding=(1, 1, 1, 1))
    dy, x = arrays
    dy[0, 7, 2, 2], x[1, 4, 2, 2] = np.nan, np.nan
    (dw,) = run_kernel(kernel, arrays, attrs)
    reached = np.zeros(dw.shape, bool)
    reached[7], reached[:, 4] = True, True
    assert np.array_equal(np.isnan(dw), reached)


@each(
    ((32, 16, 32, 32), 16, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((1, 16, 32, 32), 16, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((8, 256, 8, 8), 256, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((32, 144, 16, 16), 24, {"kernel_size": (1, 1)}),
    ((4, 64, 16, 16), 64, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1), "groups": 8}),
    ((16, 24, 16, 16), 24, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
    ((16, 60, 16, 16), 200, {"kernel_size": (3, 3), "padding": (1, 1, 1, 1)}),
)
def test_enough_tasks_in_bounded_memory(
    kernel: Kernel, x: tuple[int, ...], outputs: int, attrs: dict[str, Any]
) -> None:
    arrays, attrs = arrays_of(x, outputs, np.random.default_rng(4), **attrs)
    problem = problem_of(OP, arrays, attrs)
    launch = kernel.launch(problem)
    weights = int(np.prod(problem.outputs[0]))
    assert launch.tasks[0] >= (9 if x[0] == 1 else 16)
    assert launch.scratch <= max(4 << 20, 8 * weights)
    assert launch.workspace <= 64 << 10


def test_cost_grows_with_the_work(kernel: Kernel) -> None:
    costs = []
    for images, channels in ((1, 16), (2, 16), (2, 32), (64, 32)):
        arrays, attrs = arrays_of(
            (images, channels, 16, 16), channels, np.random.default_rng(5), kernel_size=(3, 3), padding=(1, 1, 1, 1)
        )
        problem = problem_of(OP, arrays, attrs)
        costs.append(kernel.cost(problem))
        assert costs[-1] >= images * 256 * channels * channels * 9 / kernel.width
    assert costs == sorted(costs)


def test_any_order_of_single_tasks(kernel: Kernel) -> None:
    arrays, attrs = arrays_of((5, 21, 9, 8), 37, np.random.default_rng(6), kernel_size=(3, 2), padding=(1, 2, 0, 1))

    def shuffled(tasks: int) -> list[tuple[int, int, int]]:
        return [(int(t), int(t) + 1, int(t) % 2) for t in np.random.default_rng(7).permutation(tasks)]

    results = [run_kernel(kernel, arrays, attrs, order)[0] for order in (whole, shuffled, scattered)]
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
