"""Constants are computed once, but not where that takes more memory or work than a run of the network may."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import Builder
from normengine.passes import fold_constants


def folded(make, **bounds):
    """The operators that are left of a graph that adds to its input what ``make`` makes of constants."""
    builder = Builder()
    x = builder.input("x", Spec((1,)))
    made = make(builder)
    return [n.op for n in fold_constants(builder.graph([builder.add("add", x, made)]), **bounds).nodes]


def image(builder):
    return builder.constant(np.ones((1, 4, 8, 8), np.float32))


def convolution(builder):
    weight = builder.constant(np.ones((2, 4, 3, 3), np.float32))
    attrs = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    return builder.add("conv2d", image(builder), weight, **attrs)  # 72 results of 36 products


def pooling(builder):
    attrs = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "ceil_mode": False}
    return builder.add("max_pool2d", image(builder), **attrs)  # 144 results of 9 elements


def matrices(builder):
    a, b = builder.constant(np.ones((5, 6), np.float32)), builder.constant(np.ones((5, 7), np.float32))
    return builder.add("matmul", a, b, transpose_a=True, transpose_b=False)  # 42 results of 5 products


def chain(builder):
    return builder.add("relu", builder.add("relu", image(builder)))  # 256 elements each, read and written


@pytest.mark.parametrize(
    "make, work, left",
    [
        (convolution, 72 * 36, []), (convolution, 72 * 36 - 1, ["conv2d"]),
        (pooling, 144 * 9 + 256, []), (pooling, 144 * 9 + 255, ["max_pool2d"]),
        (matrices, 42 * 5, []), (matrices, 42 * 5 - 1, ["matmul"]),
        (chain, 1024, []), (chain, 1023, ["relu"]), (chain, 511, ["relu", "relu"]),
    ],
)  # fmt: skip
def test_the_work_of_folding_is_bounded(make, work, left):
    assert folded(make, work=work) == [*left, "add"]


def test_the_size_of_what_is_folded_is_bounded():
    assert folded(image, most=256) == ["add"]
    assert folded(chain, most=255) == ["relu", "relu", "add"]
