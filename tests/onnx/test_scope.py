"""Which of the network's inputs a name comes from, and names of graphs that take a node's place."""

from __future__ import annotations

import pytest

from normengine.graph import Spec, Value
from normengine.onnx.node import Body, OnnxNode
from normengine.onnx.scope import MOST_DECIDING, MOST_FLOATS, Origins, names_within, renamed


def made(inputs, outputs, label="n"):
    return OnnxNode("Op", label, "", tuple(inputs), tuple(outputs), {})


def origins(**inputs):
    """Inputs are (shape, dtype); ``a`` is computed of x, ``b`` of a and y, ``c`` of b and itself as a cycle would."""
    found = Origins()
    found.inputs.update({name: Value(name, Spec(*given)) for name, given in inputs.items()})
    for node in (made("x", "a"), made(["a", "", "y"], "b"), made(["b", "c"], "cd")):
        found.add(node)
    return found


SMALL = ((2,), "int64")


def test_inputs_behind_a_name():
    found = origins(x=SMALL, y=((), "bool"))
    assert found.deciding("a", {}) == {"x"}
    assert found.deciding("c", {}) == found.deciding("d", {}) == {"x", "y"}
    assert found.deciding("c", {"a": 0}) == {"y"}
    assert found.deciding("y", {}) == {"y"}
    assert found.deciding("w", {}) == set()


@pytest.mark.parametrize(
    "given, decides",
    [
        (((MOST_DECIDING,), "int64"), True),
        (((MOST_DECIDING + 1,), "int64"), False),
        (((MOST_DECIDING + 1,), "bool"), False),
        (((MOST_FLOATS,), "float32"), True),
        (((MOST_FLOATS + 1,), "float32"), False),
    ],
)
def test_large_inputs_do_not_decide(given, decides):
    """Nor does anything that one of them is part of."""
    found = origins(x=given, y=SMALL)
    assert found.deciding("b", {}) == ({"x", "y"} if decides else set())
    assert found.deciding("y", {}) == {"y"}


def test_fewer_floats_may_be_asked_for():
    found = origins(x=((2,), "float32"), y=SMALL)
    assert found.deciding("b", {}, floats=1) == set()
    assert found.deciding("b", {}, floats=2) == {"x", "y"}


def test_names_of_a_body():
    """Its own names are told from those around it, what it reads is called as the call has it."""
    body = Body(("p", "q"), ("r",), (made(["p", "w", "outer"], ["t"]), made(["t", "q"], ["r", ""])), {"w": None})
    names = names_within(made(["x"], ["", "y"], "call"), body, ["x"])
    assert names == {"p": "x", "q": "", "w": "y > w", "t": "y > t", "r": "y > r", "": ""}
    first, second = (renamed(node, names, "call") for node in body.nodes)
    assert (first.label, first.inputs, first.outputs) == ("call/n", ("x", "y > w", "outer"), ("y > t",))
    assert (second.inputs, second.outputs) == (("y > t", ""), ("y > r", ""))
