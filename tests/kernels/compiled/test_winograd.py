"""Winograd convolutions against the float64 reference: errors as relative norms, whatever the shape and its tails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel, scattered, whole

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS

FORWARD = ("winograd4", "winograd2", "winograd2_5x5")
TILES = tuple(f"{op}_{name}" for op in ("conv2d", "conv2d_input_grad") for name in FORWARD)
ALGORITHMS = (*TILES, "conv2d_weight_grad_winograd4", "conv2d_weight_grad_winograd2_5x5")
BOUND = 2e-5
Shape = tuple[int, ...]


@pytest.fixture(params=[(isa, name) for isa in BUILT for name in ALGORITHMS], ids="-".join)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    isa, name = request.param
    return next(k for rows in REGISTRY.kernels.values() for k in rows if k.name == f"{name}_f32_{isa}")


def taps(kernel: Kernel) -> int:
    """Of a side of the kernels that it takes."""
    return 5 if kernel.algorithm.endswith("5x5") else 3


def window(*padding: int) -> dict[str, Any]:
    return {"stride": (1, 1), "padding": padding, "dilation": (1, 1), "groups": 1}


def random_problems(count: int, seed: int, r: int) -> Iterator[tuple[Shape, int, dict[str, Any]]]:
    """Shapes of x, output channels and attributes: odd sizes, single pixels, uneven and large padding."""
    rng = np.random.default_rng(seed)
    while count:
        n, c, oc = (int(rng.integers(1, most)) for most in (5, 40, 50))
        h, w = (int(rng.choice([1, 2, 3, 4, 5, 7, 8, 9, 13, 17])) for _ in range(2))
        padding = [int(v) for v in rng.choice([0, 1, 1, 1, 2, 5], 4)]
        if min(h + padding[0] + padding[2], w + padding[1] + padding[3]) >= r:
            yield (n, c, h, w), oc, window(*padding)
            count -= 1


def output_shape(x: Shape, oc: int, attrs: dict[str, Any], r: int) -> Shape:
    top, left, bottom, right = attrs["padding"]
    return x[0], oc, x[2] + top + bottom - r + 1, x[3] + left + right - r + 1


def arrays_of(
    kernel: Kernel, x: Shape, oc: int, attrs: dict[str, Any], seed: int
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The operator's inputs and attributes for the convolution of ``x``, values of a network's size."""
    op, r = kernel.op, taps(kernel)
    rng, y = np.random.default_rng(seed), output_shape(x, oc, attrs, r)
    weight = (rng.standard_normal((oc, x[1], r, r)) / np.sqrt(r * r * x[1])).astype(np.float32)
    given = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("x", x), ("y", y))}
    if op == "conv2d":
        return [given["x"], weight], attrs
    if op == "conv2d_input_grad":
        return [given["y"], weight], {**attrs, "input_size": x[2:]}
    return [given["y"], given["x"]], {**attrs, "kernel_size": (r, r)}


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    norm = float(np.linalg.norm(want))
    return float(np.linalg.norm(got - want)) / norm if norm else float(np.abs(got).max())


