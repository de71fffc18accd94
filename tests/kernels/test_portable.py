"""Every portable kernel against its operator's float64 reference, on every case that the operator lists."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel, Problem, reduction_view
from normengine.kernels.base import ELEMENTS
from normengine.kernels.portable import conv
from normengine.kernels.portable.build import entry_source
from normengine.ops import OPS

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
PORTABLE = {(op, row.dtype): row for op, rows in REGISTRY.kernels.items() for row in rows if row.isa == "numba"}
ROWS = {op: row for (op, _), row in reversed(PORTABLE.items())}
CASES = [pytest.param(op, i, id=f"{op}-{i}") for op in ROWS for i in range(len(OPS[op].cases()))]


def problem_of(op: str, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> Problem:
    specs = OPS[op].infer([Spec.of(a) for a in arrays], attrs)
    absent = (None,) * (len(REGISTRY.signatures[op].inputs) - len(arrays))
    shapes = tuple(s.shape for s in specs)
    return Problem(op, tuple(a.shape for a in arrays) + absent, shapes, attrs, dtype=specs[0].dtype)


def run(op: str, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any], pieces: int = 1) -> list[np.ndarray]:
    """Run a portable kernel on plain arrays, each stage's tasks in ``pieces`` calls from the last to the first."""
    signature, problem = REGISTRY.signatures[op], problem_of(op, arrays, attrs)
    row, specs = PORTABLE[op, problem.dtype], OPS[op].infer([Spec.of(a) for a in arrays], attrs)
    outputs = [np.full(s.shape, np.nan if s.dtype == "float32" else -1, s.dtype) for s in specs]
    launch = row.launch(problem)
    scratch, workspace = np.full(launch.scratch, 255, np.uint8), np.full(launch.workspace, 255, np.uint8)
    slots: list[Any] = [a.ctypes.data for a in arrays] + [0] * (len(signature.inputs) - len(arrays))
    slots += [a.ctypes.data for a in outputs]
    slots += [scratch.ctypes.data, workspace.ctypes.data, launch.workspace]
    slots += [*signature.values(problem), *launch.numbers]
    assert len(slots) == signature.slot(signature.parameters[-1]) + 1 + len(launch.numbers)
    args = np.array([np.float64(s).view(np.int64) if isinstance(s, float) else s for s in slots], np.int64)
    for address, tasks in zip(row.stages, launch.tasks, strict=True):
        kernel = ENTRY(address())
        edges = [tasks * i // pieces for i in range(pieces + 1)]
        for begin, end in reversed(list(pairwise(edges))):
            kernel(args.ctypes.data, begin, end, 0)
    return outputs


def inputs_of(op: str, number: int) -> tuple[list[np.ndarray], Mapping[str, Any]]:
    case = OPS[op].cases()[number]
    return [np.array(a, order="C") for a in case.arrays(np.random.default_rng(number))], case.attrs


def assert_close(
    op: str, results: Sequence[np.ndarray], arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]
) -> None:
    for result, expected in zip(results, OPS[op].reference(arrays, attrs), strict=True):
        assert np.array_equal(np.isnan(result), np.isnan(expected))
        scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)))
        np.testing.assert_allclose(result, expected, rtol=0, atol=OPS[op].tolerance * scale)


@pytest.mark.parametrize("op, number", CASES)
def test_matches_reference_whatever_the_partition(op: str, number: int) -> None:
    arrays, attrs = inputs_of(op, number)
    if not ROWS[op].supports(problem_of(op, arrays, attrs)):
        assert op == "reduce_sum"
        with pytest.raises(ValueError, match="reduce in two steps"):
            reduction_view(arrays[0].shape, attrs["axes"])
        return
    whole = run(op, arrays, attrs)
    assert_close(op, whole, arrays, attrs)
    for a, b in zip(whole, run(op, arrays, attrs, pieces=3), strict=True):
        assert a.tobytes() == b.tobytes()


def test_every_signature_has_a_portable_kernel() -> None:
    assert set(ROWS) == {op for op in REGISTRY.signatures if op in OPS}


def test_declining_rows_are_not_chosen() -> None:
    problem = Problem("reduce_sum", ((2, 3, 5, 7),), ((2, 5),), {"axes": (1, 3), "keepdims": False})
    with pytest.raises(LookupError, match="no kernel for reduce_sum"):
        REGISTRY.choose(problem, ("numba",))


@pytest.mark.parametrize(
    "shape, axes, view",
    [
        ((2, 3, 4, 5), (0, 2, 3), (2, 3, 20, 1)),
        ((2, 3, 4, 5), (1,), (1, 2, 3, 20)),
        ((2, 3, 4), (0, 1), (1, 1, 6, 4)),
        ((2, 1, 4), (0, 2), (1, 1, 8, 1)),
        ((7,), (-1,), (1, 1, 7, 1)),
        ((7,), (), (1, 1, 1, 7)),
        ((), (), (1, 1, 1, 1)),
    ],
)
def test_reduction_view(shape: tuple[int, ...], axes: tuple[int, ...], view: tuple[int, ...]) -> None:
    assert reduction_view(shape, axes) == view


