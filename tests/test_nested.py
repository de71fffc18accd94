"""Nested values are taken apart and put together again, each place by itself, and nothing else of them changes."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

from normengine.nested import flattened, joined

Pair = namedtuple("Pair", "first second")


def test_parts_are_found_in_order_and_others_take_their_places():
    config = {"depth": 3}
    value = ([1, "a", None], OrderedDict(b=2, c=Pair(3, (4, config))), {5})
    numbers, build = flattened(value, int)
    assert numbers == [1, 2, 3, 4, 3]
    made = build([10 * n for n in numbers])
    assert made == ([10, "a", None], OrderedDict(b=20, c=Pair(30, (40, {"depth": 30}))), {5})
    assert type(made[1]) is OrderedDict and type(made[1]["c"]) is Pair
    assert value[1]["b"] == 2 and config == {"depth": 3}


@pytest.mark.parametrize("value", [3, (), [], {}, "text", (np.ones(2), [np.ones(3)])])
def test_what_is_put_back_is_what_was_there(value):
    arrays, build = flattened(value, np.ndarray)
    assert repr(build(arrays)) == repr(value)


def test_values_are_joined_place_by_place():
    values = [{"x": i, "rest": [Pair(10 * i, "a"), (i,)]} for i in range(3)]
    places = []

    def join(parts, place):
        places.append(place)
        return parts

    assert joined(values, join, "v") == {"x": [0, 1, 2], "rest": [Pair([0, 10, 20], ["a"] * 3), ([0, 1, 2],)]}
    assert places == ["v['x']", "v['rest'][0][0]", "v['rest'][0][1]", "v['rest'][1][0]"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": (1, 2)}, r"v must have the same form each time, got a dict of 'x', 'y' at 0 and a dict of 'x' at 1"),
        ({"x": (1, 2, 3), "y": 1}, r"v\['x'\] must have the same form each time, got 2 parts at 0 and 3 parts at 1"),
        ({"x": 1, "y": 1}, r"v\['x'\] must have the same form each time, got 2 parts at 0 and one value at 1"),
        (
            {"x": (1, [2]), "y": 1},
            r"v\['x'\]\[1\] must have the same form each time, got one value at 0 and 1 parts at 1",
        ),
        (1, r"v must have the same form each time, got a dict of 'x', 'y' at 0 and one value at 1"),
    ],
)
def test_values_of_other_forms(other, message):
    with pytest.raises(ValueError, match=message):
        joined([{"x": (1, 2), "y": 3}, other], lambda parts, place: parts, "v")


def test_the_order_of_keys_does_not_matter():
    assert joined([{"a": 1, "b": 2}, {"b": 3, "a": 4}], lambda parts, place: parts, "v") == {"a": [1, 4], "b": [2, 3]}
