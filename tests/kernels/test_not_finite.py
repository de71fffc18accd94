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

from normengine.kernels import REGISTRY
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS

PROBLEMS = 100
PADDED = {"conv2d": 1, "conv2d_weight_grad": 0}
"""The input whose values meet the zeros around the image: a kernel may leave these products out."""


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
        least = most = reads(trial, number, place)
        if PADDED.get(trial.op) == number:
            most = ~np.isfinite(reference(trial.op, arrays, trial.attrs))
        elif trial.op == "conv2d_input_grad" and number == 1:
            output, channel, *_ = np.unravel_index(place, array.shape)
            group = output * trial.attrs["groups"] // len(array)
            most = least.copy()
            most[:, group * array.shape[1] + channel] = True
        yield arrays, least, most


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
