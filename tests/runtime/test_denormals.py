"""Numbers below the smallest normal one count as zero while kernels work; no result has the wrong sign for that."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Builder, Op
from normengine.runtime import compile_graph

TINY = np.finfo(np.float32).tiny
NUMBERS = np.array([1e-40, -1e-40, 3e-40, -3e-40, 0, -0.0, 2 * TINY, -2 * TINY, 1, -1, 3, -3, 6], np.float32)


def run(name, arrays, attrs):
    builder = Builder()
    values = [builder.input(f"x{i}", Spec(a.shape, a.dtype.name)) for i, a in enumerate(arrays)]
    graph = builder.graph([builder.add(name, *values, **attrs)])
    return compile_graph(graph).run({f"x{i}": a for i, a in enumerate(arrays)})[0]


def flushed(array):
    return np.where(np.abs(array) < TINY, np.copysign(array.dtype.type(0), array), array)


def wrong_signs(got, *right):
    """Where a result that is not zero has neither the sign of what is right nor that for inputs that are flushed."""
    unknown = np.isnan(right[0]) | np.isnan(right[1])
    return (got != 0) & ~unknown & (np.sign(got) != np.sign(right[0])) & (np.sign(got) != np.sign(right[1]))


def of_floats(op: Op) -> bool:
    """Whether it is elementwise, of float32 and bool, and makes float32."""
    specs = [Spec.of(a) for a in op.cases()[0].arrays(np.random.default_rng(0))]
    if op.scalar is None or op.scalar.indexed or not {s.dtype for s in specs} <= {"float32", "bool"}:
        return False
    return op.infer(specs, op.cases()[0].attrs)[0].dtype == "float32"


@pytest.mark.parametrize("op", [op for op in OPS.values() if of_floats(op)], ids=lambda op: op.name)
def test_no_elementwise_operator_has_a_wrong_sign(op, backend):
    kinds = [a.dtype for a in op.cases()[0].arrays(np.random.default_rng(0))]
    pools = [NUMBERS if kind == np.float32 else np.array([False, True]) for kind in kinds]
    arrays = [np.array(column) for column in zip(*itertools.product(*pools), strict=True)]
    attrs = {"shape": arrays[0].shape} if op.name == "expand" else op.cases()[0].attrs
    got = run(op.name, arrays, attrs)
    (exact,) = op.reference(arrays, attrs)
    (zeros,) = op.reference([flushed(a) if a.dtype == np.float32 else a for a in arrays], attrs)
    assert not wrong_signs(got, exact, zeros).any()


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("window", [(2, 2), (3, 1), (3, 2)], ids=str)
def test_no_maximum_of_a_window_has_a_wrong_sign(window, channels, backend):
    kernel, stride = window
    attrs = {
        "kernel_size": (kernel,) * 2, "stride": (stride,) * 2, "padding": (0,) * 4, "dilation": (1, 1),
        "ceil_mode": False,
    }  # fmt: skip
    x = np.random.default_rng(0).choice(NUMBERS[:6], (2, channels, 9, 9))
    (exact,) = OPS["max_pool2d"].reference([x], attrs)
    got = run("max_pool2d", [x], attrs)
    assert (got[np.sign(got) != np.sign(exact)] == 0).all()


def test_what_moves_elements_leaves_them_as_they_are(backend):
    x = np.array([[1e-40, -1e-40, 0.0]], np.float32)
    assert np.array_equal(run("permute", [x], {"axes": (1, 0)}), x.T)
    assert np.array_equal(run("abs", [x], {}), np.abs(x))
