"""A NaN or an infinity spoils what reads it and nothing else, whatever a kernel does with groups, blocks and phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import fuzz_kernels
import numpy as np
import pytest
from guarded import run_kernel, scattered

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS

PROBLEMS = 100


def reference(op: str, arrays: Sequence[np.ndarray], attrs: dict[str, Any]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return OPS[op].reference(arrays, attrs)[0]


def reads(trial: fuzz_kernels.Trial, number: int, place: int) -> np.ndarray:
    """Which results have a product with an element of an input, or are a sum with it."""
    arrays = [np.ones_like(a) if i < 2 else np.zeros_like(a) for i, a in enumerate(trial.arrays)]
    arrays[number] = np.zeros_like(arrays[number])
    arrays[number].flat[place] = 1
    if number > 1:
        arrays[0][...] = 0
    return reference(trial.op, arrays, trial.attrs) != 0


def spoiled(trial: fuzz_kernels.Trial, rng: np.random.Generator) -> Iterator[tuple[list[np.ndarray], Any, Any]]:
    """For each input the arrays with one element that is not finite, what it must spoil, and what it may."""
    for number, array in enumerate(trial.arrays):
        place = int(rng.integers(array.size))
        arrays = [a.copy() for a in trial.arrays]
        arrays[number].flat[place] = rng.choice(fuzz_kernels.NOT_FINITE)
        least = reads(trial, number, place)
        yield arrays, least, least | meets_padding(trial, number, place, least.shape)


def meets_padding(trial: fuzz_kernels.Trial, number: int, place: int, shape: tuple[int, ...]) -> np.ndarray:
    """Which results may have a product of an element with the zeros around an image: a kernel may leave it out."""
    found = np.zeros(shape, bool)
    index = np.unravel_index(place, trial.arrays[number].shape)
    if trial.op == "conv2d" and number == 1:
        found[:, index[0]] = True
    elif trial.op == "conv2d_weight_grad" and number == 0:
        found[index[1]] = True
    elif trial.op == "conv2d_input_grad" and number == 1:
        outputs, channels = trial.arrays[1].shape[:2]
        group = index[0] * trial.attrs["groups"] // outputs
        found[:, group * channels + index[1]] = True
    return found


def convolutions(seed: int) -> list[fuzz_kernels.Trial]:
    found = (t for t in fuzz_kernels.trials(seed) if t.op.startswith("conv2d"))
    finite = (t for t in found if all(np.isfinite(a).all() and a.size for a in t.arrays))
    return [replace(t, attrs={k: v for k, v in t.attrs.items() if k != "clamp"}) for t in islice(finite, PROBLEMS)]


@pytest.mark.parametrize("isa", ["numba", *BUILT])
def test_only_what_reads_a_value_is_spoiled_by_it(isa: str) -> None:
    rng = np.random.default_rng(0)
    for trial in convolutions(0):
        kernels = [k for k in fuzz_kernels.rows(trial, [isa]) if "winograd" not in k.algorithm]
        clean = [run_kernel(kernel, trial.arrays, trial.attrs)[0] for kernel in kernels]
        for arrays, least, most in spoiled(trial, rng):
            for kernel, before in zip(kernels, clean, strict=True):
                (got,) = run_kernel(kernel, arrays, trial.attrs, scattered)
                what = f"{kernel.name}: {trial.what}"
                assert not np.isfinite(got[least]).any(), what
                np.testing.assert_array_equal(got[~most], before[~most], err_msg=what)


@pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")
@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize(
    "op, shapes, attrs",
    [
        ("conv2d", ((1, 24, 9, 9), (24, 1, 3, 3)), {"groups": 24}),
        ("conv2d", ((1, 48, 9, 9), (48, 24, 1, 1)), {"padding": (0,) * 4, "groups": 2}),
        ("conv2d_input_grad", ((1, 24, 9, 9), (24, 1, 3, 3)), {"groups": 24, "input_size": (9, 9)}),
        ("conv2d_input_grad", ((1, 16, 16, 16), (16, 2, 3, 3)), {"stride": (2, 2), "input_size": (32, 32)}),
    ],
    ids=["depthwise", "groups", "gradient of depthwise", "gradient of few channels"],
)
def test_zero_weights_are_no_absent_weights(op: str, shapes: Any, attrs: Any, isa: str) -> None:
    """Zero times NaN is NaN where the product is one of the sum's, whichever zero the weight is."""
    attrs = {"stride": (1, 1), "padding": (1,) * 4, "dilation": (1, 1), "groups": 1, **attrs}
    for zero in (0.0, -0.0):
        x, weight = np.ones(shapes[0], np.float32), np.full(shapes[1], zero, np.float32)
        x[0, 5, 4, 4] = np.nan
        want = reference(op, [x, weight], attrs)
        assert np.isnan(want).any()
        for kernel in REGISTRY.kernels[op]:
            if kernel.isa == isa and kernel.algorithm == "direct":
                np.testing.assert_array_equal(run_kernel(kernel, [x, weight], attrs)[0], want.astype(np.float32))


