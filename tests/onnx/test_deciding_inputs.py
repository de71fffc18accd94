"""Networks that depend on the values of small inputs: a shape to reshape to, axes, the limits of a clip."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from onnx_nodes import draw, ints, node

import normengine as ne
from normengine.onnx import OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.node import UnknownInputError
from normengine.onnx.parse import read_model

RESHAPE = [node("Relu", ["x"], ["a"]), node("Reshape", ["a", "shape"], ["y"], "turn")]
SHAPES = {"x": (2, 6), "shape": ((2,), "int64")}


def test_a_shape_among_the_inputs(model):
    session = ne.InferenceSession(model(RESHAPE, SHAPES, ["y"]))
    x = draw(2, 6)
    for shape in ((3, 4), (4, 3), (3, 4), (-1, 1)):
        (y,) = session.run(None, {"x": x, "shape": ints(*shape)})
        assert np.array_equal(y, np.maximum(x, 0).reshape(shape))
    assert len(session.programs) == 3
    with pytest.raises(OnnxError, match=r"Reshape 'turn': cannot reshape \(2, 6\) to \(5, -1\)"):
        session.run(None, {"x": x, "shape": ints(5, -1)})
    (y,) = session.run(None, {"x": x, "shape": ints(3, 4)})
    assert y.shape == (3, 4)


def test_a_copy_of_the_session_does_the_same(model):
    session = pickle.loads(pickle.dumps(ne.InferenceSession(model(RESHAPE, SHAPES, ["y"]))))
    (y,) = session.run(None, {"x": draw(2, 6), "shape": ints(12, 1)})
    assert y.shape == (12, 1)


def test_what_is_computed_from_such_an_input(model):
    """Several at once, of other types than int64 too, which come to light one after the other."""
    nodes = [
        node("Cast", ["n"], ["long"], to=7),
        node("Concat", ["long", "one"], ["shape"], axis=0),
        node("Clip", ["x", "low", "high"], ["c"]),
        node("Reshape", ["c", "shape"], ["r"]),
        node("ReduceSum", ["r", "axes"], ["s"], keepdims=0),
        node("Range", ["zero", "size", "step"], ["span"]),
        node("Add", ["s", "span"], ["y"]),
    ]
    inputs = {
        "x": (3, 4), "n": ((1,), "int32"), "low": ((), "float32"), "high": ((), "float32"), "axes": ((1,), "int64"),
        "size": ((), "float32")}  # fmt: skip
    weights = {"one": ints(-1), "zero": np.float32(0), "step": np.float32(1)}
    session = ne.InferenceSession(model(nodes, inputs, ["y"], weights))
    x = draw(3, 4)
    for n, low, high, axis in ((2, -0.5, 0.5, 0), (6, -0.1, 2, 1)):
        feeds = {
            "x": x, "n": np.array([n], np.int32), "low": np.float32(low), "high": np.float32(high),
            "axes": ints(axis), "size": np.float32(6)}  # fmt: skip
        want = np.clip(x, low, high).reshape(n, -1).sum(axis) + np.arange(6)
        assert np.abs(session.run(None, feeds)[0] - want).max() < 1e-5


def test_no_axes_at_all(model):
    nodes = [node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    session = ne.InferenceSession(model(nodes, {"x": (2, 3), "axes": ((0,), "int64")}, ["y"]))
    x = draw(2, 3)
    (y,) = session.run(None, {"x": x, "axes": ints()})
    assert np.allclose(y, x.sum())


def test_an_empty_array_of_which_the_type_alone_counts(model):
    session = ne.InferenceSession(
        model([node("CastLike", ["x", "t"], ["y"])], {"x": ((2,), "int64"), "t": (0,)}, ["y"])
    )
    (y,) = session.run(None, {"x": ints(3, -4), "t": np.empty(0, np.float32)})
    assert y.tolist() == [3, -4]
    session = ne.InferenceSession(model([node("Neg", ["x"], ["y"])], {"x": ("N",)}, ["y"]))
    with pytest.raises(ValueError, match="input 'x': the batch is empty"):
        session(np.empty(0, np.float32))


def test_a_batch_that_is_open_and_an_input_that_decides(model):
    session = ne.InferenceSession(model(RESHAPE, {"x": ("N", 6), "shape": ((2,), "int64")}, ["y"]))
    for batch in (1, 7, 200):
        (y,) = session.run(None, {"x": draw(batch, 6), "shape": ints(-1, 2)})
        assert y.shape == (3 * batch, 2)


def test_large_inputs_decide_nothing(model):
    content = model([node("Reshape", ["x", "s"], ["y"], "turn")], {"x": (2, 6), "s": ((1025,), "int64")}, ["y"])
    text = "Reshape 'turn': the shape must be known before the network runs, but 's' is computed by it"
    with pytest.raises(OnnxError, match=text):
        ne.InferenceSession(content)


def test_the_importer_names_the_inputs(model):
    found = read_model(model(RESHAPE, SHAPES, ["y"]))
    with pytest.raises(UnknownInputError) as error:
        import_graph(found, {"x": (2, 6), "shape": (2,)})
    assert error.value.names == {"shape"}
    graph = import_graph(found, {"x": (2, 6), "shape": (2,)}, {"shape": ints(3, 4)})
    assert [value.name for value in graph.inputs] == ["x"]
    assert graph.outputs[0].shape == (3, 4)


def test_a_network_of_such_inputs_alone(model):
    nodes = [node("ConstantOfShape", ["s"], ["y"])]
    session = ne.InferenceSession(model(nodes, {"s": ((2,), "int64")}, ["y"]))
    assert np.array_equal(session(ints(2, 3)), np.zeros((2, 3)))
