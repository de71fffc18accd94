"""Arrays of every element type, as they stand in a file, and what is said of types that run otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from normengine.onnx import OnnxError
from normengine.onnx.parse import read_model

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def proto(model):
    """A model with the weight ``w``, to be given in another type."""
    content = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 3)}, ["y"], {"w": WEIGHT})
    return onnx.load_model_from_string(content)


def refused(proto, text):
    with pytest.raises(OnnxError, match=text):
        read_model(proto.SerializeToString())


def bfloat16(array, name):
    """The upper halves of float32 numbers, with the bits that are lost set to zero."""
    bits = (np.asarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    data_type = TensorProto.BFLOAT16
    return TensorProto(name=name, data_type=data_type, dims=array.shape, raw_data=bits.astype("<u2").tobytes())


def test_16_bit_floats_are_read_as_32_bit_ones(proto):
    extremes = np.array([[1.5, -0.0, np.inf, 65504], [2**-24, -3, np.nan, 0.1], [7, 8, 9, -(2**-14)]], np.float16)
    for tensor in (
        numpy_helper.from_array(extremes, "w"),
        helper.make_tensor("w", TensorProto.FLOAT16, [3, 4], extremes.reshape(-1)),
    ):
        proto.graph.initializer[0].CopyFrom(tensor)
        found = read_model(proto.SerializeToString()).weights["w"]
        assert found.dtype == np.float32
        assert np.array_equal(found, extremes.astype(np.float32), equal_nan=True)
    proto.graph.initializer[0].CopyFrom(bfloat16(WEIGHT, "w"))
    found = read_model(proto.SerializeToString()).weights["w"]
    assert found.dtype == np.float32
    assert np.abs(found - WEIGHT).max() <= 2**-7 * np.abs(WEIGHT).max()
    assert not (found.view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "uint64", "int32", "uint8", "uint32", "float64"])
def test_other_types_are_read_as_they_are(dtype, proto):
    array = (WEIGHT * 50).clip(0 if dtype[0] == "u" else -128, 127).astype(dtype)
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in (
        numpy_helper.from_array(array, "w"),
        helper.make_tensor("w", number, [3, 4], array.reshape(-1).tolist()),
    ):
        proto.graph.initializer[0].CopyFrom(tensor)
        found = read_model(proto.SerializeToString()).weights["w"]
        assert found.dtype == dtype
        assert np.array_equal(found, array)


def test_element_types_that_are_refused(proto):
    proto.graph.initializer[0].data_type = TensorProto.FLOAT8E5M2
    refused(proto, "weight 'w' is FLOAT8E5M2, which is not supported; store it as FLOAT")
    proto.graph.initializer[0].data_type = 99
    refused(proto, "weight 'w' is of the unknown element type 99")
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT, "w"))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT4
    refused(proto, "input 'x' is INT4, which is not supported")


def test_what_runs_otherwise_than_the_file_says(proto):
    assert read_model(proto.SerializeToString()).notes == ()
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT.astype(np.float16), "w"))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    proto.graph.node.append(helper.make_node("QuantizeLinear", ["y", "w"], ["z"]))
    proto.graph.output[0].name = "z"
    assert read_model(proto.SerializeToString()).notes == (
        "float16 is computed in float32: weights and inputs are converted, outputs come back as float16",
        "float64 is computed in float32: weights and inputs are converted, outputs come back as float64",
        "quantized operators are computed in float32, rounded and saturated as the file says",
    )
