"""Convolutions whose windows reach far beyond the image: planned at once, and by kernels that need little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Problem
from normengine.kernels.compiled import BUILT
from normengine.kernels.compiled.launches import MOST_COPIED
from normengine.ops import OPS
from normengine.ops.window import MAX_WINDOW

FAR = MAX_WINDOW // 2 - 1
DIRECTIONS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")


def problems(x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any]) -> dict[str, Problem]:
    (y,) = OPS["conv2d"].infer([Spec(x), Spec(w)], attrs)
    return {
        "conv2d": Problem("conv2d", (x, w, None, None), (y.shape,), attrs),
        "conv2d_input_grad": Problem("conv2d_input_grad", (y.shape, w), (x,), {**attrs, "input_size": x[2:]}),
        "conv2d_weight_grad": Problem("conv2d_weight_grad", (y.shape, x), (w,), {**attrs, "kernel_size": w[2:]}),
    }


def window(stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1) -> dict[str, Any]:
    pair = {"stride": (stride, stride), "dilation": (dilation, dilation)}
    return {**pair, "padding": (padding,) * 4, "groups": groups}


WINDOWS = [
    window(padding=FAR, dilation=FAR),
    window(padding=FAR, dilation=FAR, groups=3),
    window(stride=MAX_WINDOW, padding=FAR, dilation=FAR, groups=3),
    window(stride=MAX_WINDOW, padding=1),
    window(stride=MAX_WINDOW, padding=1, groups=3),
    window(stride=4, padding=2**18, dilation=2**18),
    window(stride=2**20 - 1, padding=2**20, dilation=2**20),
]


@pytest.mark.parametrize("attrs", WINDOWS, ids=str)
@pytest.mark.parametrize("op", DIRECTIONS)
def test_far_windows(op: str, attrs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x, w = (2, 3, 5, 6), (6 if attrs["groups"] == 1 else 3, 3 // attrs["groups"], 3, 3)
    problem = problems(x, w, attrs)[op]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in problem.inputs if shape is not None]
    for isa in BUILT:
        kernel = REGISTRY.choose(problem, ("numba", isa))
        launch = kernel.launch(problem)
        assert launch.scratch + launch.workspace <= 4 * MOST_COPIED, f"{kernel.name}: {launch}"
        assert problem_of(op, arrays, problem.attrs) == problem
        (got,), (want,) = run_kernel(kernel, arrays, problem.attrs), OPS[op].reference(arrays, problem.attrs)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=kernel.name)


@pytest.mark.parametrize("shape", [(1, 1, 2**24, 4), (1, 1, 4, 2**24)])
@pytest.mark.parametrize("attrs", [window(padding=1), window(stride=3, padding=2, dilation=2)], ids=str)
def test_large_images_are_planned_without_a_look_at_each_row(shape: tuple[int, ...], attrs: dict[str, Any]) -> None:
    for problem in problems(shape, (5, 1, 3, 3), attrs).values():
        for isa in BUILT:
            kernel = REGISTRY.choose(problem, ("numba", isa))
            assert kernel.launch(problem).tasks


def test_no_kernel_copies_far_more_than_it_multiplies() -> None:
    """Many rows, each of two places that padding and stride set far apart: a copy of each row would take a minute."""
    attrs = {"stride": (3, 2**16 + 1), "dilation": (1, 1), "padding": (6000, 0, 1, 2**16), "groups": 3}
    problem = problems((2, 3, 9, 2), (24, 1, 3, 1), attrs)["conv2d"]
    near = problems((2, 3, 9, 2), (24, 1, 3, 1), {**attrs, "stride": (3, 2), "padding": (6000, 0, 1, 1)})["conv2d"]
    for isa in BUILT:
        found, usual = ({k.algorithm for k in REGISTRY.supporting(p, ("numba", isa))} for p in (problem, near))
        assert "direct" in usual and "direct" not in found
