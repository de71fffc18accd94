"""``ne.onnx.inspect``: what it counts, and how it prints."""

from __future__ import annotations

import json

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import draw, node

import normengine as ne
from normengine import nn


@pytest.fixture
def path(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    file = tmp_path / "m.onnx"
    ne.onnx.export(model, file, (3, 8, 8), fold_batchnorm=False)
    return file


def test_what_is_in_a_file(path):
    found = ne.onnx.inspect(path, batch=2)
    assert found.inputs == {"x": "float32 (N, 3, 8, 8)"} and found.outputs == {"y": "float32 (N, 5)"}
    assert found.operators == {"BatchNormalization": 1, "Conv": 1, "Gemm": 1, "Relu": 1, "Reshape": 1}
    assert found.parameters == 4 * 27 + 4 + 4 * 4 + 5 * 144 + 5
    assert 4 * found.parameters < found.weight_bytes < 4 * found.parameters + 500
    assert found.multiply_adds == 2 * (36 * 4 * 27 + 144 * 5)
    assert found.memory_bytes > 4 * 2 * (3 * 64 + 5)
    assert [(norm.batch_norm, norm.into) for norm in found.batch_norms] == [("1", ("0",))]
    assert found.shapes == {"x": (2, 3, 8, 8)} and found.unread == ()
    assert found.opset == 17 and found.producer.startswith("normengine")


def test_memory_and_products_grow_with_the_batch(path):
    few, many = ne.onnx.inspect(path), ne.onnx.inspect(path, batch=64)
    assert few.shapes == {"x": (1, 3, 8, 8)}
    assert many.multiply_adds == 64 * few.multiply_adds
    assert many.memory_bytes > few.memory_bytes + 63 * 4 * (3 * 64 + 5)


def test_as_text_and_as_json(path):
    found = ne.onnx.inspect(path, batch=3)
    lines = str(found).split("\n")
    assert lines[0].startswith(f"{path}: opset 17, made by normengine")
    assert lines[1:3] == ["input   x: float32 (N, 3, 8, 8)", "output  y: float32 (N, 5)"]
    assert lines[3].startswith("853 parameters, 3.") and lines[3].endswith(" KiB of weights")
    assert lines[4].startswith("13,824 multiply-adds and ") and lines[4].endswith(" beside the weights for x 3x3x8x8")
    assert lines[-1] == "1 of 1 batch normalizations fold"
    stored = json.loads(json.dumps(found.as_dict()))
    assert stored["shapes"] == {"x": [3, 3, 8, 8]}
    assert stored["batch_norms"] == [{"batch_norm": "1", "into": ["0"], "reason": ""}]


def test_of_what_is_not_supported(tmp_path):
    nodes = [node("Relu", ["x"], ["h"]), node("Strange", ["h"], ["y"], "odd", domain="some.where")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (None, 2))],
        [helper.make_tensor_value_info("y", TensorProto.INT8, None)], [numpy_helper.from_array(draw(2, 2), "unused")],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), path)
    found = ne.onnx.inspect(path)
    assert found.operators == {"Relu": 1, "some.where.Strange": 1} and found.unread == ("odd",)
    assert found.inputs == {"x": "float32 (?, 2)"} and found.outputs == {"y": "int8 of any shape"}
    assert str(found).endswith("not supported: odd")


@pytest.mark.parametrize("batch", [0, -1, 1.5, "2"])
def test_batches_that_are_none(path, batch):
    with pytest.raises(ValueError, match="batch must be a positive integer"):
        ne.onnx.inspect(path, batch=batch)
