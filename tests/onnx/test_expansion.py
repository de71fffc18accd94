"""Operators that no reader is there for, but that ONNX defines by others: its own bodies take their place."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import draw, node

from normengine.onnx import OnnxError
from normengine.onnx.expansion import expansion, is_expandable
from normengine.onnx.importer import import_graph
from normengine.onnx.limits import FileLimits
from normengine.onnx.node import OnnxNode
from normengine.onnx.parse import read_model
from normengine.onnx.table import EVALUATORS, READERS

X = {"x": (2, 4, 3)}

ROWS = {
    "HardSwish": (node("HardSwish", ["x"], ["y"]), {}, 17),
    "Mish": (node("Mish", ["x"], ["y"]), {}, 18),
    "Elu": (node("Elu", ["x"], ["y"], alpha=0.7), {}, 18),
    "Elu, default": (node("Elu", ["x"], ["y"]), {}, 18),
    "Celu": (node("Celu", ["x"], ["y"], alpha=0.7), {}, 17),
    "Selu": (node("Selu", ["x"], ["y"]), {}, 18),
    "LogSoftmax": (node("LogSoftmax", ["x"], ["y"], axis=1), {}, 17),
    "LeakyRelu": (node("LeakyRelu", ["x"], ["y"], alpha=0.3), {}, 17),
    "LayerNormalization": (
        node("LayerNormalization", ["x", "s", "b"], ["y"], axis=2),
        {"s": draw(3), "b": draw(3)},
        17,
    ),
    "Gelu": (node("Gelu", ["x"], ["y"], approximate="tanh"), {}, 20),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_body_computes_what_the_operator_does(row, model, imported, reference, monkeypatch):
    made, weights, opset = ROWS[row]
    content = model([made], X, ["y"], weights, opset)
    feeds = {"x": draw(2, 4, 3)}
    (want,) = reference(content, feeds)
    monkeypatch.delitem(READERS, made.op_type)
    (found,) = imported(content, feeds)
    assert np.abs(found - want).max() < 1e-5


def test_outputs_that_a_reader_does_not_make(model, imported, reference):
    """Mean and inverse deviation of a layer normalization."""
    made = node("LayerNormalization", ["x", "s"], ["y", "m", "d"], axis=-1)
    content = model([made], X, ["y", "m", "d"], {"s": draw(3)})
    feeds = {"x": draw(2, 4, 3)}
    for found, want in zip(imported(content, feeds), reference(content, feeds), strict=True):
        assert found.shape == want.shape
        assert np.abs(found - want).max() < 1e-5


def test_bodies_are_known_by_opset():
    assert is_expandable("CenterCropPad", 18)
    assert not is_expandable("CenterCropPad", 17)
    assert not is_expandable("Conv", 20)
    assert not is_expandable("Strange", 20)


def test_what_has_no_body_is_refused():
    with pytest.raises(OnnxError, match="is not made of other operators"):
        expansion(OnnxNode("Conv", "c", "", ("x", "w"), ("y",), {}), [None, None], 17, FileLimits())


def test_what_onnx_itself_cannot_do_is_an_error_of_the_file():
    node_without_shape = OnnxNode("CenterCropPad", "c", "", ("x", "s"), ("y",), {"axes": ()})
    with pytest.raises(OnnxError, match="cannot be made of other operators"):
        expansion(node_without_shape, [None, None], 18, FileLimits())


def test_what_a_body_needs_and_is_not_there_is_named(model, monkeypatch):
    content = model([node("HardSwish", ["x"], ["y"], "swish")], X, ["y"], {}, 17)
    monkeypatch.delitem(READERS, "HardSwish")
    monkeypatch.delitem(READERS, "HardSigmoid")
    monkeypatch.setattr("normengine.onnx.import_context.is_expandable", lambda op_type, opset: op_type == "HardSwish")
    with pytest.raises(OnnxError, match=r"not supported: HardSigmoid \('swish/.*'\)$"):
        import_graph(read_model(content), X)


def test_operators_of_known_arrays_alone_are_not_expanded(model):
    """A range is a loop in ONNX's body of it."""
    assert "Range" in EVALUATORS
    assert "Range" not in READERS
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Range", ["z", "s", "o"], ["r"], "span")]
    content = model(
        [*nodes, node("Add", ["r", "z"], ["y"])], {"x": (30,)}, ["y"], {"z": np.float32(0), "o": np.float32(1)}
    )
    with pytest.raises(OnnxError, match=r"not supported: Range \('span'\)$"):
        import_graph(read_model(content), {"x": (30,)})
