"""Tables of interpolation: coordinates, weights, windows and their transposes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.ops import OperatorError
from normengine.ops.interpolation import Interpolation, Taps, taps_of


def axis(size: int, outputs: int, mode: str, **settings: object) -> Interpolation:
    plain = Interpolation(
        size, outputs, outputs / size, (0.0, 1.0), mode, "half_pixel", "round_prefer_floor", -0.75, False, False, False
    )
    return plain._replace(**settings)  # type: ignore[arg-type]


def matrix(taps: Taps) -> np.ndarray:
    full = np.zeros((taps.outputs, taps.size))
    full[taps.rows, taps.places] = taps.weights
    return full


def keys(d: float, a: float) -> float:
    """Keys' piecewise cubic."""
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25]),
        ({"transformation": "asymmetric"}, [0, 0.5, 1, 1.5, 2, 2.5]),
        ({"transformation": "align_corners"}, [0, 0.4, 0.8, 1.2, 1.6, 2]),
        ({"transformation": "tf_half_pixel_for_nn"}, [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]),
        ({"transformation": "pytorch_half_pixel"}, [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25]),
        ({"transformation": "tf_crop_and_resize", "crop": (0.5, 1.0)}, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        ({"transformation": "tf_crop_and_resize", "crop": (1.0, 0.0)}, [2, 1.6, 1.2, 0.8, 0.4, 0]),
        ({"transformation": "half_pixel", "scale": 2.3}, (np.arange(6) + 0.5) / 2.3 - 0.5),
        (
            {"transformation": "half_pixel_symmetric", "scale": 2.3},
            1.5 * (1 - 6 / 6.9) + (np.arange(6) + 0.5) / 2.3 - 0.5,
        ),
        ({"transformation": "align_corners", "scale": 2.3}, np.arange(6) * 2 / 5.9),
    ],
)  # fmt: skip
def test_coordinates(settings: dict[str, object], wanted: list[float]) -> None:
    np.testing.assert_allclose(axis(3, 6, "linear", **settings).coordinates(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("transformation", "wanted"),
    [("align_corners", 0.0), ("pytorch_half_pixel", 0.0), ("half_pixel", 2.0), ("asymmetric", 0.0)],
)
def test_the_coordinate_of_a_single_output(transformation: str, wanted: float) -> None:
    assert axis(5, 1, "linear", transformation=transformation).coordinates() == [wanted]


def test_a_single_output_of_a_crop_is_its_middle() -> None:
    cropped = axis(5, 1, "linear", transformation="tf_crop_and_resize", crop=(0.25, 0.75))
    assert cropped.coordinates() == [2.0]


@pytest.mark.parametrize(
    ("rounding", "wanted"),
    [
        ("round_prefer_floor", [0, 0, 1, 1, 2, 2]),
        ("round_prefer_ceil", [0, 1, 1, 2, 2, 2]),
        ("floor", [0, 0, 1, 1, 2, 2]),
        ("ceil", [0, 1, 1, 2, 2, 2]),
    ],
)
def test_nearest_rounds(rounding: str, wanted: list[int]) -> None:
    """At 0, 0.5, 1, ...: halves go down or up, and nothing goes beyond the end."""
    taps = taps_of(axis(3, 6, "nearest", transformation="asymmetric", rounding=rounding))
    assert taps.places.tolist() == wanted
    assert taps.picks and not taps.is_identity


def test_nearest_in_float32_is_what_float32_gives() -> None:
    """98 outputs of 49 inputs, and one of them off a whole number by a rounding error."""
    for size, outputs in ((49, 98), (7, 10), (10, 7), (100, 31)):
        step = np.float32(size) / np.float32(outputs)
        wanted = np.floor(np.arange(outputs).astype(np.float32) * step).astype(int)
        taps = taps_of(axis(size, outputs, "nearest", transformation="asymmetric", rounding="floor", single=True))
        assert taps.places.tolist() == np.minimum(wanted, size - 1).tolist()


def test_linear_by_two_is_a_quarter_and_three_quarters() -> None:
    wanted = [[1, 0, 0], [0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75], [0, 0, 1]]
    np.testing.assert_array_equal(matrix(taps_of(axis(3, 6, "linear"))), wanted)


@pytest.mark.parametrize("a", [-0.75, -0.5])
def test_cubic_weights_are_those_of_keys(a: float) -> None:
    taps = matrix(taps_of(axis(9, 18, "cubic", cubic_coeff=a)))
    for i in range(4, 14):
        x = (i + 0.5) / 2 - 0.5
        np.testing.assert_allclose(taps[i], [keys(j - x, a) for j in range(9)], atol=1e-12)


def test_what_lies_outside_counts_as_the_end_or_not_at_all() -> None:
    x, a = -0.25, -0.75
    raw = np.array([keys(j - x, a) for j in range(-2, 2)])
    clamped, left_out = (taps_of(axis(9, 18, "cubic", exclude_outside=flag)) for flag in (False, True))
    np.testing.assert_allclose(matrix(clamped)[0, :2], [raw[:3].sum(), raw[3]], atol=1e-12)
    np.testing.assert_allclose(matrix(left_out)[0, :2], raw[2:] / raw[2:].sum(), atol=1e-12)


def test_antialias_widens_the_window_where_the_axis_shrinks() -> None:
    taps = matrix(taps_of(axis(12, 3, "linear", antialias=True, exclude_outside=True)))
    for i in range(3):
        triangle = np.maximum(0, 1 - np.abs(np.arange(12) - (4 * i + 1.5)) / 4)
        np.testing.assert_allclose(taps[i], triangle / triangle.sum(), atol=1e-12)
    grown = [matrix(taps_of(axis(3, 12, "cubic", antialias=flag))) for flag in (False, True)]
    np.testing.assert_array_equal(*grown)


MODES = [
    ("nearest", {}),
    ("linear", {}),
    ("cubic", {}),
    ("linear", {"antialias": True}),
    ("cubic", {"antialias": True}),
]


@pytest.mark.parametrize(("mode", "settings"), MODES)
@pytest.mark.parametrize("transformation", ["half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"])
@pytest.mark.parametrize(("size", "outputs"), [(1, 1), (1, 7), (7, 1), (5, 13), (13, 5), (8, 8), (40, 3)])
def test_constants_stay_constant(
    mode: str, settings: dict[str, object], transformation: str, size: int, outputs: int
) -> None:
    taps = taps_of(axis(size, outputs, mode, transformation=transformation, **settings))
    assert taps.outputs == outputs
    np.testing.assert_allclose(matrix(taps).sum(axis=1), 1, atol=1e-12)
    assert ((taps.places >= 0) & (taps.places < size)).all()


@pytest.mark.parametrize(("mode", "settings"), MODES)
def test_tables_are_applied_and_transposed(mode: str, settings: dict[str, object]) -> None:
    taps = taps_of(axis(13, 6, mode, **settings))
    full, x = matrix(taps), np.random.default_rng(0).standard_normal((2, 13, 3))
    np.testing.assert_allclose(taps.applied(x, 1), np.einsum("oi,nic->noc", full, x), atol=1e-12)
    np.testing.assert_array_equal(matrix(taps.transposed()), full.T)


def test_a_place_that_comes_twice_is_one_entry_and_zeros_are_none() -> None:
    rows, places = np.array([2, 0, 2, 0]), np.array([1, 0, 1, 3])
    taps = Taps.of(4, 3, rows, places, np.array([1.0, 2.0, 3.0, 0.0]))
    np.testing.assert_array_equal(matrix(taps), [[2, 0, 0, 0], [0] * 4, [0, 4, 0, 0]])
    assert taps.starts.tolist() == [0, 1, 1, 2]
    assert not taps.picks


def test_crops_leave_out_what_lies_outside() -> None:
    cropped = axis(5, 4, "linear", transformation="tf_crop_and_resize", crop=(-0.5, 1.0))
    assert cropped.outside().tolist() == [True, False, False, False]
    np.testing.assert_array_equal(np.diff(taps_of(cropped).starts), [0, 1, 1, 1])


def test_an_axis_as_it_is() -> None:
    for mode, settings in MODES:
        assert taps_of(axis(7, 7, mode, **settings)).is_identity
    assert Taps.identity(4).is_identity
    assert not taps_of(axis(7, 7, "cubic", scale=1.1)).is_identity


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mode": "bilinear"}, "mode must be one of nearest, linear, cubic, got 'bilinear'"),
        ({"transformation": "corners"}, "transformation must be one of half_pixel, .*, got 'corners'"),
        ({"rounding": "up"}, "rounding must be one of round_prefer_floor, .*, got 'up'"),
        ({"outputs": 0}, "sizes and scales must be positive, got size 0 and scale 2.0"),
        ({"scale": float("nan")}, "sizes and scales must be positive, got size 6 and scale nan"),
        ({"crop": (0.0, float("inf"))}, "crops must lie within 1e\\+06 lengths of the axis"),
        ({"crop": (2e6, 0.5)}, "crops must lie within"),
        ({"cubic_coeff": float("nan")}, "the cubic coefficient must be finite, got .* and nan"),
        ({"outputs": 60}, "size 60 is not 3 elements at scale 2.0"),
        ({"mode": "nearest", "antialias": True}, "antialias needs mode linear or cubic, got nearest"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], text: str) -> None:
    with pytest.raises(OperatorError, match=text):
        axis(3, 6, "linear")._replace(**settings).check()  # type: ignore[arg-type]
