"""What data are cut into batches, and how."""

import numpy as np
import pytest

from normengine.train.batches import given_inputs


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [(6, 3, [3, 3]), (7, 3, [3, 4]), (8, 3, [3, 3, 2]), (2, 3, [2]), (1, 3, [1]), (3, 1, [1, 1, 1])],
)
def test_arrays_are_cut_into_batches(samples, size, expected):
    x = np.arange(2.0 * samples).reshape(samples, 2)
    for data in (x, (x, np.zeros(samples))):
        found = list(given_inputs(data, size, "a test"))
        assert [len(batch) for batch in found] == expected
        assert np.array_equal(np.concatenate(found), x) and found[0].dtype == np.float32
