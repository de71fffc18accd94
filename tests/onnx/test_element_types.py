"""Sessions of files in other element types than float32 and int64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto
from onnx_nodes import draw, ints, node, typed_model

import normengine as ne
from normengine.onnx import OnnxError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float64], ids=str)
def test_other_floats_are_computed_in_float32(dtype):
    """Not in the file's own type: only inputs, weights and outputs are rounded to it."""
    dtype = np.dtype(dtype)
    x, w, b = (draw(*shape).astype(dtype) for shape in ((5, 300), (300, 7), (7,)))
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["c"]), node("Relu", ["c"], ["y"])]
    session = ne.InferenceSession(typed_model(nodes, {"x": (dtype, ("N", 300))}, {"y": dtype}, {"w": w, "b": b}))
    (y,) = session.run(None, {"x": x})
    x, w, b = (a.astype(np.float64) for a in (x, w, b))
    want = np.maximum(x @ w + b, 0)
    assert y.dtype == dtype
    scale = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 1e-5}[dtype.name]
    assert np.abs(y.astype(np.float64) - want).max() <= scale * np.abs(want).max()
    assert session.get_inputs()[0].type == f"tensor({'double' if dtype == np.float64 else dtype.name})"
    (note,) = session.notes
    assert (
        note
        == f"{dtype.name} is computed in float32: weights and inputs are converted, outputs come back as " + dtype.name
    )


def test_arrays_of_float32_need_not_be_rounded_first():
    session = ne.InferenceSession(
        typed_model([node("Neg", ["x"], ["y"])], {"x": (np.float16, (1,))}, {"y": np.float32})
    )
    x = np.array([1 / 3], np.float32)
    assert session.run(None, {"x": x})[0] == -x


def test_what_float16_cannot_hold_comes_back_as_infinite():
    nodes = [node("Mul", ["x", "x"], ["y"])]
    session = ne.InferenceSession(typed_model(nodes, {"x": (np.float16, (2,))}, {"y": np.float16}))
    assert session(np.array([300, 2], np.float16)).tolist() == [np.inf, 4]


INTEGERS = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_moved_and_added_in_every_type(dtype):
    most = min(np.iinfo(dtype).max, 2**40)
    x = np.array([[0, 1, most - 3], [5, most, 7]], dtype)
    nodes = [
        node("Transpose", ["x"], ["t"]),
        node("Concat", ["t", "w"], ["c"], axis=0),
        node("Add", ["c", "one"], ["y"]),
        node("Cast", ["y"], ["f"], to=TensorProto.FLOAT),
    ]
    weights = {"w": np.array([[2, 3]], dtype), "one": np.array(1, dtype)}
    session = ne.InferenceSession(typed_model(nodes[:3], {"x": (dtype, (2, 3))}, {"y": dtype}, weights))
    y = session(x)
    with np.errstate(over="ignore"):
        want = np.concatenate([x.T, weights["w"]]) + weights["one"]
    assert y.dtype == dtype
    exact = want > 0  # beyond the largest number the sum wraps around, but for the widest types
    assert np.array_equal(y[exact], want[exact])
    assert session.get_outputs()[0].type == f"tensor({dtype})"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_pixels_become_floats(dtype):
    x = np.array([[0, 1, 100], [np.iinfo(dtype).min, np.iinfo(dtype).max, 7]], dtype)
    nodes = [node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), node("Mul", ["f", "s"], ["y"])]
    content = typed_model(nodes, {"x": (dtype, ("N", 3))}, {"y": np.float32}, {"s": np.float32(0.5)})
    assert np.array_equal(ne.InferenceSession(content)(x), x.astype(np.float32) * np.float32(0.5))


def test_a_cast_like_another_array():
    nodes = [node("CastLike", ["x", "w"], ["i"]), node("CastLike", ["i", "x"], ["y"])]
    content = typed_model(nodes, {"x": (np.float32, (3,))}, {"y": np.float32}, {"w": ints(0)})
    assert ne.InferenceSession(content)(np.array([1.9, -1.9, 3], np.float32)).tolist() == [1, -1, 3]


def test_integers_that_do_not_fit_are_refused():
    session = ne.InferenceSession(
        typed_model([node("Neg", ["f"], ["y"])], {"f": (np.float32, (1,))}, {"y": np.float32})
    )
    with pytest.raises(ValueError, match="input 'f' must be float32, got int64"):
        session(np.array([1]))
    nodes = [node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    session = ne.InferenceSession(typed_model(nodes, {"x": (np.int8, (1,))}, {"y": np.float32}))
    assert session(np.array([-128])) == -128
    with pytest.raises(ValueError, match="input 'x' must hold numbers that int8 has, got 128"):
        session(np.array([128]))
    with pytest.raises(ValueError, match="input 'x' must be int8, got float32"):
        session(np.array([1.0], np.float32))


def test_types_that_are_not_read_are_refused():
    for dtype in (ml_dtypes.float8_e4m3fn, ml_dtypes.int4):
        content = typed_model([node("Identity", ["x"], ["y"])], {"x": (dtype, (1,))}, {"y": dtype}, opset=21)
        with pytest.raises(OnnxError, match="input 'x' is (FLOAT8E4M3FN|INT4), which is not supported"):
            ne.InferenceSession(content)