def test_long_sums_keep_their_digits() -> None:
    x = np.full((3, 100_003), 0.1, np.float32) + np.float32(1e3)
    for axes in ((1,), (0, 1)):
        (total,) = run("reduce_sum", [x], {"axes": axes, "keepdims": False})
        np.testing.assert_allclose(total, x.sum(axis=axes, dtype=np.float64), rtol=1e-7)
    (total,) = run("reduce_sum", [np.ascontiguousarray(x.T)], {"axes": (0,), "keepdims": False})
    np.testing.assert_allclose(total, x.sum(axis=1, dtype=np.float64), rtol=1e-7)


def test_batch_stats_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    x = (1e4 + rng.standard_normal((16, 3, 32, 33))).astype(np.float32)
    x[0, :, 0, 0] = -1e4
    _, var = run("batch_stats", [x], {})
    np.testing.assert_allclose(var, x.astype(np.float64).var(axis=(0, 2, 3)), rtol=1e-6)
    assert np.all(run("batch_stats", [np.full((4, 2, 9), 7.1, np.float32)], {})[1] == 0)


POOL = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0), "dilation": (1, 1), "ceil_mode": False}


def test_max_pool_lets_nan_through_and_takes_the_first_of_equals() -> None:
    x = np.array([[[[1, np.nan, 5, 5], [2, 3, 5, 5]]]], np.float32)
    (y,) = run("max_pool2d", [x], POOL)
    np.testing.assert_array_equal(y, [[[[np.nan, 5]]]])
    (dx,) = run("max_pool2d_grad", [np.array([[[[3, 4]]]], np.float32), x], POOL)
    np.testing.assert_array_equal(dx, [[[[0, 3, 4, 0], [0, 0, 0, 0]]]])


