"""Places of maxima: ties, NaN, columns, and what comes back from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Builder, OperatorError, evaluate
from normengine.runtime import compile_graph

WINDOW: dict[str, Any] = {
    "kernel_size": (2, 2),
    "stride": (2, 2),
    "padding": (0, 0, 0, 0),
    "dilation": (1, 1),
    "ceil_mode": False,
    "column_major": False,
}


def places(x: np.ndarray, **attrs: Any) -> list[float]:
    builder = Builder()
    value = builder.input("x", Spec(x.shape))
    (found,) = compile_graph(builder.graph([builder.add("max_pool2d_places", value, **{**WINDOW, **attrs})])).run(
        {"x": x}
    )
    return [float(place) for place in found.reshape(-1)]


def test_the_first_of_equal_maxima_and_nan_before_all(backend: str) -> None:
    x = np.array([[[[1, np.nan, 5, 5, 0, 1], [9, 3, 5, 5, 2, 2]]]], np.float32)
    assert places(x) == [1, 2, 10]
    assert places(x, column_major=True) == [2, 4, 9]
    assert places(np.full((1, 1, 2, 2), -np.inf, np.float32)) == [0]


def test_values_come_back_from_where_they_were_put(backend: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 6, 8)).astype(np.float32)
    builder = Builder()
    value = builder.input("x", Spec(x.shape))
    window = {name: number for name, number in WINDOW.items() if name != "column_major"}
    largest = builder.add("max_pool2d", value, **window)
    where = builder.add("max_pool2d_places", value, **WINDOW)
    planes = builder.add("max_unpool2d", largest, where, output_size=(6, 8))
    back = builder.add("at_places", planes, where)
    y, spread, again = compile_graph(builder.graph([largest, planes, back])).run({"x": x})
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(spread != 0, spread == x)
    assert np.count_nonzero(spread) == y.size


def test_places_outside_are_left_out_and_the_last_of_a_place_stays(backend: str) -> None:
    builder = Builder()
    x, where = builder.input("x", Spec((1, 1, 2, 3))), builder.input("p", Spec((1, 1, 2, 3)))
    y = builder.add("max_unpool2d", x, where, output_size=(2, 2))
    back = builder.add("at_places", y, where)
    given = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 2, 3)
    at = np.array([[[[3, -1, 0], [4, 3, 1e9]]]], np.float32)
    planes, again = compile_graph(builder.graph([y, back])).run({"x": given, "p": at})
    assert planes.tolist() == [[[[3, 0], [0, 5]]]]
    assert again.tolist() == [[[[5, 0, 3], [0, 5, 0]]]]


def test_the_gradient_is_taken_from_the_places() -> None:
    builder = Builder()
    x, where, g = (builder.input(name, Spec((1, 1, 1, 2))) for name in "xpg")
    y = builder.add("max_unpool2d", x, where, output_size=(1, 4))
    gradient = OPS["max_unpool2d"].gradient
    assert gradient is not None
    whole = builder.add("concat", g, g, axis=3)
    dx, none = gradient(builder, builder.nodes[0], [whole])
    assert dx is not None and none is None and y.shape == whole.shape
    row = np.array([[[[5.0, 7.0]]]])
    feeds = {x: row, where: np.array([[[[3.0, 0.0]]]]), g: row}
    np.testing.assert_array_equal(evaluate(builder.graph([dx]), feeds)[dx], [[[[7.0, 5.0]]]])


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "text"),
    [
        ("max_pool2d_places", [(1, 1, 4097, 4096)], WINDOW, "the input has 4097 x 4096 pixels, places are told apart"),
        ("max_unpool2d", [(1, 1, 2, 2)] * 2, {"output_size": (4097, 4096)}, "the output has 4097 x 4096 pixels"),
        (
            "max_unpool2d",
            [(1, 1, 2, 2), (1, 1, 2, 3)],
            {"output_size": (4, 4)},
            r"places must have shape \(1, 1, 2, 2\)",
        ),
        ("max_unpool2d", [(1, 1, 2, 2)] * 2, {"output_size": (0, 4)}, r"output size must be positive, got \(0, 4\)"),
        ("at_places", [(1, 2, 2, 2), (1, 1, 2, 3)], {}, r"places must have shape \(1, 2, 2, 3\), got"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, shapes: list[Any], attrs: dict[str, Any], text: str) -> None:
    with pytest.raises(OperatorError, match=text):
        OPS[op].infer([Spec(shape) for shape in shapes], attrs)
