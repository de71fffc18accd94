"""State as constants: the arrays themselves, updates gone."""

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
