"""Operators in the forms that they had before opset 7, against what the specification of that time says of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import draw, node

import normengine as ne
from normengine.onnx import OnnxError

SHAPE = (2, 3, 4, 5)
RNG = np.random.default_rng(0)


def old_model(nodes, opset, inputs, weights=None, dtype="float32", ir_version=3) -> bytes:
    """A file of the time, whose weights are inputs as well."""
    weights = weights or {}
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    ports += [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype), np.shape(a))
        for name, a in weights.items()
    ]
    output = helper.make_tensor_value_info("y", number, None)
    stored = [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()]
    graph = helper.make_graph(nodes, "old", ports, [output], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)] if ir_version > 2 else [])
    model.ir_version = ir_version
    if ir_version < 3:
        del model.opset_import[:]
    return model.SerializeToString()


def run(content, **feeds):
    return ne.InferenceSession(content).run(None, feeds)[0]


OPERATORS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


@pytest.mark.parametrize("opset", [1, 6])
@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize(
    "shape, axis, aligned",
    [
        ((3,), 1, (3, 1, 1)),
        ((3, 4), 1, (3, 4, 1)),
        ((2,), 0, (2, 1, 1, 1)),
        ((4, 5), 2, (4, 5)),
        ((5,), -1, (5,)),
        ((4,), -2, (4, 1)),
        ((4, 5), None, (4, 5)),
        ((), None, ()),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_the_second_operand_is_aligned_at_an_axis(op_type, opset, shape, axis, aligned, known):
    x, b = draw(*SHAPE), np.abs(draw(*shape)) + np.float32(0.5)
    axes = {} if axis is None else {"axis": axis}
    nodes = [node(op_type, ["x", "b"], ["y"], "n", broadcast=1, **axes)]
    want = OPERATORS[op_type](x.astype(np.float64), b.reshape(aligned))
    if known:
        found = run(old_model(nodes, opset, {"x": SHAPE}, {"b": b}), x=x)
    else:
        found = run(old_model(nodes, opset, {"x": SHAPE, "b": shape}), x=x, b=b)
    assert np.abs(found - want).max() < 1e-5


def test_an_axis_where_the_operand_does_not_fit_is_refused():
    content = old_model([node("Add", ["x", "b"], ["y"], "n", broadcast=1, axis=3)], 6, {"x": SHAPE}, {"b": draw(3, 4)})
    with pytest.raises(
        OnnxError, match=r"Add 'n': axis 3 does not place an operand of shape \(3, 4\) among the axes of"
    ):
        ne.InferenceSession(content)


def test_slopes_in_a_row_are_of_channels():
    x, slopes = draw(*SHAPE), np.array([0.1, 0.5, -2], np.float32)
    content = old_model([node("PRelu", ["x", "s"], ["y"])], 6, {"x": SHAPE}, {"s": slopes})
    assert np.allclose(run(content, x=x), np.where(x > 0, x, x * slopes[:, None, None]))
    content = old_model([node("PRelu", ["x", "s"], ["y"])], 6, {"x": SHAPE}, {"s": slopes[:1]})
    assert np.allclose(run(content, x=x), np.where(x > 0, x, x * slopes[0]))


def test_attributes_that_became_inputs_or_got_other_names():
    x = draw(*SHAPE)
    nodes = [
        node("Reshape", ["x"], ["a"], shape=[0, -1], consumed_inputs=[0]),
        node("Concat", ["a", "a"], ["b"]),
        node("Pad", ["b"], ["c"], paddings=[0, 1, 0, 2], value=3.0),
        node("Cast", ["c"], ["y"], to="FLOAT"),
    ]
    flat = x.reshape(2, -1)
    want = np.pad(np.concatenate([flat, flat], 1), [(0, 0), (1, 2)], constant_values=3)
    assert np.array_equal(run(old_model(nodes, 1, {"x": SHAPE}), x=x), want)


def test_known_arrays_in_old_forms():
    """Shapes and alignment of what is computed while the file is read."""
    w, b = draw(6, 4), draw(3)
    nodes = [
        node("Reshape", ["w"], ["a"], shape=[2, 3, -1]),
        node("Mul", ["a", "b"], ["c"], broadcast=1, axis=1),
        node("Add", ["x", "c"], ["y"]),
    ]
    x = draw(2, 3, 4)
    content = old_model(nodes, 4, {"x": (2, 3, 4)}, {"w": w, "b": b})
    assert np.allclose(run(content, x=x), x + w.reshape(2, 3, 4) * b[:, None], atol=1e-6)


def test_a_cast_names_types_in_words():
    x = np.array([[1.7, -2.2]], np.float32)
    found = run(old_model([node("Cast", ["x"], ["y"], to="INT64")], 1, {"x": (1, 2)}, dtype="int64"), x=x)
    assert found.tolist() == [[1, -2]]
    with pytest.raises(OnnxError, match="Cast 'c': attribute 'to' must be an element type, got 'NUMBER'"):
        ne.InferenceSession(old_model([node("Cast", ["x"], ["y"], "c", to="number")], 1, {"x": (1, 2)}))


def test_constants_of_selu_were_shorter():
    x = draw(3, 4)
    want = 1.0507 * np.where(x > 0, x, 1.6732 * np.expm1(x.astype(np.float64)))
    assert np.abs(run(old_model([node("Selu", ["x"], ["y"])], 1, {"x": (3, 4)}), x=x) - want).max() < 1e-6


@pytest.mark.parametrize("opset", [1, 6])
@pytest.mark.parametrize("is_test", [1, None])
def test_batch_norms_and_dropout_of_a_trained_network(opset, is_test):
    """A file that does not say that it is a test has one output of its batch norm, and is run."""
    x, (scale, bias, mean), var = draw(*SHAPE), draw(3, 3), np.abs(draw(3)) + np.float32(0.1)
    said = {} if is_test is None else {"is_test": is_test}
    old = {"consumed_inputs": [0, 0, 0, 1, 1]} if opset == 1 else {}
    outputs = ["a", "m", "v", "sm", "sv"] if is_test else ["a"]
    nodes = [
        node("BatchNormalization", ["x", "s", "b", "m0", "v0"], outputs, "bn", epsilon=1e-3, **said, **old),
        node("Dropout", ["a"], ["y"], ratio=0.4, **said),
    ]
    content = old_model(nodes, opset, {"x": SHAPE}, {"s": scale, "b": bias, "m0": mean, "v0": var})
    s, b, m, v = (a.astype(np.float64)[:, None, None] for a in (scale, bias, mean, var))
    assert np.abs(run(content, x=x) - ((x - m) / np.sqrt(v + 1e-3) * s + b)).max() < 1e-5


def test_a_batch_norm_that_trains_is_refused():
    nodes = [node("BatchNormalization", ["x", *"sbmv"], ["y", "m1", "v1", "sm", "sv"], "bn")]
    content = old_model(nodes, 6, {"x": SHAPE}, dict.fromkeys("sbmv", draw(3)))
    with pytest.raises(OnnxError, match="BatchNormalization 'bn': is in training mode"):
        ne.InferenceSession(content)


def test_a_batch_norm_of_each_pixel():
    x, (scale, bias, mean), var = draw(*SHAPE), draw(3, 3, 4, 5), np.abs(draw(3, 4, 5)) + np.float32(0.1)
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], spatial=0, is_test=1)]
    content = old_model(nodes, 6, {"x": SHAPE}, {"s": scale, "b": bias, "m": mean, "v": var})
    want = (x.astype(np.float64) - mean) / np.sqrt(var.astype(np.float64) + 1e-5) * scale + bias
    assert np.abs(run(content, x=x) - want).max() < 1e-4


def test_a_softmax_takes_all_axes_behind_its_own_together():
    x = draw(*SHAPE)
    e = np.exp(x.astype(np.float64)).reshape(2, -1)
    want = (e / e.sum(1, keepdims=True)).reshape(SHAPE)
    assert np.abs(run(old_model([node("Softmax", ["x"], ["y"])], 1, {"x": SHAPE}), x=x) - want).max() < 1e-6


def test_a_file_from_before_opsets():
    x = draw(3, 4)
    content = old_model([node("Relu", ["x"], ["y"], consumed_inputs=[0])], 1, {"x": (3, 4)}, ir_version=2)
    assert onnx.load_model_from_string(content).opset_import == []
    assert np.array_equal(run(content, x=x), np.maximum(x, 0))
