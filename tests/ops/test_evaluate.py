"""Evaluation by references: float64 between nodes, every value returned, wrong feeds named."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Graph, Spec
from normengine.ops import Builder, evaluate


def _graph() -> Graph:
    builder = Builder()
    x = builder.input("x", Spec((2,)))
    scale = builder.state_value("scale", Spec(()))
    y = builder.add("add", builder.add("mul", x, scale), builder.constant(0.5))
    return builder.graph([y])


def test_values_of_all_nodes_in_float64() -> None:
    graph = _graph()
    x, scale = np.array([1.0 + 2.0**-40, 2.0]), np.array(3.0)
    values = evaluate(graph, {graph.inputs[0]: x, graph.state[0]: scale})
    product, total = (values[node.outputs[0]] for node in graph.nodes)
    np.testing.assert_array_equal(product, x * 3.0)
    np.testing.assert_array_equal(total, x * 3.0 + 0.5)
    assert total.dtype == np.float64


def test_infinities_pass_without_a_warning() -> None:
    builder = Builder()
    x = builder.input("x", Spec((3,)))
    y = builder.add("log", builder.add("div", x, builder.constant(0.0)))
    graph = builder.graph([y])
    np.testing.assert_array_equal(evaluate(graph, {x: np.array([1.0, 0.0, -1.0])})[y], [np.inf, np.nan, np.nan])


def test_missing_value_is_named() -> None:
    graph = _graph()
    with pytest.raises(ValueError, match=r"^value %scale: float32\[\] has no array in the feeds$"):
        evaluate(graph, {graph.inputs[0]: np.zeros(2)})


def test_wrong_shape_is_named() -> None:
    graph = _graph()
    with pytest.raises(ValueError, match=r"^value %x: float32\[2\] was fed an array of shape \(3,\)$"):
        evaluate(graph, {graph.inputs[0]: np.zeros(3), graph.state[0]: np.zeros(())})
