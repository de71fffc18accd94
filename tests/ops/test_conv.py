"""Convolution's references against seven plain loops and against results known in closed form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS


def attrs(stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> dict[str, Any]:
    pair = lambda n: n if isinstance(n, tuple) else (n, n)
    sides = padding if isinstance(padding, tuple) else (padding,) * 4
    return {"stride": pair(stride), "padding": sides, "dilation": pair(dilation), "groups": groups}


def conv(x: Any, w: Any, **window: Any) -> np.ndarray:
    (y,) = OPS["conv2d"].reference([np.asarray(x, float), np.asarray(w, float)], attrs(**window))
    return y


def seven_loops(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, window: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, dx and dw, one product at a time."""
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    (sh, sw), (dh, dwid), groups = window["stride"], window["dilation"], window["groups"]
    top, left = window["padding"][:2]
    per_group = w.shape[0] // groups
    for n, o, p, q in itertools.product(*map(range, dy.shape)):
        for c, i, j in itertools.product(*map(range, w.shape[1:])):
            row, column = p * sh - top + i * dh, q * sw - left + j * dwid
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                source = (n, o // per_group * w.shape[1] + c, row, column)
                y[n, o, p, q] += x[source] * w[o, c, i, j]
                dx[source] += dy[n, o, p, q] * w[o, c, i, j]
                dw[o, c, i, j] += dy[n, o, p, q] * x[source]
    return y, dx, dw


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "window"),
    [
        ((1, 1, 1, 1), (1, 1, 1, 1), attrs()),
        ((2, 3, 5, 4), (2, 3, 3, 3), attrs(padding=1)),
        ((1, 2, 7, 6), (3, 2, 3, 2), attrs(stride=(2, 3), padding=(0, 1, 2, 0))),
        ((1, 2, 7, 7), (2, 2, 3, 3), attrs(dilation=(2, 3), padding=2)),
        ((2, 4, 5, 5), (6, 2, 3, 3), attrs(groups=2, padding=1)),
        ((1, 3, 6, 6), (6, 1, 3, 3), attrs(groups=3, stride=2, padding=1)),
        ((1, 2, 6, 6), (2, 2, 1, 1), attrs(stride=4)),
    ],
)
def test_three_directions_are_the_seven_loops(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], window: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    (y,) = OPS["conv2d"].reference([x, w], window)
    dy = rng.standard_normal(y.shape)
    expected_y, expected_dx, expected_dw = seven_loops(x, w, dy, window)
    (dx,) = OPS["conv2d_input_grad"].reference([dy, w], {**window, "input_size": x_shape[2:]})
    (dw,) = OPS["conv2d_weight_grad"].reference([dy, x], {**window, "kernel_size": w_shape[2:]})
    np.testing.assert_allclose(y, expected_y, atol=1e-12)
    np.testing.assert_allclose(dx, expected_dx, atol=1e-12)
    np.testing.assert_allclose(dw, expected_dw, atol=1e-12)


def test_ones_count_the_pixels_under_the_kernel() -> None:
    y = conv(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), padding=1)
    np.testing.assert_array_equal(y[0, 0], [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])


def test_it_is_a_correlation_not_flipped() -> None:
    impulse = np.zeros((1, 1, 3, 3))
    impulse[0, 0, 1, 1] = 1.0
    kernel = np.arange(9.0).reshape(1, 1, 3, 3)
    np.testing.assert_array_equal(conv(impulse, kernel, padding=1)[0, 0], kernel[0, 0, ::-1, ::-1])


def test_dilation_reads_pixels_apart() -> None:
    x = np.arange(25.0).reshape(1, 1, 5, 5)
    y = conv(x, np.ones((1, 1, 2, 2)), dilation=4)
    np.testing.assert_array_equal(y, [[[[0 + 4 + 20 + 24]]]])


def test_asymmetric_padding_is_top_left_bottom_right() -> None:
    x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    identity = np.ones((1, 1, 1, 1))
    y = conv(x, identity, padding=(1, 2, 0, 1))
    np.testing.assert_array_equal(y[0, 0], [[0, 0, 0, 0, 0], [0, 0, 1, 2, 0], [0, 0, 3, 4, 0]])


def test_depthwise_keeps_channels_apart() -> None:
    x = np.stack([np.full((3, 3), 1.0), np.full((3, 3), 10.0)])[None]
    w = np.array([2.0, 3.0, 5.0, 7.0]).reshape(4, 1, 1, 1)
    y = conv(x, w, groups=2)
    np.testing.assert_array_equal(y[0, :, 0, 0], [2, 3, 50, 70])


def test_bias_is_added_to_its_channel() -> None:
    arrays = [np.zeros((2, 1, 2, 2)), np.zeros((3, 1, 1, 1)), np.array([1.0, 2.0, 3.0])]
    (y,) = OPS["conv2d"].reference(arrays, attrs())
    np.testing.assert_array_equal(y, np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, None, None], (2, 3, 2, 2)))


@pytest.mark.parametrize(
    ("size", "kernel", "window", "expected"),
    [
        (224, 7, attrs(stride=2, padding=3), 112),
        (32, 3, attrs(padding=1), 32),
        (32, 3, attrs(stride=3), 10),
        (9, 3, attrs(dilation=4), 1),
        (5, 1, attrs(stride=2), 3),
    ],
)
def test_output_size(size: int, kernel: int, window: dict[str, Any], expected: int) -> None:
    (y,) = OPS["conv2d"].infer([Spec((1, 1, size, size)), Spec((1, 1, kernel, kernel))], window)
    assert y == Spec((1, 1, expected, expected))
