"""Batches that a session runs in parts: only where the parts make the whole."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

import normengine as ne
from normengine.onnx import importer
from normengine.onnx.reference import evaluate_file
from normengine.runtime import microbatches

RNG = np.random.default_rng(0)
node = helper.make_node


def model(nodes, shape, weights=None):
    def port(name, extents):
        return helper.make_tensor_value_info(name, 1, extents)

    made = [numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()]
    graph = helper.make_graph(nodes, "test", [port("x", shape)], [port("y", None)], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def is_cut(session):
    return isinstance(list(session.programs.values())[-1], microbatches.MicrobatchedProgram)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("batch", ["N", 6], ids=["open", "declared"])
@pytest.mark.parametrize("shape", [(0, -1), (6, -1), (-1, 12)], ids=str)
def test_a_batch_is_cut_where_the_parts_make_the_whole(shape, batch, monkeypatch):
    """A file may have one batch among its own numbers, here in a shape."""
    nodes = [node("Relu", ["x"], ["r"]), node("Reshape", ["r", "shape"], ["y"])]
    x = draw(6, 3, 2, 2)
    monkeypatch.setattr(microbatches, "PART_BYTES", 200)
    session = ne.InferenceSession(model(nodes, (batch, 3, 2, 2), {"shape": np.array(shape, np.int64)}))
    (y,) = session.run(None, {"x": x})
    assert np.array_equal(y, np.maximum(x, 0).reshape(6, 12))
    assert is_cut(session) == (batch == "N" and shape[0] != 6)


def test_the_graph_of_a_part_is_imported_once(monkeypatch):
    monkeypatch.setattr(microbatches, "PART_BYTES", 200)
    imported = []
    graph_for = importer.import_graph
    monkeypatch.setattr(
        importer, "import_graph", lambda model, at, known: imported.append(at["x"]) or graph_for(model, at, known)
    )
    session = ne.InferenceSession(model([node("Relu", ["x"], ["y"])], ("N", 3, 2, 2)))
    imported.clear()
    session.run(None, {"x": draw(6, 3, 2, 2)})
    assert is_cut(session) and imported[0] == (6, 3, 2, 2)
    assert len(imported) == len(set(imported)) > 1


COUNT = [node("Shape", ["x"], ["s"], end=1), node("Cast", ["s"], ["n"], to=1)]
ARANGE = [
    node("Shape", ["x"], ["s"], end=1), node("Squeeze", ["s"], ["n"]), node("Range", ["zero", "n", "one"], ["i"]),
    node("Cast", ["i"], ["f"], to=1), node("Reshape", ["f", "column"], ["c"]),
]  # fmt: skip
NUMBERS = {"zero": np.array(0), "one": np.array(1), "column": np.array([-1, 1, 1, 1]), "first": np.array([0])}
ALONG_THE_BATCH = {
    "product with the size": [*COUNT, node("Mul", ["x", "n"], ["y"])],
    "quotient by the size": [node("Relu", ["x"], ["r"]), *COUNT, node("Div", ["r", "n"], ["y"])],
    "size as a bound": [*COUNT, node("Reshape", ["n", "nothing"], ["m"]), node("Clip", ["x", "", "m"], ["y"])],
    "size as padding": [
        node("Shape", ["x"], ["s"], end=1), node("Concat", ["zeros", "s"], ["p"], axis=0),
        node("Pad", ["x", "p"], ["y"])],
    "place in the batch": [*ARANGE, node("Add", ["x", "c"], ["y"])],
    "size that a shape is divided by": [
        node("Shape", ["x"], ["s"], end=1), node("Div", ["twelve", "s"], ["q"]),
        node("Concat", ["zero0", "q", "minus"], ["t"], axis=0), node("Reshape", ["x", "t"], ["y"])],
    "sum": [node("ReduceSum", ["x", "first"], ["t"]), node("Sub", ["x", "t"], ["y"])],
    "mean": [node("ReduceMean", ["x"], ["t"], axes=[0]), node("Sub", ["x", "t"], ["y"])],
    "maximum": [node("ReduceMax", ["x"], ["t"], axes=[0]), node("Sub", ["x", "t"], ["y"])],
    "softmax": [node("Softmax", ["x"], ["y"], axis=0)],
    "first": [node("Slice", ["x", "first", "one1"], ["f"]), node("Mul", ["x", "f"], ["y"])],
    "turned": [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2, 3]), node("Softmax", ["t"], ["m"], axis=1),
        node("Transpose", ["m"], ["y"], perm=[1, 0, 2, 3])],
    "joined": [
        node("Concat", ["x", "x"], ["d"], axis=0), node("Softmax", ["d"], ["m"], axis=0),
        node("Slice", ["m", "first", "six"], ["y"])],
    "flattened": [node("Reshape", ["x", "minus"], ["f"]), node("Softmax", ["f"], ["m"]), node("Shape", ["x"], ["s"]),
                  node("Reshape", ["m", "s"], ["y"])],
}  # fmt: skip
MORE = {
    "nothing": np.array([], np.int64), "zeros": np.zeros(7, np.int64), "twelve": np.array([12]),
    "minus": np.array([-1]), "zero0": np.array([0]), "one1": np.array([1]), "six": np.array([6]),
}  # fmt: skip


@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize("name", ALONG_THE_BATCH)
def test_what_depends_on_the_batch_has_the_whole_batch(name, part, monkeypatch):
    """Sizes, places, sums and whatever else goes along the batch are those of the batch that was given."""
    x = draw(6, 3, 2, 2)
    monkeypatch.setattr(microbatches, "PART_BYTES", part * 2 * x[0].nbytes)
    content = model(ALONG_THE_BATCH[name], ("N", 3, 2, 2), NUMBERS | MORE)
    (want,) = evaluate_file(content, {"x": x})
    (got,) = ne.InferenceSession(content).run(None, {"x": x})
    assert np.allclose(got, want, atol=1e-6)


def test_padded_images_are_cut(monkeypatch):
    x = draw(6, 3, 2, 2)
    monkeypatch.setattr(microbatches, "PART_BYTES", 200)
    session = ne.InferenceSession(
        model([node("Pad", ["x", "p"], ["a"]), node("Relu", ["a"], ["y"])], ("N", 3, 2, 2),
              {"p": np.array([0, 0, 1, 0, 0, 0, 0, 2])}))  # fmt: skip
    assert np.array_equal(session(x), np.pad(np.maximum(x, 0), [(0, 0), (0, 0), (1, 0), (0, 2)]))
    assert is_cut(session)


def test_two_large_images():
    """What is told apart above at small sizes, at those where the session cuts by itself."""
    session = ne.InferenceSession(model([*COUNT, node("Mul", ["x", "n"], ["y"])], ("N", 3, 600, 600)))
    assert np.array_equal(session(np.ones((2, 3, 600, 600), np.float32)), np.full((2, 3, 600, 600), 2, np.float32))