TILES = {"winograd4": 4, "winograd2": 2, "winograd2_5x5": 2}
"""Results of a tile along each axis."""


def winograd(trial: fuzz_kernels.Trial, isa: str) -> list[Kernel]:
    return [k for k in fuzz_kernels.rows(trial, [isa]) if k.algorithm in TILES]


def images(op: str, taps: int, seed: int) -> fuzz_kernels.Trial:
    """A convolution with kernels of so many taps a side, or its input gradient."""
    rng = np.random.default_rng(seed)
    channels, outputs, side = (int(n) for n in rng.integers(2, 20, 3))
    size = side + 3, side + 4
    attrs: dict[str, Any] = {"stride": (1, 1), "padding": (taps // 2,) * 4, "dilation": (1, 1), "groups": 1}
    attrs |= {"input_size": size} if op == "conv2d_input_grad" else {}
    weight = fuzz_kernels.normal(rng, *((outputs, channels) if op == "conv2d" else (channels, outputs)), taps, taps)
    return fuzz_kernels.Trial(op, [fuzz_kernels.normal(rng, 2, channels, *size), weight], attrs)


def over_tiles(values: np.ndarray, side: int) -> np.ndarray:
    """The largest of each tile's values at all its places; the last two axes count rows and columns."""
    spread = values.copy()
    for axis in (-2, -1):
        count = values.shape[axis]
        largest = np.maximum.reduceat(spread, np.arange(0, count, side), axis)
        spread = np.take(largest, np.arange(count) // side, axis)
    return spread


@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize("taps", [3, 5])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_input_grad"])
def test_winograd_spreads_what_is_not_finite_over_the_tiles_that_read_it(op: str, taps: int, isa: str) -> None:
    for seed, value in enumerate(fuzz_kernels.NOT_FINITE):
        trial = images(op, taps, seed)
        clean = images(op, taps, seed)
        place = int(np.random.default_rng(seed).integers(trial.arrays[0].size))
        trial.arrays[0].flat[place] = value
        read = reads(clean, 0, place)
        kernels = winograd(clean, isa)
        assert kernels
        for kernel in kernels:
            (got,), (before,) = (run_kernel(kernel, t.arrays, t.attrs) for t in (trial, clean))
            assert not np.isfinite(got[read]).any(), kernel.name
            outside = ~over_tiles(read, TILES[kernel.algorithm])
            np.testing.assert_array_equal(got[outside], before[outside], err_msg=kernel.name)


@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize("taps", [3, 5])
def test_winograd_weight_gradients_are_spoiled_in_their_channels(taps: int, isa: str) -> None:
    rng = np.random.default_rng(0)
    x, dy = fuzz_kernels.normal(rng, 3, 18, 9, 9), fuzz_kernels.normal(rng, 3, 5, 9, 9)
    attrs = {
        "stride": (1, 1),
        "padding": (taps // 2,) * 4,
        "dilation": (1, 1),
        "groups": 1,
        "kernel_size": (taps, taps),
    }
    clean = np.ones((5, 18), bool)
    clean[:, 17] = clean[3] = False
    kernels = fuzz_kernels.rows(fuzz_kernels.Trial("conv2d_weight_grad", [dy, x], attrs), [isa])
    x[1, 17, 4, 4], dy[2, 3, 8, 0] = np.inf, np.nan
    for kernel in kernels:
        (dw,) = run_kernel(kernel, [dy, x], attrs)
        assert np.isfinite(dw[clean]).all() and not np.isfinite(dw[:, 17, taps // 2, taps // 2]).any(), kernel.name


@pytest.mark.parametrize("isa", BUILT)
@pytest.mark.parametrize("taps", [3, 5])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_input_grad"])
def test_the_error_of_winograd_beside_a_huge_pixel(op: str, taps: int, isa: str) -> None:
    """At most 2e-6 of the largest input of the tile times the sum of the absolute weights."""
    for seed, huge in enumerate((1.0, 1e6, -1e12, 1e30)):
        trial = images(op, taps, seed)
        (x, weight), reach = trial.arrays, taps // 2
        x[0, 0, 4, 3] = huge
        want = reference(op, trial.arrays, trial.attrs)
        windows = np.pad(np.abs(x).max(axis=1), [(0, 0), (reach, reach), (reach, reach)])
        largest = np.lib.stride_tricks.sliding_window_view(windows, (taps, taps), (1, 2)).max(axis=(3, 4))
        weights = np.abs(weight.astype(np.float64)).sum(axis=(1, 2, 3) if op == "conv2d" else (0, 2, 3))
        for kernel in winograd(trial, isa):
            (got,) = run_kernel(kernel, trial.arrays, trial.attrs)
            bound = 2e-6 * over_tiles(largest, TILES[kernel.algorithm])[:, None] * weights[:, None, None]
            assert (np.abs(got - want) <= bound).all(), kernel.name
