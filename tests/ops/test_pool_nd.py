"""Pooling of signals and volumes: windows one by one, infinities and ties, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Builder, OperatorError
from normengine.passes import differentiate
from normengine.runtime import compile_graph

ONE = {"kernel_size": (2,), "stride": (2,), "padding": (0, 0), "ceil_mode": False}


def run(op: str, x: np.ndarray, **attrs: Any) -> np.ndarray:
    builder = Builder()
    value = builder.input("x", Spec(x.shape))
    (y,) = compile_graph(builder.graph([builder.add(op, value, **attrs)])).run({"x": x})
    return np.asarray(y)


def test_averages_of_windows_with_holes() -> None:
    x = np.array([[[1.0, 10.0, 100.0, 1000.0, 10000.0]]], np.float32)
    window = {**ONE, "stride": (1,), "dilation": (3,)}
    np.testing.assert_array_equal(run("dilated_avg_pool", x, **window, count_include_pad=False), [[[500.5, 5005.0]]])
    padded = {**window, "padding": (3, 1)}
    wanted = [1.0, 10.0, 100.0, 500.5, 5005.0, 100.0]
    np.testing.assert_allclose(run("dilated_avg_pool", x, **padded, count_include_pad=False), [[wanted]])
    halved = [0.5, 5.0, 50.0, 500.5, 5005.0, 50.0]
    np.testing.assert_allclose(run("dilated_avg_pool", x, **padded, count_include_pad=True), [[halved]])


def test_what_ceil_mode_adds_does_not_count_as_padding() -> None:
    x = np.ones((1, 1, 4), np.float32)
    window = {"kernel_size": (2,), "stride": (2,), "padding": (0, 1), "ceil_mode": True, "dilation": (2,)}
    np.testing.assert_allclose(run("dilated_avg_pool", x, **window, count_include_pad=True), [[[1.0, 0.5]]])
    np.testing.assert_allclose(run("dilated_avg_pool", x, **window, count_include_pad=False), [[[1.0, 1.0]]])


@pytest.mark.parametrize("size", [(2, 1, 2), (2, 2, 3)])
def test_maxima_of_nothing_but_infinities(size: tuple[int, ...]) -> None:
    x = np.full((1, 2, 4, 3, 5), -np.inf, np.float32)
    np.testing.assert_array_equal(run("adaptive_max_pool", x, output_size=size), np.full((1, 2, *size), -np.inf))
    x[0, 1, 3, 2, 4] = np.nan
    assert np.isnan(run("adaptive_max_pool", x, output_size=size)).sum() == 1


def test_the_first_of_equal_maxima_gets_the_gradient() -> None:
    builder = Builder()
    x = builder.input("x", Spec((1, 1, 2, 2, 2)))
    window = {"kernel_size": (2, 2, 2), "stride": (1, 1, 1), "padding": (0,) * 6, "dilation": (1,) * 3}
    y = builder.add("max_pool3d", x, **window, ceil_mode=False)
    loss = builder.add("reduce_sum", y, axes=(0, 1, 2, 3, 4), keepdims=False)
    (grad,) = differentiate(builder, loss, [x])
    assert grad is not None
    (found,) = compile_graph(builder.graph([grad])).run({"x": np.ones((1, 1, 2, 2, 2), np.float32)})
    assert found.reshape(-1).tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("op", "shape", "attrs", "text"),
    [
        ("max_pool1d", (1, 2, 5, 5), {**ONE, "dilation": (1,)}, r"input must be \(N, C, L\), got shape"),
        ("avg_pool1d", (1, 2, 5), {**ONE, "padding": (2, 0)}, r"padding \(2, 0\) \(left, right\) must be smaller"),
        ("avg_pool3d", (1, 2, 5, 5, 5), ONE, r"kernel size must be 3 numbers for \(N, C, D, H, W\), got \(2,\)"),
        ("dilated_avg_pool", (1, 2), ONE, r"input must be one of \(N, C, L\), .*, got shape \(1, 2\)"),
        (
            "dilated_avg_pool",
            (1, 9, 2**20),
            {"kernel_size": (2**19,), "stride": (1,), "padding": (0, 0), "dilation": (2,), "ceil_mode": False},
            r"windows of \(524288,\) with holes over 9 channels have more than",
        ),
        ("adaptive_max_pool", (1, 2, 5), {"output_size": (1, 1)}, r"output size must be 1 numbers for \(N, C, L\)"),
        ("adaptive_max_pool", (1, 2, 5), {"output_size": (0,)}, r"output size must be positive, got \(0,\)"),
        ("adaptive_max_pool", (1, 2, 5), {"output_size": (1025,)}, "output size may be 1024 along an axis at most"),
        ("adaptive_max_pool", (1, 2, 0), {"output_size": (1,)}, r"input must have a pixel, got shape \(1, 2, 0\)"),
        ("adaptive_avg_pool3d", (1, 2, 5), {"output_size": (1, 1, 1)}, r"input must be \(N, C, D, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, shape: tuple[int, ...], attrs: dict[str, Any], text: str) -> None:
    with pytest.raises(OperatorError, match=text):
        OPS[op].infer([Spec(shape)], attrs)
