"""Sampling by a grid: pixels that it meets, what lies outside, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, OperatorError
from normengine.ops.grid_sample import affine_points

X = np.arange(12.0).reshape(1, 1, 3, 4)


def sampled(
    x: np.ndarray, grid: object, mode: str = "linear", padding: str = "zeros", corners: bool = False
) -> np.ndarray:
    points = np.asarray(grid, np.float64).reshape(1, 1, -1, 2)
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    return OPS["grid_sample"].reference([x, points], attrs)[0][0, 0, 0]


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_the_grid_of_the_pixels_gives_the_image(mode: str, corners: bool, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, *shape))
    grid = affine_points(shape, corners)[:-1].T.reshape(1, *shape, len(shape))
    attrs = {"mode": mode, "padding_mode": "zeros", "align_corners": corners}
    np.testing.assert_allclose(OPS["grid_sample"].reference([x, grid], attrs)[0], x, atol=1e-5)


def test_the_first_coordinate_goes_along_the_last_axis() -> None:
    np.testing.assert_allclose(sampled(X, [(1, -1), (-1, 1), (0, 0)], corners=True), [3, 8, 5.5])


def test_between_pixels() -> None:
    np.testing.assert_allclose(sampled(X, [(0, 0), (0.25, 0)]), [5.5, 6.0])
    np.testing.assert_allclose(sampled(X, [(0.01, 0.01)], "nearest"), [6])
    half = [-0.09375, 0.59375, 0.59375, -0.09375]  # Keys with -0.75, in the middle
    np.testing.assert_allclose(sampled(X, [(0, 0)], "cubic"), [np.dot(half, X[0, 0, 1])])


@pytest.mark.parametrize(
    ("padding", "corners", "wanted"),
    [
        ("zeros", False, [2.0, 0.0, 0.0]),
        ("border", False, [4.0, 4.0, 7.0]),
        ("reflection", False, [4.0, 6.0, 5.5]),
        ("zeros", True, [4.0, 0.0, 0.0]),
        ("border", True, [4.0, 4.0, 7.0]),
        ("reflection", True, [4.0, 7.0, 4.0]),
    ],
)
def test_outside(padding: str, corners: bool, wanted: list[float]) -> None:
    """At the left end, one image's width before it, and one and a half behind the right end."""
    grid = [(-1, 0), (-3, 0), (3, 0)] if corners else [(-1, 0), (-2.25, 0), (2.0, 0)]
    np.testing.assert_allclose(sampled(X, grid, padding=padding, corners=corners), wanted, atol=1e-12)


def test_coordinates_that_are_not_finite() -> None:
    nan, inf = np.nan, np.inf
    np.testing.assert_allclose(sampled(X, [(nan, nan)], corners=True), [0])
    np.testing.assert_allclose(sampled(X, [(inf, 0), (-inf, 0)]), [0, 0])
    np.testing.assert_allclose(sampled(X, [(inf, 0), (-inf, 0)], padding="border"), [7, 4])
    assert np.isfinite(sampled(X, [(inf, -inf)], "cubic", "reflection")).all()


def test_pixels_outside_are_not_read() -> None:
    """A weight that is zero leaves alone what is not finite."""
    x = X.copy()
    x[0, 0, 1, 2] = np.inf
    np.testing.assert_allclose(sampled(x, [(-1 / 3, 0)], corners=True), [5])


def test_an_axis_of_one_pixel_reflects_to_it() -> None:
    x = np.array([[[[5.0], [7.0]]]])
    np.testing.assert_allclose(sampled(x, [(9, -1), (-3.3, 1)], padding="reflection", corners=True), [5, 7])


@pytest.mark.parametrize(
    ("specs", "change", "text"),
    [
        ([Spec((1, 2, 3)), Spec((1, 2, 2))], {}, r"input must be \(N, C, H, W\) or \(N, C, D, H, W\), got shape"),
        ([Spec((1, 2, 3, 4)), Spec((1, 2, 2, 3))], {}, r"grid must be \(N, H', W', 2\) for an input of shape"),
        ([Spec((2, 2, 3, 4)), Spec((1, 2, 2, 2))], {}, r"grid must be \(N, H', W', 2\)"),
        ([Spec((1, 2, 3, 4, 5)), Spec((1, 2, 2, 2))], {}, r"grid must be \(N, D', H', W', 3\)"),
        ([Spec((1, 2, 3, 4), "int64"), Spec((1, 2, 2, 2))], {}, "input must be float32"),
        ([Spec((1, 2, 3, 4)), Spec((1, 2, 2, 2), "float64")], {}, "grid must be float32"),
        ([Spec((1, 2, 3, 4)), Spec((1, 2, 2, 2))], {"mode": "area"}, "mode must be one of linear, nearest, cubic"),
        ([Spec((1, 2, 3, 4)), Spec((1, 2, 2, 2))], {"padding_mode": "wrap"}, "padding mode must be one of zeros"),
    ],
)
def test_what_is_refused(specs: list[Spec], change: dict[str, object], text: str) -> None:
    attrs = {"mode": "linear", "padding_mode": "zeros", "align_corners": False, **change}
    with pytest.raises(OperatorError, match=text):
        OPS["grid_sample"].infer(specs, attrs)


def test_gradients_of_other_shapes_are_refused() -> None:
    attrs = {"mode": "linear", "padding_mode": "zeros", "align_corners": False}
    x, grid, dy = Spec((1, 2, 3, 4)), Spec((1, 2, 2, 2)), Spec((1, 2, 2, 3))
    with pytest.raises(OperatorError, match=r"output gradient must have shape \(1, 2, 2, 2\)"):
        OPS["grid_sample_input_grad"].infer([dy, grid], {**attrs, "input_size": (3, 4)})
    with pytest.raises(OperatorError, match=r"output gradient must have shape \(1, 2, 2, 2\)"):
        OPS["grid_sample_grid_grad"].infer([dy, x, grid], attrs)
