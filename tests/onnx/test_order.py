"""Places of the largest elements, the first in order, and elements at computed places, read from files."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.onnx import OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

TIES = np.array([[1, 3, 3, 0], [2, 2, -1, 2], [0, 0, 0, 0]], np.float32)


def run(content, **feeds):
    """By the compiled program."""
    return ne.InferenceSession(content).run(None, feeds)


@pytest.mark.parametrize("op_type, function", [("ArgMax", np.argmax), ("ArgMin", np.argmin)])
@pytest.mark.parametrize("axis, keepdims, last", [(1, 1, 0), (0, 0, 0), (-1, 0, 1), (0, 1, 1)])
def test_places_of_extremes_are_outputs(op_type, function, axis, keepdims, last, model):
    attributes = {"axis": axis, "keepdims": keepdims, "select_last_index": last}
    (got,) = run(model([node(op_type, ["x"], ["y"], **attributes)], {"x": (3, 4)}, {"y": "int64"}, opset=13), x=TIES)
    if last:
        wanted = TIES.shape[axis] - 1 - function(np.flip(TIES, axis), axis=axis, keepdims=bool(keepdims))
    else:
        wanted = function(TIES, axis=axis, keepdims=bool(keepdims))
    assert got.dtype == np.int64
    assert np.array_equal(got, wanted)


def test_places_of_extremes_of_integers(model):
    x = 2**62 + np.array([[1, 3, 2], [5, 5, 4]])
    for op_type, wanted in (("ArgMax", [1, 0]), ("ArgMin", [0, 2])):
        nodes = [node(op_type, ["x"], ["y"], axis=1, keepdims=0)]
        assert run(model(nodes, {"x": ((2, 3), "int64")}, {"y": "int64"}), x=x)[0].tolist() == wanted


@pytest.mark.parametrize("opset, attributes", [(9, {"k": 2}), (10, {}), (13, {"largest": 0}), (13, {"sorted": 0})])
def test_the_first_in_order(opset, attributes, model):
    known = {} if "k" in attributes else {"k": ints(2)}
    content = model(
        [node("TopK", ["x", *known], ["v", "i"], axis=1, **attributes)],
        {"x": (3, 4)},
        {"v": "float32", "i": "int64"},
        known,
        opset,
    )
    values, places = run(content, x=TIES)
    keys = TIES if attributes.get("largest") == 0 else -TIES
    wanted = np.argsort(keys, axis=1, kind="stable")[:, :2]
    assert places.dtype == np.int64
    assert np.array_equal(places, wanted)
    assert np.array_equal(values, np.take_along_axis(TIES, wanted, 1))


def test_the_class_and_its_score(model):
    """As heads of networks end: a class by its place, its name in a table, its score at the same place."""
    table = np.arange(40, 44)
    nodes = [
        node("Softmax", ["x"], ["s"], axis=1),
        node("ArgMax", ["s"], ["i"], axis=1, keepdims=1),
        node("GatherElements", ["s", "i"], ["score"], axis=1),
        node("Gather", ["table", "i"], ["label"]),
        node("Cast", ["i"], ["number"], to=TensorProto.FLOAT),
    ]
    outputs = {"score": "float32", "label": "int64", "number": "float32"}
    score, label, number = run(model(nodes, {"x": ("n", 4)}, outputs, {"table": table}), x=TIES)
    s = np.exp(TIES.astype(np.float64))
    s /= s.sum(1, keepdims=True)
    np.testing.assert_allclose(score[:, 0], s.max(1), rtol=1e-6)
    assert np.array_equal(label, table[TIES.argmax(1)[:, None]])
    assert np.array_equal(number, TIES.argmax(1)[:, None].astype(np.float32))


def test_elements_at_places_that_are_given_or_known(model):
    x, places = draw(3, 4, 5), np.array([[0, -1], [2, 1]])
    (got,) = run(model([node("Gather", ["x", "i"], ["y"], axis=1)], {"x": x.shape, "i": ((2, 2), "int64")}, ["y"]),
                 x=x, i=places)  # fmt: skip
    assert np.array_equal(got, x[:, places])
    along = np.array([[[3, 0, -4, 1]], [[0, 1, 2, 3]]])
    for known in (False, True):
        inputs, weights = ({"x": x.shape}, {"i": along}) if known else ({"x": x.shape, "i": (along.shape, "int64")}, {})
        content = model([node("GatherElements", ["x", "i"], ["y"], axis=1)], inputs, ["y"], weights)
        (got,) = run(content, x=x, **({} if known else {"i": along}))
        assert np.array_equal(got, np.take_along_axis(x[:2, :, :4], along, 1))


def test_places_beyond_an_axis_mean_its_ends(model):
    """Those that the network is given while it runs; nothing else is read."""
    content = model([node("Gather", ["x", "i"], ["y"])], {"x": (3,), "i": ((4,), "int64")}, ["y"])
    x = np.array([1, 2, 3], np.float32)
    assert run(content, x=x, i=ints(-(2**62), -4, 3, 2**62))[0].tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("opset, axis", [(13, -1), (13, 1), (11, 1)])
def test_one_at_the_largest(opset, axis, model):
    x = np.stack([TIES, -TIES])
    (got,) = run(model([node("Hardmax", ["x"], ["y"], axis=axis)], {"x": x.shape}, ["y"], opset=opset), x=x)
    rows = x if opset == 13 else x.reshape(2, -1)
    wanted = np.zeros_like(rows)
    np.put_along_axis(wanted, rows.argmax(axis, keepdims=True), 1, axis)
    assert np.array_equal(got, wanted.reshape(x.shape))


@pytest.mark.parametrize(
    "nodes, text",
    [
        ([node("TopK", ["x", "k"], ["y", "i"], "t", axis=1)], "TopK 't': k must be 1 to 4"),
        ([node("TopK", ["x", "two"], ["y", "i"], "t")], "TopK 't': k must be at most 1 integers, got 2"),
        ([node("ArgMax", ["x"], ["y"], "a", axis=2)], "axis 2 is not one of the 2 axes"),
        ([node("GatherElements", ["x", "two"], ["y"], "g")], "must have as many axes as its input"),
        ([node("GatherElements", ["x", "far"], ["y"], "g")], "its indices are not all inside axis 0 of shape"),
    ],
)
def test_what_breaks_a_rule_is_one_error(nodes, text, model):
    weights = {"k": ints(5), "two": ints(1, 2), "far": np.array([[0, 1, 2, 3]])}
    with pytest.raises(OnnxError, match=text):
        import_graph(read_model(model(nodes, {"x": (3, 4)}, ["y"], weights)), {"x": (3, 4)})