@pytest.mark.parametrize("shape, axis", [((70, 9), 1), ((2, 5, 9, 11), 1), ((3, 7), 0), ((1, 1), 1), ((130, 1), 1)])
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmax_grad", "log_softmax_grad"])
def test_softmax_shapes(op: str, shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(1)
    x = (30 * rng.standard_normal(shape)).astype(np.float32)
    forward = op.removesuffix("_grad")
    arrays = [x]
    if op != forward:
        arrays = [rng.standard_normal(shape).astype(np.float32), run(forward, [x], {"axis": axis})[0]]
    assert_close(op, run(op, arrays, {"axis": axis}), arrays, {"axis": axis})


def test_softmax_of_extreme_logits() -> None:
    x = np.array([[1e4, 1e4 - 1, -1e4], [-np.inf, 0, 0], [np.nan, 0, 1], [3e38, -3e38, 0]], np.float32)
    (y,) = run("softmax", [x], {"axis": 1})
    assert_close("softmax", [y], [x], {"axis": 1})
    assert np.isnan(y[2]).all() and y[1, 0] == 0


def test_a_label_that_is_no_class_is_nan_and_reads_nothing() -> None:
    attrs = {"label_smoothing": 0.0, "ignore_index": -100, "reduction": "none"}
    logits, target = np.zeros((3, 4), np.float32), np.array([1, 1 << 40, -5])
    (loss,) = run("cross_entropy", [logits, target], attrs)
    np.testing.assert_allclose(loss, [np.log(4), np.nan, np.nan], rtol=1e-6)
    (dlogits,) = run("cross_entropy_grad", [np.ones(3, np.float32), logits, target], attrs)
    assert np.isfinite(dlogits[0]).all() and np.isnan(dlogits[1:]).all()
    loss, dlogits = run("cross_entropy_with_grad", [logits, target], {**attrs, "reduction": "sum"})
    assert np.isnan(loss) and np.isfinite(dlogits[0]).all() and np.isnan(dlogits[1:]).all()


@pytest.mark.parametrize("shape", [(1, 1), (65, 1), (1, 67), (129, 17), (3, 5, 7, 11), (2, 1000, 3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_with_its_gradient(
    shape: tuple[int, ...], weighted: bool, smoothing: float, reduction: str
) -> None:
    rng = np.random.default_rng(3)
    logits = (20 * rng.standard_normal(shape)).astype(np.float32)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.3] = -1
    target.flat[-1] = 0
    weight = [rng.uniform(0.1, 3.0, shape[1]).astype(np.float32)] if weighted else []
    attrs = {"label_smoothing": smoothing, "ignore_index": -1, "reduction": reduction}
    arrays = [logits, target, *weight]
    both = run("cross_entropy_with_grad", arrays, attrs)
    assert_close("cross_entropy_with_grad", both, arrays, attrs)
    for a, b in zip(both, run("cross_entropy_with_grad", arrays, attrs, pieces=5), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_where_all_is_ignored(reduction: str) -> None:
    attrs = {"label_smoothing": 0.1, "ignore_index": 2, "reduction": reduction}
    arrays = [np.ones((70, 3), np.float32), np.full(70, 2)]
    loss, dlogits = run("cross_entropy_with_grad", arrays, attrs)
    assert_close("cross_entropy_with_grad", [loss, dlogits], arrays, attrs)
    assert np.isnan(loss) == (reduction == "mean") and not dlogits.any()


def test_cross_entropy_of_extreme_logits() -> None:
    attrs = {"label_smoothing": 0.0, "ignore_index": -100, "reduction": "sum"}
    for row in ([1e4, -1e4, 0], [-np.inf, 0, 0], [np.inf, 0, 0], [np.nan, 0, 1], [1e38, -1e38, 0]):
        arrays = [np.array([row], np.float32), np.array([1])]
        assert_close("cross_entropy_with_grad", run("cross_entropy_with_grad", arrays, attrs), arrays, attrs)


def test_the_source_reads_each_slot_that_the_kernel_names() -> None:
    signature = REGISTRY.signatures["conv2d"]
    lines = entry_source(conv.conv2d, signature).splitlines()
    assert lines[0] == "def conv2d(args, begin, end, thread):"
    assert f"    has_bias = args[{signature.slot('bias')}] != 0" in lines
    assert f"    groups = args[{signature.slot('groups')}]" in lines
    assert "    y = float32_at(args[4])" in lines


def test_listing_kernels_does_not_import_numba() -> None:
    code = "import sys, normengine.kernels as k; assert len(k.REGISTRY.kernels) > 19; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_are_named_by_the_grammar() -> None:
    for (op, dtype), row in PORTABLE.items():
        assert isinstance(row, Kernel) and row.name == f"{op}_{ELEMENTS[dtype].short}_numba"


def test_convolution_with_what_follows_it() -> None:
    rng = np.random.default_rng(0)
    attrs = {**OPS["conv2d"].cases()[5].attrs, "residual": True, "clamp": (-0.5, 1.0)}
    x, weight = inputs_of("conv2d", 5)[0]
    shape = OPS["conv2d"].infer([Spec.of(x), Spec.of(weight)], OPS["conv2d"].cases()[5].attrs)[0].shape
    residual = rng.standard_normal(shape).astype(np.float32)
    signature, row = REGISTRY.signatures["conv2d"], ROWS["conv2d"]
    problem = Problem("conv2d", (x.shape, weight.shape, None, shape), (shape,), attrs)
    y = np.full(shape, np.nan, np.float32)
    slots: list[Any] = [x.ctypes.data, weight.ctypes.data, 0, residual.ctypes.data, y.ctypes.data, 0, 0, 0]
    slots += signature.values(problem)
    args = np.array([np.float64(s).view(np.int64) if isinstance(s, float) else s for s in slots], np.int64)
    ENTRY(row.stages[0]())(args.ctypes.data, 0, row.launch(problem).tasks[0], 0)
    assert_close("conv2d", [y], [x, weight, residual], attrs)
    assert y.min() == -0.5 and y.max() == 1.0


@pytest.mark.parametrize("shape, axis", [((3, 200), 1), ((2, 130, 70), 1), ((70, 64), 1), ((2, 63), 1), ((1, 5), 1)])
def test_places_of_equal_elements_and_of_nan(shape: tuple[int, ...], axis: int) -> None:
    """In long rows and in many rows together: the first or the last of equals, and NaN before all numbers."""
    rng = np.random.default_rng(2)
    x = rng.integers(-3, 2, shape).astype(np.float32)
    spoiled = x.copy()
    spoiled[0, -2:] = np.nan
    for given in (x, -np.inf * np.ones(shape, np.float32), spoiled):
        for last in (False, True):
            attrs = {"axis": axis, "keepdims": False, "last": last}
            (places,) = run("argmax", [given], attrs)
            assert np.array_equal(places, OPS["argmax"].reference([given], attrs)[0])


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmax_grad", "log_softmax_grad"])
@pytest.mark.parametrize("length", [15, 16, 63, 64, 65, 1000])
def test_softmax_of_long_rows(op: str, length: int) -> None:
    rng = np.random.default_rng(length)
    x = (20 * rng.standard_normal((3, length))).astype(np.float32)
    forward = op.removesuffix("_grad")
    arrays = [x] if op == forward else [x, run(forward, [x], {"axis": 1})[0]]
    assert_close(op, run(op, arrays, {"axis": 1}), arrays, {"axis": 1})
    if op == forward:
        x[0, -1], x[1, 0], x[2, :] = np.nan, -np.inf, 1e4
        assert_close(op, run(op, [x], {"axis": 1}), [x], {"axis": 1})
