"""Every row of the compiled kernels against the operators' NumPy references."""

from __future__ import annotations

import math
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guarded import error_bounds, problem_of, run_kernel, run_problem, scattered, whole

import normengine.kernels
from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT, ROWS
from normengine.kernels.cpu import NEEDS, detect
from normengine.ops import OPS
from normengine.ops.base import Case

ISAS = tuple(NEEDS)


def conv(x: tuple[int, ...], w: tuple[int, ...], *, bias: bool = False, **attrs: Any) -> tuple[Any, ...]:
    window = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1, **attrs}
    return x, w, window, bias


# Sizes at which blocks of the depth, of pixels and of the batch begin to matter, and odd ones around them.
CONVOLUTIONS = (
    conv((2, 37, 17, 19), (29, 37, 3, 3), padding=(1, 1, 1, 1), bias=True),
    conv((3, 64, 8, 8), (48, 64, 3, 3), padding=(1, 1, 1, 1)),
    conv((9, 3, 33, 31), (16, 3, 3, 3), padding=(1, 1, 1, 1), bias=True),
    conv((2, 16, 32, 32), (32, 16, 3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    conv((2, 40, 7, 7), (70, 40, 1, 1), bias=True),
    conv((1, 24, 56, 56), (18, 24, 1, 1), stride=(2, 2)),
    conv((2, 10, 20, 23), (7, 10, 5, 7), stride=(3, 2), padding=(4, 0, 1, 5), dilation=(2, 3)),
    conv((2, 6, 40, 18), (9, 2, 2, 4), stride=(1, 3), padding=(0, 2, 3, 1), groups=3, bias=True),
    conv((1, 3, 70, 65), (5, 3, 7, 7), stride=(4, 4), padding=(3, 3, 3, 3)),
    conv((20, 5, 4, 4), (33, 5, 3, 3), padding=(1, 1, 1, 1)),
    conv((17, 12, 1, 1), (8, 12, 1, 1), bias=True),
    conv((1, 2, 3, 3), (3, 2, 3, 3), padding=(5, 4, 6, 7)),
    conv((1, 130, 9, 300), (4, 130, 3, 1), padding=(1, 0, 1, 0)),
    conv((2, 19, 40, 37), (19, 1, 3, 3), padding=(1, 1, 1, 1), groups=19, bias=True),
    conv((2, 8, 65, 130), (8, 1, 3, 3), stride=(2, 2), padding=(0, 1, 1, 0), groups=8),
    conv((1, 5, 23, 21), (5, 1, 5, 4), stride=(2, 3), padding=(3, 0, 2, 4), dilation=(3, 2), groups=5, bias=True),
    conv((3, 7, 4, 4), (7, 1, 7, 7), padding=(3, 3, 3, 3), groups=7),
    conv((1, 3, 9, 9), (3, 1, 1, 1), stride=(3, 2), padding=(2, 1, 0, 0), groups=3),
    conv((1, 4, 6, 11), (12, 1, 3, 3), padding=(1, 1, 1, 1), groups=4),
)


def _convolution_cases(op: str) -> list[Case]:
    cases = []
    for x, w, attrs, bias in CONVOLUTIONS:
        y = OPS["conv2d"].infer([Spec(x), Spec(w)], attrs)[0].shape
        if op == "conv2d":
            given = (x, w, w[:1]) if bias else (x, w)
            cases += [Case(given, attrs), Case(given, {**attrs, "clamp": (0.0, 6.0)})]
            cases.append(Case((*given, y), {**attrs, "residual": True, "clamp": (-math.inf, 0.5)}))
        elif op == "conv2d_input_grad":
            cases.append(Case((y, w), {**attrs, "input_size": x[2:]}))
        else:
            cases.append(Case((y, x), {**attrs, "kernel_size": w[2:]}))
    return cases


PRODUCTS = ((1, 1, 1), (7, 10, 1030), (100, 35, 70), (13, 300, 33), (128, 17, 129))
EXTRA: dict[str, list[Case]] = {
    **{op: _convolution_cases(op) for op in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")},
    "linear": [Case(((m, k), (n, k), (n,))) for m, n, k in PRODUCTS],
    "matmul": [
        Case(
            ((k, m) if flip_a else (m, k), (n, k) if flip_b else (k, n)),
            {"transpose_a": flip_a, "transpose_b": flip_b},
        )
        for m, n, k in PRODUCTS
        for flip_a in (False, True)
        for flip_b in (False, True)
    ],
    "batch_stats": [
        Case((shape,)) for shape in ((33, 3, 7, 7), (2, 17, 40, 33), (1, 1, 1, 2), (300, 5), (5, 1, 70, 31))
    ],
    "reduce_sum": [
        Case(((3, 5, 70, 67),), {"axes": (0, 2, 3), "keepdims": False}),
        Case(((9, 4, 3, 131),), {"axes": (0, 2), "keepdims": True}),
        Case(((20011,),), {"axes": (0,), "keepdims": False}),
    ],
    "max_pool2d": [
        Case(
            ((2, 3, 30, 71),),
            {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 0, 1, 1), "dilation": (1, 1), "ceil_mode": False},
        )
    ],
    "adaptive_avg_pool2d": [
        Case(((2, 3, 40, 37),), {"output_size": (1, 1)}),
        Case(((1, 3, 40, 37),), {"output_size": (7, 1)}),
    ],
}


def rows(isa: str) -> list[Kernel]:
    return [k for kernels in REGISTRY.kernels.values() for k in kernels if k.isa == isa]


def supported(kernel: Kernel, case: Case) -> bool:
    """Whether the row takes the case; sums that the plan makes in two steps are none that it gets."""
    problem = problem_of(kernel.op, case.arrays(np.random.default_rng(0)), case.attrs)
    try:
        REGISTRY.signatures[kernel.op].values(problem)
    except ValueError:
        return False
    return kernel.supports(problem)


def names() -> list[tuple[str, str]]:
    return [(isa, f"{row.op}_{row.algorithm}".rstrip("_")) for isa in ISAS for row in ROWS if row.op in OPS]


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Kernel:
    isa, name = request.param
    folder = str(Path(normengine.kernels.__file__).parent)
    if isa not in BUILT:
        built = "built" if PathFinder.find_spec(f"_{isa}", [folder]) else "not built"
        offered = "offered" if isa in detect() else "not offered"
        pytest.skip(f"{isa} cannot run here: its kernels were {built}, and the set is {offered} by this CPU")
    return next(k for k in rows(isa) if k.name == f"{name}_f32_{isa}")


def cases(kernel: Kernel) -> list[Case]:
    found = [c for c in (*OPS[kernel.op].cases(), *EXTRA.get(kernel.op, ())) if supported(kernel, c)]
    assert found, f"no case of {kernel.op} tries {kernel.name}"
    return found


every_row = pytest.mark.parametrize("kernel", names(), ids="-".join, indirect=True)


def check(kernel: Kernel, case: Case, arrays: list[np.ndarray], results: tuple[np.ndarray, ...]) -> None:
    """Results are near enough to the reference."""
    wanted = OPS[kernel.op].reference(arrays, case.attrs)
    for got, want, bound in zip(results, wanted, error_bounds(kernel, arrays, case.attrs), strict=True):
        assert got.shape == want.shape
        worst = np.abs(got - want).max()
        assert worst <= bound, f"{kernel.name} {case}: off by {worst:.3g}, at most {bound:.3g} is allowed"


@every_row
def test_matches_the_reference(kernel: Kernel) -> None:
    rng = np.random.default_rng(1)
    for case in cases(kernel):
        arrays = case.arrays(rng)
        check(kernel, case, arrays, run_kernel(kernel, arrays, case.attrs))


@every_row
def test_what_a_thread_does_alone_is_cut_into_no_more_tasks(kernel: Kernel) -> None:
    rng = np.random.default_rng(1)
    for case in cases(kernel):
        arrays = case.arrays(rng)
        problem = problem_of(kernel.op, arrays, case.attrs)
        alone = problem._replace(single_thread=True)
        if kernel.launch(alone) == kernel.launch(problem) or not kernel.supports(alone):
            continue
        few, many = kernel.launch(alone).tasks, kernel.launch(problem).tasks
        assert all(a <= b for a, b in zip(few, many, strict=True)), f"{kernel.name} {case}: {few} tasks for {many}"
        check(kernel, case, arrays, run_problem(kernel, alone, arrays))


@every_row
def test_results_do_not_depend_on_who_does_which_task(kernel: Kernel) -> None:
    rng = np.random.default_rng(2)
    for case in cases(kernel):
        arrays = case.arrays(rng)
        once, again = (run_kernel(kernel, arrays, case.attrs, order) for order in (whole, scattered))
        for a, b in zip(once, again, strict=True):
            assert np.array_equal(a.view(np.uint32), b.view(np.uint32)), f"{kernel.name} {case}"


@every_row
def test_packing_reads_only_the_packed_inputs(kernel: Kernel) -> None:
    if not kernel.packs:
        assert len(kernel.stages) < 2 or not kernel.stages[0].args[0].endswith("pack")  # type: ignore[attr-defined]
        return
    rng = np.random.default_rng(3)
    for case in cases(kernel):
        arrays = case.arrays(rng)
        once = run_kernel(kernel, arrays, case.attrs)
        alone = run_kernel(kernel, arrays, case.attrs, pack_alone=True)
        assert np.array_equal(once[0], alone[0])


def test_every_built_set_registers_every_row() -> None:
    for isa in BUILT:
        assert [k.name for k in rows(isa)] and len(rows(isa)) == len(ROWS)
        assert {k.name.rpartition("_")[2] for k in rows(isa)} == {isa}
