"""Elements by index: gathered and scattered as ONNX's reference evaluator does, of known and of computed arrays."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import RNG, declared, draw, ints, node

import normengine as ne
from normengine.onnx import OnnxError
from normengine.onnx.importer import import_graph
from normengine.onnx.parse import read_model

X = (3, 4, 5)
TWICE = np.array([[0, 1], [2, 0], [0, 1], [0, -3]])
COLUMNS = RNG.integers(-4, 4, (3, 6, 5))
SOME = RNG.integers(-3, 3, (2, 3, 5))
ROWS = {
    "GatherElements": ("GatherElements", (COLUMNS,), {"axis": 1}),
    "GatherND": ("GatherND", (TWICE,), {}),
    "GatherND of all axes": ("GatherND", (ints(2, -1, 3)[np.newaxis],), {}),
    "GatherND of batches": ("GatherND", (RNG.integers(0, 4, (3, 2, 1)),), {"batch_dims": 1}),
    "ScatterElements": ("ScatterElements", (np.argsort(draw(3, 4, 5), axis=1), draw(3, 4, 5)), {"axis": 1}),
    "ScatterND": ("ScatterND", (ints([2], [0]), draw(2, 4, 5)), {}),
    **{f"ScatterND {r}": ("ScatterND", (TWICE, draw(4, 5)), {"reduction": r}) for r in ("add", "mul", "max", "min")},
    **{
        f"ScatterElements {r}": ("ScatterElements", (COLUMNS, draw(3, 6, 5)), {"axis": 1, "reduction": r})
        for r in ("add", "mul", "max", "min")
    },
    "Compress": ("Compress", (np.array([True, False, True]),), {"axis": 1}),
    "Compress of all": ("Compress", (RNG.random(60) < 0.3,), {}),
    "Gather of many": ("Gather", (RNG.integers(-4, 4, (9, 7)),), {"axis": 1}),
    "EyeLike": ("EyeLike", (), {"k": -1, "dtype": 1}),
}


def with_weights(op_type, arrays, attributes, extra=()):
    names = [f"w{i}" for i in range(len(arrays))]
    return [*extra, node(op_type, ["x", *names], ["y"], "it", **attributes)], dict(zip(names, arrays, strict=True))


@pytest.mark.parametrize("name", ROWS)
def test_an_operator_gives_what_the_reference_gives(name, model, imported, reference):
    op_type, arrays, attributes = ROWS[name]
    nodes, weights = with_weights(op_type, arrays, attributes)
    x = draw(*(X[1:] if op_type == "EyeLike" else X))
    content = model(nodes, {"x": x.shape}, ["y"], weights, 18)
    (want,) = reference(content, {"x": x})
    for (got,) in (imported(content, {"x": x}), ne.InferenceSession(content).run(None, {"x": x})):
        assert got.shape == want.shape
        assert np.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ROWS if "Compress" not in name])
def test_known_arrays_are_computed_while_reading(name, model, imported, reference):
    op_type, arrays, attributes = ROWS[name]
    nodes, weights = with_weights(op_type, arrays, attributes)
    weights["x"] = draw(*(X[1:] if op_type == "EyeLike" else X))
    nodes.append(node("Add", ["y", "z"], ["sum"]))
    content = model(nodes, {"z": (1,)}, ["sum"], weights, 18)
    feeds = {"z": np.zeros(1, np.float32)}
    if op_type != "ScatterND" or "reduction" not in attributes:
        kinds = [n.op for n in import_graph(read_model(content), {"z": (1,)}).nodes]
        assert set(kinds) <= {"add", "gather", "concat", "reshape"}
    assert np.allclose(imported(content, feeds)[0], reference(content, feeds)[0], atol=1e-6)


def test_indices_may_leave_out_the_end_of_other_axes(model, imported):
    """As PyTorch's ``gather`` has it."""
    nodes, weights = with_weights("GatherElements", (SOME,), {})
    x = draw(*X)
    (got,) = imported(model(nodes, {"x": X}, ["y"], weights), {"x": x})
    assert np.array_equal(got, x[SOME, np.arange(3)[:, np.newaxis], np.arange(5)])


def test_integers_are_gathered_by_slices(model, reference):
    x = RNG.integers(-(2**40), 2**40, (4, 6))
    nodes, weights = with_weights("GatherElements", (RNG.integers(0, 4, (2, 6)),), {})
    content = declared(model(nodes, {"x": (x.shape, "int64")}, ["y"], weights), ["int64"])
    assert np.array_equal(ne.InferenceSession(content).run(None, {"x": x})[0], reference(content, {"x": x})[0])


def test_a_computed_place_that_there_is_not_is_the_end_of_the_axis(model):
    x, places = draw(4, 3), np.array([3, -4, 4, -5])
    content = model([node("Gather", ["x", "i"], ["y"])], {"x": x.shape, "i": (places.shape, "int64")}, ["y"])
    (got,) = ne.InferenceSession(content).run(None, {"x": x, "i": places})
    np.testing.assert_array_equal(got, x[[3, 0, 3, 0]])


def test_places_of_what_is_not_zero_are_known(model, imported):
    nodes = [node("NonZero", ["c"], ["p"]), node("Gather", ["x", "p"], ["y"], axis=0)]
    content = model(nodes, {"x": (4,)}, ["y"], {"c": np.array([0, 2, 0, -1], np.float32)})
    x = draw(4)
    assert np.array_equal(imported(content, {"x": x})[0], x[[[1, 3]]])


@pytest.mark.parametrize(
    ("op_type", "arrays", "attributes", "message"),
    [
        (
            "GatherElements",
            (COLUMNS,),
            {"axis": 2},
            r"indices of shape \(3, 6, 5\) must have shape \(3, 4, 5\) but for axis 2",
        ),
        ("GatherElements", (COLUMNS + 9,), {"axis": 1}, "are not all inside axis 1 of shape"),
        ("GatherND", (np.zeros((2, 4), int),), {}, r"indices of shape \(2, 4\) do not fit shape \(3, 4, 5\)"),
        ("GatherND", (np.array([[3]]),), {}, "are not all inside axis 0 of shape"),
        ("GatherND", (TWICE,), {"batch_dims": 1}, r"do not fit shape \(3, 4, 5\) behind 1 axes"),
        ("GatherND", (TWICE,), {"batch_dims": -1}, "do not fit shape .* behind -1 axes"),
        ("ScatterND", (TWICE, draw(4, 4)), {}, r"updates of shape \(4, 4\) must have the shape \(4, 5\)"),
        (
            "ScatterND",
            (TWICE, draw(4, 5)),
            {"reduction": "mean"},
            "attribute 'reduction' must be none, add, mul, max, min",
        ),
        ("ScatterElements", (COLUMNS, draw(3, 5, 5)), {"axis": 1}, "must have the shape of the indices"),
        ("Compress", (np.zeros(3, bool),), {"axis": 1}, r"indices \[\] are not all inside axis 1"),
        ("Compress", (np.ones(5, bool),), {"axis": 1}, "are not all inside axis 1 of shape"),
        ("EyeLike", (), {}, r"the input must have 2 axes, got shape \(3, 4, 5\)"),
    ],
)
def test_errors(op_type, arrays, attributes, message, model):
    nodes, weights = with_weights(op_type, arrays, attributes)
    content = model(nodes, {"x": X}, ["y"], weights, 18)
    with pytest.raises(OnnxError, match=f"{op_type} 'it': .*{message}"):
        ne.InferenceSession(content)