def bound(kernel: Kernel, y: Shape) -> float:
    if kernel.op != "conv2d_weight_grad":
        return BOUND
    side = 7 - taps(kernel)
    tiles = y[0] * -(-y[2] // side) * -(-y[3] // side)
    return BOUND * max(1.0, (tiles / 64) ** 0.4)


def check(kernel: Kernel, x: Shape, oc: int, attrs: dict[str, Any], seed: int = 0) -> None:
    arrays, attrs = arrays_of(kernel, x, oc, attrs, seed)
    assert kernel.supports(problem_of(kernel.op, arrays, attrs))
    error = relative_error(run_kernel(kernel, arrays, attrs)[0], OPS[kernel.op].reference(arrays, attrs)[0])
    assert error <= bound(kernel, output_shape(x, oc, attrs, taps(kernel))), (
        f"{kernel.name} of {x} to {oc}, {attrs}: {error:.3g}"
    )


@pytest.mark.parametrize("kernel", [(isa, name) for isa in BUILT for name in TILES], indirect=True)
def test_long_sums_do_not_add_to_the_error(kernel: Kernel) -> None:
    """Of one block of results, two, and three: sums over channels are taken in runs."""
    for results in (kernel.width, 2 * kernel.width, 3 * kernel.width):
        channels = (2048, results) if kernel.op == "conv2d" else (results, 2048)
        arrays, attrs = arrays_of(kernel, (1, channels[0], 6, 5), channels[1], window(1, 1, 1, 1), seed=1)
        error = relative_error(run_kernel(kernel, arrays, attrs)[0], OPS[kernel.op].reference(arrays, attrs)[0])
        assert error < 2.5e-6, f"{kernel.name}, {results} channels of results: {error:.3g}"


def test_random_shapes(kernel: Kernel) -> None:
    for seed, problem in enumerate(random_problems(60, 4, taps(kernel))):
        check(kernel, *problem, seed)


@pytest.mark.parametrize(
    ("x", "oc", "padding"),
    [
        ((32, 32, 28, 28), 32, 1),
        ((4, 64, 32, 32), 64, 1),
        ((8, 128, 16, 16), 128, 1),
        ((32, 256, 8, 8), 256, 1),
        ((6, 64, 16, 16), 128, 1),
        ((3, 300, 7, 7), 24, 2),
        ((2, 16, 30, 41), 20, 0),
        ((1, 3, 1, 1), 5, 2),
        ((2, 40, 8, 8), 70, 4),
    ],
)
def test_shapes_of_networks(kernel: Kernel, x: Shape, oc: int, padding: int) -> None:
    check(kernel, x, oc, window(*[padding] * 4))


def test_values_of_one_sign(kernel: Kernel) -> None:
    """As behind a ReLU: sums grow with their length, not with its root."""
    arrays, attrs = arrays_of(kernel, (4, 64, 16, 16), 32, window(1, 1, 1, 1), 0)
    arrays = [np.abs(a) for a in arrays]
    assert relative_error(run_kernel(kernel, arrays, attrs)[0], OPS[kernel.op].reference(arrays, attrs)[0]) <= BOUND


@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize("algorithm", FORWARD)
@pytest.mark.parametrize("extra", [("bias",), ("residual",), ("clamp",), ("bias", "residual", "clamp")])
def test_what_follows_the_sums(isa: str, algorithm: str, extra: tuple[str, ...]) -> None:
    kernel = next(k for k in REGISTRY.kernels["conv2d"] if k.name == f"conv2d_{algorithm}_f32_{isa}")
    for seed, (x, oc, attrs) in enumerate(random_problems(15, 5, taps(kernel))):
        (image, weight), attrs = arrays_of(kernel, x, oc, attrs, seed)
        rng, arrays = np.random.default_rng(seed + 100), [image, weight]
        if "bias" in extra:
            arrays.append(rng.standard_normal(oc).astype(np.float32))
        if "residual" in extra:
            arrays.append(rng.standard_normal(output_shape(x, oc, attrs, taps(kernel))).astype(np.float32))
            attrs = {**attrs, "residual": True}
        if "clamp" in extra:
            attrs = {**attrs, "clamp": (0.25, 1.5)}
        got, want = run_kernel(kernel, arrays, attrs)[0], OPS["conv2d"].reference(arrays, attrs)[0]
        assert relative_error(got, want) <= BOUND
        if "clamp" in extra:
            assert got.min() >= np.float32(0.25) and got.max() <= np.float32(1.5)


@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize("algorithm", FORWARD)
def test_a_clamp_lets_nan_through(isa: str, algorithm: str) -> None:
    kernel = next(k for k in REGISTRY.kernels["conv2d"] if k.name == f"conv2d_{algorithm}_f32_{isa}")
    (image, weight), attrs = arrays_of(kernel, (1, 5, 9, 9), 11, window(1, 1, 1, 1), 0)
    image[0, 2, 3, 3] = np.nan
    got = run_kernel(kernel, [image, weight], {**attrs, "clamp": (0.0, 1.0)})[0]
    assert np.isnan(got[0, :, 2:5, 2:5]).all()
    assert not np.isnan(got[0, :, -1, -1]).any()


def test_same_bits_in_any_order(kernel: Kernel) -> None:
    arrays, attrs = arrays_of(kernel, (9, 70, 13, 11), 150, window(1, 0, 2, 1), 0)
    once, again = (run_kernel(kernel, arrays, attrs, order)[0] for order in (whole, scattered))
    assert np.array_equal(once.view(np.uint32), again.view(np.uint32))


@pytest.mark.parametrize(
    "attrs",
    [
        {**window(1, 1, 1, 1), "stride": (1, 2)},
        {**window(1, 1, 1, 1), "dilation": (2, 1)},
        {**window(1, 1, 1, 1), "groups": 2},
        {**window(1, 1, 1, 1), "kernel_size": (3, 5)},
        {**window(1, 1, 1, 1), "kernel_size": (4, 4)},
    ],
)
def test_other_convolutions_are_declined(kernel: Kernel, attrs: dict[str, Any]) -> None:
    size = attrs["kernel_size"] if "kernel_size" in attrs else (taps(kernel),) * 2
    attrs = {name: value for name, value in attrs.items() if name != "kernel_size"}
    image, weight = np.zeros((1, 4, 9, 9), np.float32), np.zeros((6, 4 // attrs["groups"], *size), np.float32)
    y = OPS["conv2d"].reference([image, weight], attrs)[0].astype(np.float32)
    if kernel.op == "conv2d":
        problem = problem_of(kernel.op, [image, weight], attrs)
    elif kernel.op == "conv2d_input_grad":
        problem = problem_of(kernel.op, [y, weight], {**attrs, "input_size": (9, 9)})
    else:
        problem = problem_of(kernel.op, [y, image], {**attrs, "kernel_size": size})
    assert not kernel.supports(problem)
