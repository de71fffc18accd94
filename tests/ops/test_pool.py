"""Pooling: the window rules at the borders, ties, NaN, and which pixels an average counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS


def window(kernel: int, stride: int, padding: Any = 0, ceil_mode: bool = False, **more: Any) -> dict[str, Any]:
    sides = padding if isinstance(padding, tuple) else (padding,) * 4
    sizes = {"kernel_size": (kernel, kernel), "stride": (stride, stride)}
    return {**sizes, "padding": sides, "ceil_mode": ceil_mode, **more}


def max_pool(x: Any, **attrs: Any) -> np.ndarray:
    (y,) = OPS["max_pool2d"].reference([np.asarray(x, float)], {"dilation": (1, 1), **attrs})
    return y


def max_pool_grad(dy: Any, x: Any, **attrs: Any) -> np.ndarray:
    arrays = [np.asarray(dy, float), np.asarray(x, float)]
    (dx,) = OPS["max_pool2d_grad"].reference(arrays, {"dilation": (1, 1), **attrs})
    return dx


def avg_pool(x: Any, include: bool, **attrs: Any) -> np.ndarray:
    (y,) = OPS["avg_pool2d"].reference([np.asarray(x, float)], {**attrs, "count_include_pad": include})
    return y


@pytest.mark.parametrize(
    ("size", "attrs", "expected"),
    [
        (7, window(2, 2), 3),
        (7, window(2, 2, ceil_mode=True), 4),
        (8, window(2, 2, ceil_mode=True), 4),
        (4, window(2, 3, ceil_mode=True), 2),  # the second window starts at the last pixel
        (3, window(2, 3, ceil_mode=True), 1),  # it would start behind the image
        (6, window(3, 2, 1, ceil_mode=True), 4),
        (5, window(2, 3, 1, ceil_mode=True), 2),  # at 6 of 5 + 1: in the padding behind the image
        (1, window(4, 4, 1, ceil_mode=True), 1),  # the only window reaches over the padded image
    ],
)
def test_output_size_as_in_pytorch(size: int, attrs: dict[str, Any], expected: int) -> None:
    (y,) = OPS["max_pool2d"].infer([Spec((2, 3, size, size))], {**attrs, "dilation": (1, 1)})
    assert y == Spec((2, 3, expected, expected))
    (y,) = OPS["avg_pool2d"].infer([Spec((2, 3, size, size))], {**attrs, "count_include_pad": True})
    assert y == Spec((2, 3, expected, expected))


def test_padding_is_never_the_maximum() -> None:
    x = -np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(max_pool(x, **window(2, 2, 1)), x)


def test_same_padding_on_the_bottom_and_right() -> None:
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    y = max_pool(x, **window(2, 1, (0, 0, 1, 1)))
    np.testing.assert_array_equal(y[0, 0], [[4, 5, 5], [7, 8, 8], [7, 8, 8]])


def test_max_pool_with_dilation() -> None:
    x = np.arange(25.0).reshape(1, 1, 5, 5)
    y = max_pool(-x, **{**window(2, 2), "dilation": (2, 2)})
    np.testing.assert_array_equal(y[0, 0], [[0, -2], [-10, -12]])


def test_first_maximum_gets_the_gradient() -> None:
    dx = max_pool_grad([[[[7.0]]]], np.ones((1, 1, 2, 2)), **window(2, 2))
    np.testing.assert_array_equal(dx[0, 0], [[7, 0], [0, 0]])


def test_overlapping_windows_add_their_gradients() -> None:
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 1.0
    dx = max_pool_grad(np.arange(1.0, 5.0).reshape(1, 1, 2, 2), x, **window(2, 1))
    np.testing.assert_array_equal(dx[0, 0], [[0, 0, 0], [0, 10, 0], [0, 0, 0]])


def test_nan_propagates_from_its_windows_alone() -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(max_pool(x, **window(2, 2))[0, 0], [[np.nan, 7], [13, 15]])
    dx = max_pool_grad(np.ones((1, 1, 2, 2)), x, **window(2, 2))
    np.testing.assert_array_equal(dx[0, 0], [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]])
    np.testing.assert_array_equal(avg_pool(x, True, **window(2, 2))[0, 0], [[np.nan, 4.5], [10.5, 12.5]])


def test_minus_infinity_is_a_maximum_like_others() -> None:
    x = np.full((1, 1, 2, 2), -np.inf)
    assert max_pool(x, **window(2, 2)) == -np.inf
    np.testing.assert_array_equal(max_pool_grad([[[[1.0]]]], x, **window(2, 2))[0, 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize(("include", "corner"), [(True, 4 / 9), (False, 1.0)])
def test_average_counts_padding_or_not(include: bool, corner: float) -> None:
    y = avg_pool(np.ones((1, 1, 4, 4)), include, **window(3, 1, 1))
    assert y[0, 0, 0, 0] == pytest.approx(corner)
    assert y[0, 0, 1, 1] == pytest.approx(1.0)


def test_average_with_ceil_mode_never_counts_what_lies_behind_the_padding() -> None:
    y = avg_pool(np.ones((1, 1, 6, 6)), True, **window(3, 2, 1, ceil_mode=True))
    np.testing.assert_allclose(y[0, 0, :, 1], [6 / 9, 1, 1, 3 / 6])


def test_adaptive_average_of_uneven_regions() -> None:
    x = np.arange(7.0).reshape(1, 1, 1, 7)
    (y,) = OPS["adaptive_avg_pool2d"].reference([x], {"output_size": (1, 3)})
    np.testing.assert_allclose(y[0, 0, 0], [1.0, 3.0, 5.0])
    (dx,) = OPS["adaptive_avg_pool2d_grad"].reference(
        [np.ones((1, 1, 1, 3))], {"input_size": (1, 7), "output_size": (1, 3)}
    )
    np.testing.assert_allclose(dx[0, 0, 0], [1 / 3, 1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_adaptive_average_repeats_pixels_when_it_enlarges() -> None:
    (y,) = OPS["adaptive_avg_pool2d"].reference([np.array([[[[1.0, 3.0]]]])], {"output_size": (1, 4)})
    np.testing.assert_array_equal(y[0, 0, 0], [1, 1, 3, 3])
