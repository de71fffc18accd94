"""Resizing along any axes: what the operator refuses, what becomes of it, and what lies outside a crop."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Attrs, Builder, OperatorError
from normengine.ops.resize import settings
from normengine.passes.decompose import decompose


def resized(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    return OPS["resize"].reference([x], attrs)[0]


def test_axes_that_stay_are_left_out() -> None:
    attrs = settings((2, 3, 4, 5), (0, 1, 2, 3), (2, 3, 8, 5))
    assert (attrs["axes"], attrs["sizes"], attrs["scales"]) == ((2,), (8,), (2.0,))
    assert settings((2, 3), (1,), (3,), scales=(1.2,))["axes"] == (1,)


def test_one_axis_after_the_other() -> None:
    """Columns of rows, as a matrix product from either side."""
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    y = resized(x, settings(x.shape, (2, 3), (6, 8), mode="linear"))
    rows = resized(x, settings(x.shape, (2,), (6,), mode="linear"))
    np.testing.assert_allclose(y, resized(rows, settings(rows.shape, (3,), (8,), mode="linear")), atol=1e-12)
    np.testing.assert_allclose(y[0, 0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-12)


def test_outside_a_crop_is_the_extrapolation_value_even_where_one_axis_is_inside() -> None:
    x = np.ones((1, 1, 4, 4))
    attrs = settings(
        x.shape,
        (2, 3),
        (3, 3),
        crops=((-1.0, 1.0), (0.0, 2.0)),
        mode="linear",
        transformation="tf_crop_and_resize",
        extrapolation_value=7.0,
    )
    np.testing.assert_array_equal(resized(x, attrs)[0, 0], [[7, 7, 7], [1, 1, 7], [1, 1, 7]])


@pytest.mark.parametrize(
    ("shape", "axes", "sizes", "nodes"),
    [
        ((2, 3, 4, 5), (2, 3), (8, 10), ["resample2d"]),
        ((2, 3, 4, 5), (3,), (10,), ["resample2d"]),
        ((2, 3, 5), (2,), (10,), ["reshape", "resample2d", "reshape"]),
        ((2, 3, 4, 5), (1,), (6,), ["reshape", "resample2d", "reshape"]),
        ((2, 3, 4, 5), (2, 3), (4, 5), []),
    ],
)
def test_it_becomes_weighted_sums_of_images(
    shape: tuple[int, ...], axes: tuple[int, ...], sizes: tuple[int, ...], nodes: list[str]
) -> None:
    builder = Builder()
    x = builder.input("x", Spec(shape))
    y = builder.add("resize", x, **settings(shape, axes, sizes, mode="linear"))
    assert [n.op for n in decompose(builder.graph([y])).nodes] == nodes


def test_samples_are_kept_apart_unless_they_are_resized() -> None:
    builder = Builder()
    x = builder.input("x", Spec((4, 3, 4)))
    for axes, samples in (((2,), (0,)), ((0, 2), ())):
        builder.add("resize", x, **settings(x.shape, axes, (8,) * len(axes)))
        rule = OPS["resize"].samples
        assert rule is not None
        assert rule(builder.nodes[-1]) == samples


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"axes": (2, 4)}, "axis 4 is not one of the 4 axes"),
        ({"axes": (2, 2)}, r"axes \(2, 2\) name an axis twice"),
        ({"mode": "area"}, "mode must be one of nearest, linear, cubic, got 'area'"),
        ({"sizes": (8, 0)}, "sizes and scales must be positive"),
        ({"scales": (2.0, 0.0)}, "sizes and scales must be positive"),
    ],
)
def test_what_is_refused(change: dict[str, object], text: str) -> None:
    builder = Builder()
    x = builder.input("x", Spec((1, 2, 4, 5)))
    attrs = {**settings(x.shape, (2, 3), (8, 10)), **change}
    with builder.at("head.up"), pytest.raises(OperatorError, match=f"resize 'head.up': .*{text}"):
        builder.add("resize", x, **attrs)


def test_types_and_gradients_of_other_shapes_are_refused() -> None:
    builder = Builder()
    labels, dy = builder.input("l", Spec((2, 3), "int64")), builder.input("dy", Spec((1, 1, 9, 10)))
    with pytest.raises(OperatorError, match="input must be float32, got int64"):
        builder.add("resize", labels, **settings((2, 3), (1,), (6,)))
    attrs = settings((1, 1, 4, 5), (2, 3), (8, 10))
    with pytest.raises(OperatorError, match=r"output gradient must have shape \(1, 1, 8, 10\)"):
        builder.add("resize_grad", dy, **attrs, input_sizes=(4, 5))


def test_tables_of_other_kinds_are_refused() -> None:
    case = OPS["resample2d"].cases()[0]
    arrays = case.arrays(np.random.default_rng(0))
    specs = [Spec.of(a) for a in arrays]
    for position, spec, text in (
        (0, Spec((2, 3, 4)), r"input must be \(N, C, H, W\)"),
        (1, Spec((5,)), "row taps must be int64"),
        (2, Spec((5, 1)), r"row weights must be \(entries\)"),
        (3, Spec((5, 1), "int64"), "column taps must be a list"),
    ):
        given = [*specs]
        given[position] = spec
        with pytest.raises(OperatorError, match=text):
            OPS["resample2d"].infer(given, case.attrs)
