"""``ne.onnx.fold``: what is written and reported, and what is refused with nothing written."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import draw, node

import normengine as ne
from normengine.folding import FoldReport
from normengine.onnx.node import OnnxError
from normengine.passes.fold_batchnorm import Folding


def network(*shape, scale=1.0, gamma=1.0, name="x"):
    """Two convolutions and two batch norms, the second of which stays; float32 of ``shape``."""
    weights = {"w1": draw(4, 3, 3, 3) * np.float32(scale), "w2": draw(2, 4, 3, 3)}
    for bn in ("a", "b"):
        weights |= {f"{bn}.{i}": np.abs(draw(4)) + np.float32(0.5) for i in range(4)}
    weights["a.0"] *= np.float32(gamma)
    nodes = [
        node("Conv", [name, "w1"], ["h"], "conv1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["h", "a.0", "a.1", "a.2", "a.3"], ["i"], "norm1"),
        node("Relu", ["i"], ["j"], "act"),
        node("BatchNormalization", ["j", "b.0", "b.1", "b.2", "b.3"], ["k"], "norm2"),
        node("Conv", ["k", "w2"], ["y"], "conv2", pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or ("N", 3, "H", "W"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 2, None, None))],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def path(tmp_path):
    given = tmp_path / "given.onnx"
    onnx.save(network(), given)
    return given


STAYED = "its input comes from 'act', neither a convolution nor a linear layer, and 'conv2' after it pads with zeros"
NORMS = (Folding("norm1", ("conv1",)), Folding("norm2", reason=STAYED))


def test_a_folded_file_and_its_report(path, tmp_path):
    out, record = tmp_path / "out.onnx", tmp_path / "report.json"
    report = ne.onnx.fold(path, out, report=record)
    assert isinstance(report, FoldReport) and isinstance(report, ne.onnx.FoldReport)
    assert report.batch_norms == NORMS and report.folded == 1 and report.unread == ()
    assert 0 < report.difference.absolute < 1e-4 and 0 < report.difference.relative < 1e-5
    assert report.measured_on == "random input (x 2x3x64x64)"
    x = draw(3, 3, 9, 7)
    wanted, found = (ReferenceEvaluator(str(file)).run(None, {"x": x})[0] for file in (path, out))
    assert np.abs(wanted - found).max() <= 1e-5 * np.abs(wanted).max()
    stored = json.loads(record.read_text())
    assert stored == report.as_dict()
    assert stored["batch_norms"] == [
        {"batch_norm": "norm1", "into": ["conv1"], "reason": ""},
        {"batch_norm": "norm2", "into": [], "reason": STAYED},
    ]
    assert stored["difference"]["absolute"] == report.difference.absolute


def test_the_report_prints_as_a_table(path, tmp_path):
    report = ne.onnx.fold(path, tmp_path / "out.onnx")
    head, *lines = str(report).split("\n")
    assert head == f"{path} -> {tmp_path / 'out.onnx'}"
    assert lines[1].split("  ") == ["batch normalization", "what became of it"]
    assert lines[3].split() == ["norm1", "folded", "into", "conv1"]
    assert lines[4] == f"norm2                stayed: {STAYED}"
    assert lines[6] == "1 of 2 batch normalizations folded"
    assert lines[7].startswith("largest difference on random input (x 2x3x64x64): ")


def test_a_session_of_the_folded_file_has_less_to_fold(path, tmp_path):
    out = tmp_path / "out.onnx"
    ne.onnx.fold(path, out)
    x = draw(2, 3, 8, 8)
    before, after = ne.InferenceSession(path), ne.InferenceSession(out)
    a, b = before(x), after(x)
    assert [f.batch_norm for f in before.foldings] == ["norm1", "norm2"]
    assert [f.batch_norm for f in after.foldings] == ["norm2"]
    assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()


def test_on_arrays_of_the_user(path, tmp_path):
    report = ne.onnx.fold(path, tmp_path / "out.onnx", inputs={"x": draw(5, 3, 6, 10)})
    assert report.measured_on == "the given input (x 5x3x6x10)"


def test_with_shapes_of_the_user(path, tmp_path):
    report = ne.onnx.fold(path, tmp_path / "out.onnx", shapes={"x": (1, 3, 5, 6)})
    assert report.measured_on == "random input (x 1x3x5x6)"


def test_in_its_own_place(path):
    assert ne.onnx.fold(path, path).folded == 1
    assert ne.onnx.fold(path, path).batch_norms == NORMS[1:]


def test_a_file_without_batch_norms_is_written_as_it_is(path, tmp_path):
    given = network()
    del given.graph.node[1:]
    given.graph.node[0].output[0] = "y"
    given.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(given, path)
    report = ne.onnx.fold(path, tmp_path / "out.onnx")
    assert report.difference is None and report.measured_on == ""
    assert str(report).endswith("0 of 0 batch normalizations folded")
    assert onnx.load(tmp_path / "out.onnx") == given


def refused(message, *arguments, **options):
    with pytest.raises(ValueError) as error:
        ne.onnx.fold(*arguments, **options)
    assert message in str(error.value)


def test_beyond_the_tolerance_nothing_is_written(path, tmp_path):
    out, record = tmp_path / "out.onnx", tmp_path / "report.json"
    out.write_bytes(b"older")
    refused("of the folded file differs by ", path, out, tolerance=0.0, report=record)
    assert out.read_bytes() == b"older" and not record.exists()
    with pytest.raises(OnnxError, match="more than 0; nothing was written"):
        ne.onnx.fold(path, out, tolerance=0)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf"), "1", None])
def test_tolerances_that_are_none(path, tmp_path, tolerance):
    with pytest.raises((ValueError, TypeError), match="tolerance must be"):
        ne.onnx.fold(path, tmp_path / "out.onnx", tolerance=tolerance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shapes": {"z": (1,)}}, "has no input 'z'; its inputs are 'x'"),
        ({"shapes": {"x": (1, 3, 8)}}, "input 'x' is declared as (?, 3, ?, ?), got the shape (1, 3, 8)"),
        ({"shapes": {"x": (1, 4, 8, 8)}}, "input 'x' is declared as (?, 3, ?, ?), got the shape (1, 4, 8, 8)"),
        ({"inputs": {"x": np.zeros((1, 2, 8, 8))}}, "got the shape (1, 2, 8, 8)"),
    ],
)
def test_inputs_that_do_not_fit(path, tmp_path, options, message):
    refused(message, path, tmp_path / "out.onnx", **options)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x08\x08", onnx.ModelProto(ir_version=8).SerializeToString()])
def test_what_is_no_onnx_file(tmp_path, content):
    file = tmp_path / "file.onnx"
    file.write_bytes(content)
    refused("is damaged or not an ONNX file", file, tmp_path / "out.onnx")


def test_files_that_are_not_there(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        ne.onnx.fold(tmp_path / "none.onnx", tmp_path / "out.onnx")
    with pytest.raises(FileNotFoundError):
        ne.onnx.fold(path, tmp_path / "none" / "out.onnx")
    with pytest.raises(IsADirectoryError):
        ne.onnx.fold(path, tmp_path / "out.onnx", report=tmp_path)
    assert not (tmp_path / "out.onnx").exists()


def test_weights_beside_the_file_are_put_in(tmp_path):
    (tmp_path / "a").mkdir()
    given, path = network(), tmp_path / "a" / "m.onnx"
    external_data_helper.convert_model_to_external_data(given, location="weights.bin", size_threshold=0)
    onnx.save(given, path)
    assert (tmp_path / "a" / "weights.bin").exists()
    out = tmp_path / "out.onnx"
    assert ne.onnx.fold(path, out).folded == 1
    assert not any(t.HasField("data_location") and t.data_location for t in onnx.load(out).graph.initializer)
    ne.InferenceSession(out)
    (tmp_path / "a" / "weights.bin").unlink()
    refused("which is missing; put it beside the model", path, out)


def test_limits(path, tmp_path):
    refused("has 5 nodes, more than the 3", path, tmp_path / "out.onnx", limits=ne.onnx.FileLimits(nodes=3))


def test_a_network_that_is_not_finite_everywhere(path, tmp_path):
    given = network(2, 3, 4, 4)
    given.graph.node.append(node("Log", ["y"], ["z"], "log"))
    given.graph.output[0].name = "z"
    onnx.save(given, path)
    assert ne.onnx.fold(path, tmp_path / "out.onnx").folded == 1


def test_an_extent_that_the_weights_fix(path, tmp_path):
    """The trial of an open extent goes on until the linear layer fits."""
    given = network()
    given.graph.node.append(node("Flatten", ["y"], ["f"], "flat"))
    given.graph.node.append(node("Gemm", ["f", "w"], ["z"], "gemm"))
    given.graph.initializer.append(numpy_helper.from_array(draw(2 * 32 * 32, 5), "w"))
    given.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, ("N", 5)))
    onnx.save(given, path)
    report = ne.onnx.fold(path, tmp_path / "out.onnx")
    assert report.unread == () and report.measured_on == "random input (x 2x3x32x32)"
