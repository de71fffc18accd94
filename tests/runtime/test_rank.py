"""Arrays of many axes: computed where NumPy computes them, refused in one sentence where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import normengine as ne
from normengine.graph import MAX_RANK, Spec
from normengine.ops import Builder
from normengine.runtime.program import compile_graph


@pytest.mark.parametrize("rank", [7, 9])
def test_axes_that_cannot_be_merged(rank: int) -> None:
    builder = Builder()
    x = builder.input("x", Spec((2,) * rank))
    turned = builder.add("permute", x, axes=tuple(reversed(range(rank))))
    program = compile_graph(builder.graph([builder.add("sub", turned, x)]))
    array = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    (result,) = program.run({"x": array})
    np.testing.assert_array_equal(result, array.T - array)


def test_as_many_axes_as_there_may_be() -> None:
    builder = Builder()
    x = builder.input("x", Spec((1, 2) * (MAX_RANK // 8) + (1,) * (MAX_RANK - MAX_RANK // 4)))
    turned = builder.add("permute", x, axes=tuple(reversed(range(MAX_RANK))))
    program = compile_graph(builder.graph([builder.add("neg", turned)]))
    array = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    (result,) = program.run({"x": array})
    np.testing.assert_array_equal(result, -array.T)


def network(node: object, shape: tuple[int, ...], **arrays: np.ndarray) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [helper.make_tensor(n, TensorProto.INT64, a.shape, a) for n, a in arrays.items()]
    graph = helper.make_graph([node], "g", [value], [result], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return bytes(model.SerializeToString())


def test_files_that_state_more_axes_than_an_array_has() -> None:
    with pytest.raises(ne.onnx.OnnxError, match="input 'x' has 70 axes, more than the 32 that are read"):
        ne.InferenceSession(network(helper.make_node("Neg", ["x"], ["y"]), (1,) * 70))
    many = network(helper.make_node("Unsqueeze", ["x", "a"], ["y"], name="u"), (2,), a=np.arange(100_000))
    with pytest.raises(ne.onnx.OnnxError, match="Unsqueeze 'u': axes must be at most 64 integers, got 100000"):
        ne.InferenceSession(many)
    with pytest.raises(ne.onnx.OnnxError, match="the shape must be at most 64 integers, got 72"):
        ne.InferenceSession(
            network(helper.make_node("Expand", ["x", "a"], ["y"]), (2, 3), a=np.array([1] * 70 + [-1, 3]))
        )
