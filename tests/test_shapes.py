"""Axes, extents and indices as users write them."""

from __future__ import annotations

import numpy as np
import pytest

from normengine import shapes

ARRAY = np.arange(2 * 6 * 5).reshape(2, 6, 5)


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(None), slice(1, 4), slice(-3, None, 2), (0, 1), (..., -1), (None, 1),
     (slice(None), None, 2, ..., None), (slice(None), slice(0, 99, 4)), np.int64(1), (), ...],
)  # fmt: skip
def test_select_is_numpys_basic_indexing(index: object) -> None:
    chosen = shapes.select(index, ARRAY.shape)
    ranges = tuple(map(slice, chosen.starts, chosen.stops, chosen.steps))
    expected = ARRAY[index]
    assert chosen.shape == expected.shape
    assert np.array_equal(ARRAY[ranges].reshape(chosen.shape), expected)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (2, "index 2 is out of range for axis 0 with extent 2"),
        ((0, 0, 0, 0), "has more axes than a tensor of shape"),
        ((..., ...), "one Ellipsis only"),
        (slice(None, None, -1), "only positive steps"),
        (slice(1, 1), "selects nothing"),
        (True, "indexed by ints, slices, None and Ellipsis, got bool"),
        ("a", "got str"),
    ],
)
def test_select_errors(index: object, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        shapes.select(index, ARRAY.shape)


def test_axes() -> None:
    assert shapes.axis_of(-1, 3) == 2
    assert shapes.axes_of(None, 3) == shapes.axes_of((), 3) == (0, 1, 2)
    assert shapes.axes_of((-1, 0), 3) == (0, 2)
    assert shapes.axes_of(1, 3) == (1,)
    assert shapes.axes_of(None, 0) == ()
    with pytest.raises(IndexError, match=r"dim 3 is out of range for a tensor of 3 dimensions \(-3 to 2\)"):
        shapes.axis_of(3, 3)
    with pytest.raises(ValueError, match="name an axis twice"):
        shapes.axes_of((0, -3), 3)


def test_views() -> None:
    assert shapes.resolve((2, 6), (3, -1)) == (3, 4)
    assert shapes.resolve((), (1, 1)) == (1, 1)
    assert shapes.flattened((2, 3, 4), 1, -1) == (2, 12)
    assert shapes.expanded((3, 1), (2, -1, 4)) == (2, 3, 4)
    for target in ((5, -1), (-1, -1), (4, 4), (-2, 6)):
        with pytest.raises(ValueError, match=r"a tensor of shape \(2, 6\) \(12 elements\) cannot be viewed as"):
            shapes.resolve((2, 6), target)
    with pytest.raises(ValueError, match="comes after"):
        shapes.flattened((2, 3), 1, 0)
    with pytest.raises(ValueError, match="fewer axes"):
        shapes.expanded((2, 3), (3,))


def test_numbers_and_pairs() -> None:
    assert shapes.numbers((1, 2)) == shapes.numbers(([1, 2],)) == (1, 2)
    assert shapes.pair(3, "stride") == (3, 3)
    assert shapes.pair([1, 2], "stride") == (1, 2)
    assert shapes.pair((4,), "stride") == (4, 4)
    for wrong in ((1, 2, 3), 1.5, "ab", None):
        with pytest.raises(ValueError, match=r"stride must be an int or two ints \(height, width\), got"):
            shapes.pair(wrong, "stride")


def test_splitting() -> None:
    assert shapes.split_extents(7, 3) == [3, 3, 1]
    assert shapes.split_extents(7, [3, 4]) == [3, 4]
    assert shapes.ranges([3, 4]) == [(0, 3), (3, 7)]
    with pytest.raises(ValueError, match="must be positive and add up to the extent 7"):
        shapes.split_extents(7, [3, 3])
    with pytest.raises(ValueError, match="split size must be positive, got 0"):
        shapes.split_extents(7, 0)
