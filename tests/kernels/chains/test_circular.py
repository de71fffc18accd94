"""Accuracy of circular and hyperbolic functions, their inverses and powers, and what division leaves."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.kernels.chains import Step

from .test_chain import run
from .test_scalars import apply

NUMPY = {
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}
RANGES = {
    "asin": np.linspace(-1, 1, 100_001),
    "acos": np.linspace(-1, 1, 100_001),
    "atan": np.concatenate([np.linspace(-10, 10, 100_001), [-1e30, 1e30, np.inf, -np.inf]]),
    "sinh": np.concatenate([np.linspace(-89.4, 89.4, 100_001), np.linspace(-1.1, 1.1, 1001)]),
    "cosh": np.linspace(-89.4, 89.4, 100_001),
    "asinh": np.concatenate([np.linspace(-20, 20, 100_001), np.geomspace(1e-20, 1e38, 1001), [np.inf, -np.inf]]),
    "acosh": np.concatenate([1 + np.geomspace(1e-6, 20, 10_001), np.geomspace(1, 1e38, 1001), [np.inf]]),
    "atanh": np.linspace(-1, 1, 100_001),
    "expm1": np.concatenate([np.linspace(-30, 88, 100_001), np.geomspace(1e-30, 1, 1001), [-np.inf, np.inf]]),
}


def both(function: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (np.ascontiguousarray(x).ravel() for x in np.broadcast_arrays(a, b))
    y = np.empty_like(a)
    run([Step(function, (("input", 0), ("input", 1)), a.dtype.name)], [a, b], [y], [0])
    return y


@np.errstate(all="ignore")
@pytest.mark.parametrize("function", RANGES)
def test_a_function_is_right_over_its_whole_range(function: str) -> None:
    x = RANGES[function].astype(np.float32)
    expected = NUMPY.get(function, getattr(np, function, None))(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(apply(function, x), expected, rtol=4e-7, atol=1e-37)


@pytest.mark.parametrize("function", ["sin", "cos", "tan"])
def test_angles(function: str) -> None:
    x = np.concatenate([np.linspace(-10, 10, 100_001), np.linspace(-1e6, 1e6, 100_001), [1e8, -1e9]]).astype(np.float32)
    expected = getattr(np, function)(x.astype(np.float64))
    np.testing.assert_allclose(apply(function, x), expected, rtol=3e-7, atol=1e-7)
    assert np.isnan(apply(function, np.array([np.inf, -np.inf, np.nan], np.float32))).all()
    assert np.isfinite(apply(function, np.array([1e20, -3e38], np.float32))).all()


@pytest.mark.parametrize(("function", "x"), [("asin", 1.01), ("acos", -1.01), ("acosh", 0.99), ("atanh", 1.01)])
def test_beyond_the_limits_is_nan(function: str, x: float) -> None:
    assert np.isnan(apply(function, np.array([x, np.nan], np.float32))).all()


@np.errstate(all="ignore")
def test_powers_of_everything() -> None:
    """By everything, against C's function."""
    v = np.array(
        [-np.inf, -7, -2.5, -1, -1 / 3, -1e-30, -0.0, 1e-30, 1 / 3, 1, 2.5, 7, 2**24 + 1, 1e30, np.inf, np.nan]
    )
    a, b = (x.ravel() for x in np.meshgrid(np.concatenate([v, -v]).astype(np.float32), v.astype(np.float32)))
    expected = np.power(a, b)
    expected = np.where(abs(expected) < np.finfo(np.float32).tiny, expected * 0, expected)  # denormal results are 0
    np.testing.assert_allclose(both("pow", a, b), expected, rtol=5e-7)


def test_powers_of_positive_numbers() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.01, 50, 100_000).astype(np.float32), rng.uniform(-18, 18, 100_000).astype(np.float32)
    np.testing.assert_allclose(both("pow", a, b), a.astype(np.float64) ** b, rtol=4e-7)


@np.errstate(all="ignore")
def test_what_division_leaves() -> None:
    rng = np.random.default_rng(0)
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 3.0, 1e-30, -5.5], np.float32)
    a, b = (x.ravel() for x in np.meshgrid(special, special))
    near = (a == 0) | (b == 0) | (abs(a) < 2.0**29 * abs(b)) | ~np.isfinite(a) | ~np.isfinite(b)
    x, y = (s * rng.standard_normal(10_000).astype(np.float32) for s in (100, 10))
    for p, q in ((a[near], b[near]), (x, y)):
        np.testing.assert_array_equal(both("fmod", p, q), np.fmod(p, q))
    assert (abs(both("fmod", np.float32([1e30, -1e30]), np.float32([7e-9, 3]))) < [7e-9, 3]).all()


def test_integers_are_divided_without_a_trap() -> None:
    low = -(2**63)
    a, b = np.array([7, -7, 7, -7, low, low, 5, 0]), np.array([2, 2, -2, -2, -1, 1, 0, 0])
    assert both("integer_div", a, b).tolist() == [3, -3, -3, 3, low, low, 0, 0]
    assert both("integer_remainder", a, b)[:6].tolist() == [1, 1, -1, -1, 0, 0]


@pytest.mark.parametrize(
    ("function", "settings"),
    [("elu", 1), ("selu", 2), ("celu", 1), ("softsign", 0), ("hard_sigmoid", 2), ("hardtanh", 2), ("threshold", 2)]
    + [("shrink", 2), ("prelu", 1), ("sign", 0), ("ceil", 0), ("round_even", 0), ("sinh", 0), ("cosh", 0), ("atan", 0)],
)
def test_nan_goes_through(function: str, settings: int) -> None:
    constants = (("constant", 0.5), ("constant", 0.75))[:settings]
    assert np.isnan(apply(function, np.full(19, np.nan, np.float32), *constants)).all()


def test_half_goes_to_the_even_number() -> None:
    x = np.concatenate([np.arange(-8, 8.5, 0.5), [2**22 + 0.5, 2**23 - 0.5, -0.0, 1e30, np.inf]]).astype(np.float32)
    found = apply("round_even", x)
    np.testing.assert_array_equal(found, np.round(x))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(x))
