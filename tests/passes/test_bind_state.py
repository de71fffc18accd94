"""State as constants: the arrays themselves, updates gone, and what is derived of them computed once."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import GraphError, Spec
from normengine.ops import Builder, evaluate
from normengine.passes.bind_state import bind_state


def graph():
    builder = Builder()
    x = builder.input("x", Spec((2, 3)))
    weight = builder.state_value("fc.weight", Spec((4, 3)))
    y = builder.add("linear", x, weight)
    builder.update(weight, builder.add("neg", weight))
    return builder.graph([y])


def test_the_arrays_become_constants_by_reference():
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    bound = bind_state(graph(), {"fc.weight": array})
    assert bound.state == ()
    assert bound.updates == ()
    assert [node.op for node in bound.nodes] == ["linear"]
    assert next(iter(bound.constants.values())) is array
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(evaluate(bound, {bound.inputs[0]: x})[bound.outputs[0]], x @ array.T)


def test_state_without_an_array_or_of_another_shape_is_refused():
    with pytest.raises(KeyError, match="fc.weight"):
        bind_state(graph(), {})
    with pytest.raises(GraphError, match="fc.weight is declared"):
        bind_state(graph(), {"fc.weight": np.zeros((4, 2), np.float32)})


def test_what_is_derived_of_state_alone_becomes_a_constant_of_its_name():
    builder = Builder()
    x = builder.input("x", Spec((2, 3)))
    original, bias = builder.state_value("fc.original", Spec((4, 3))), builder.state_value("fc.bias", Spec((4,)))
    third = builder.constant(1.0 / 3.0)
    weights = [builder.add("mul", builder.add("mul", original, third), third) for _ in range(2)]
    held = builder.add("detach", weights[1])
    mixed = builder.add("mul", bias, builder.add("reduce_mean", x, axes=(0, 1), keepdims=False))
    unused = builder.add("neg", original)
    y = [builder.add("linear", x, weights[0], mixed), builder.add("linear", x, held, mixed)]
    derived = {weights[0]: "fc.weight", held: "fc.weight", mixed: "fc.bias", unused: "fc.unused"}
    array = np.linspace(1, 2, 12, dtype=np.float32).reshape(4, 3)
    bound = bind_state(builder.graph(y), {"fc.original": array, "fc.bias": np.ones(4, np.float32)}, derived)
    assert [node.op for node in bound.nodes] == ["reduce_mean", "mul", "linear", "linear"]
    assert {v.name for v in bound.constants} == {"fc.weight", "fc.bias"}
    (weight,) = {node.inputs[1] for node in bound.nodes[2:]}
    exact = array.astype(np.float64) * float(np.float32(1.0 / 3.0)) ** 2
    assert np.array_equal(bound.constants[weight], exact.astype(np.float32))


def test_derived_values_of_one_name_that_differ_stay_apart():
    builder = Builder()
    x, state = builder.input("x", Spec((2, 3))), builder.state_value("s", Spec((3,)))
    one, two = builder.add("neg", state), builder.add("exp", state)
    graph = builder.graph([builder.add("mul", builder.add("mul", x, one), two)])
    bound = bind_state(graph, {"s": np.ones(3, np.float32)}, {one: "w", two: "w"})
    assert [v.name for v in bound.constants] == ["w", "w"] and len(bound.nodes) == 2
    found = evaluate(bound, {bound.inputs[0]: np.ones((2, 3))})[bound.outputs[0]]
    assert np.allclose(found, -np.e)
