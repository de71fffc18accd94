"""Moments that are merged block by block are those of all values at once."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.analysis import moments
from normengine.analysis.moments import Moments


@pytest.mark.parametrize("shape", [(7, 3), (5, 4, 9), (3, 1, 5, 7), (1, 2, 1, 1)])
@pytest.mark.parametrize("block", [1, 40, 2**20])
def test_batches_of_unlike_sizes(shape, block, monkeypatch):
    monkeypatch.setattr(moments, "_BLOCK", block)
    rng = np.random.default_rng(0)
    arrays = [(1e4 + rng.standard_normal((n * shape[0], *shape[1:]))).astype(np.float32) for n in (1, 4, 2)]
    found = Moments()
    for array in arrays:
        found.add(array)
    exact = np.concatenate(arrays).astype(np.float64)
    axes = (0, *range(2, exact.ndim))
    assert found.count == exact.size // shape[1]
    assert np.allclose(found.mean, exact.mean(axes), rtol=1e-14)
    assert np.allclose(found.variance, exact.var(axes), rtol=1e-9)
