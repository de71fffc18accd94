"""Principal axes against NumPy's covariance of all samples at once."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.principal import principal

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("parts", [[30], [1, 29], [7, 1, 1, 21]])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_blocks_make_the_covariance_of_all(parts: list[int], offset: float) -> None:
    x = RNG.standard_normal((30, 5)) @ RNG.standard_normal((5, 5)) + offset
    found = principal(np.split(x, np.cumsum(parts)[:-1]), "test")
    assert found.samples == 30
    assert np.allclose(found.mean, x.mean(0), rtol=1e-14)
    assert np.allclose(found.axes.T * found.variances @ found.axes, np.cov(x.T), rtol=1e-8, atol=1e-8)
    assert np.allclose(found.axes @ found.axes.T, np.eye(5), atol=1e-12)
    assert np.all(np.diff(found.variances) <= 0)
    assert np.array_equal(found.axes.max(1), np.abs(found.axes).max(1))


def test_rank_counts_what_is_more_than_rounding() -> None:
    flat = RNG.standard_normal((50, 2)) @ RNG.standard_normal((2, 6))
    assert principal([flat], "test").rank == 2
    assert principal([flat[:2]], "test").rank == 1
    assert principal([np.ones((4, 3))], "test").rank == 0


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([np.ones((1, 3))], "test: a covariance takes two samples or more, got 1"),
        ([], "test: a covariance takes two samples or more, got 0"),
        ([np.ones((2, 3)), np.array([[1, np.nan, 2]])], "test: numbers must be finite as float32, got nan"),
        ([np.full((2, 3), 1e39)], r"test: numbers must be finite as float32, got 1e\+39"),
        ([np.full((2, 3), -np.inf)], "test: numbers must be finite as float32, got -inf"),
    ],
)
def test_errors(blocks: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        principal(blocks, "test")
