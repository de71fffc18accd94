"""Files that are no model, or are damaged: one clear error each, before memory is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from normengine.onnx import OnnxError
from normengine.onnx.parse import read_model

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def proto(model):
    """A model with the weight ``w``, to be spoilt."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    return onnx.load_model_from_string(model(nodes, {"x": ("N", 3)}, ["y"], {"w": WEIGHT}))


def refused(proto_or_bytes, text):
    content = proto_or_bytes if isinstance(proto_or_bytes, bytes) else proto_or_bytes.SerializeToString()
    with pytest.raises(OnnxError, match=text):
        read_model(content)


def test_a_model_is_read_from_a_path_or_from_bytes(proto, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    for source in (path, str(path), path.read_bytes()):
        found = read_model(source)
        assert [(p.name, p.shape, p.dtype) for p in found.inputs] == [("x", ("N", 3), "float32")]
        assert np.array_equal(found.weights["w"], WEIGHT)
        assert found.opset == 17
        assert [str(n) for n in found.nodes] == ["MatMul 'product'"]


@pytest.mark.parametrize("content", [b"this is no model at all", bytes(range(256)), b"\xff" * 64, b"PK\x03\x04" * 20])
def test_what_is_no_model(content):
    refused(content, "^model bytes is damaged or not an ONNX file")


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.onnx"
    path.touch()
    with pytest.raises(OnnxError, match="empty.onnx is empty"):
        read_model(path)


def test_a_truncated_file(proto):
    content = proto.SerializeToString()
    for size in range(1, len(content)):
        try:
            found = read_model(content[:size])
        except OnnxError:
            continue
        # What is left is a whole model: only fields that say nothing of the network are missing.
        assert np.array_equal(found.weights["w"], WEIGHT)
        assert found.opset == 17


def test_a_folder_and_a_file_that_is_missing(tmp_path):
    with pytest.raises(OnnxError, match="is a folder; give the .onnx file in it"):
        read_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file .*gone.onnx"):
        read_model(tmp_path / "gone.onnx")


def test_weights_that_do_not_fit_their_shape(proto):
    proto.graph.initializer[0].raw_data = WEIGHT.tobytes()[:-4]
    refused(proto, r"weight 'w' of shape \(3, 4\) takes 48 bytes as float32, the file holds 44")


def test_an_absurd_shape_takes_no_memory(proto):
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([2**40, 2**40])
    refused(
        proto, r"weight 'w' of shape \(1099511627776, 1099511627776\) takes \d+ bytes as float32, the file holds 48"
    )


def test_a_negative_extent(proto):
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([-3, -4])
    refused(proto, r"weight 'w' has the shape \(-3, -4\): an extent is negative")


def test_numbers_in_fields_of_their_own(proto):
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [3, 4], WEIGHT.reshape(-1)))
    assert np.array_equal(read_model(proto.SerializeToString()).weights["w"], WEIGHT)
    del proto.graph.initializer[0].float_data[3:]
    refused(proto, r"weight 'w' of shape \(3, 4\) has 12 numbers, the file holds 3")


def unread():
    """Weights of every kind that is refused where a node reads it."""
    yield helper.make_tensor("u", TensorProto.STRING, [1], [b"text"])
    yield helper.make_tensor("u", TensorProto.FLOAT8E5M2, [1], b"8", raw=True)
    yield TensorProto(name="u", data_type=TensorProto.FLOAT, dims=[-3])
    outside = TensorProto(name="u", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="gone.bin")
    yield outside


@pytest.mark.parametrize("tensor", [*unread()], ids=["text", "float8", "negative", "external"])
@pytest.mark.parametrize("declared", [False, True])
def test_weights_that_nothing_reads_may_be_anything(tensor, declared, proto):
    proto.graph.initializer.append(tensor)
    if declared:
        proto.graph.input.append(helper.make_tensor_value_info("u", tensor.data_type, [7]))
    found = read_model(proto.SerializeToString())
    assert list(found.weights) == ["w"]
    assert [port.name for port in found.inputs] == ["x"]
    proto.graph.node.append(helper.make_node("Relu", ["u"], ["dead"]))
    assert len(read_model(proto.SerializeToString()).nodes) == 1
    proto.graph.node.append(helper.make_node("Add", ["y", "u"], ["z"]))
    proto.graph.output[0].name = "z"
    refused(proto, "'u'")


def test_sparse_weights(proto):
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.zeros((1, 1), np.int64), "")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3]))
    assert list(read_model(proto.SerializeToString()).weights) == ["w"]
    proto.graph.node[0].input[1] = "s"
    refused(proto, "weight 's' is sparse, which is not supported; store it dense")
    proto.graph.initializer[0].name = "s"
    refused(proto, "two weights are named 's'")


@pytest.mark.parametrize("extent", [-1, -2, -(2**40)])
def test_a_negative_extent_of_an_input_is_open(extent, proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = extent
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = extent
    found = read_model(proto.SerializeToString())
    assert found.inputs[0].shape == (None, 3)
    assert found.outputs[0].shape == (None,)


def test_operators_are_looked_at_before_types(proto):
    """Whoever accepts the nodes of a file does so before a weight or an output of it is refused for its type."""

    def refuse(source, nodes, opset):
        assert opset == 17
        raise OnnxError(f"{source}: {[str(node) for node in nodes]}")

    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT.astype(np.int8), "w"))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    proto.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    constant = helper.make_node("Constant", [], ["c"], "c", value=numpy_helper.from_array(WEIGHT.astype(np.int8)))
    proto.graph.node.insert(0, constant)
    proto.graph.node[1].input[1] = "c"
    with pytest.raises(OnnxError, match=r"model bytes: \[\"Constant 'c'\", \"MatMul 'product'\"\]"):
        read_model(proto.SerializeToString(), None, refuse)


def test_a_file_without_standard_operators(proto):
    """It need not say which version of them it uses."""
    proto.graph.node[0].CopyFrom(helper.make_node("TreeEnsemble", ["x"], ["y"], "trees", domain="ai.onnx.ml"))
    proto.opset_import[0].domain = "ai.onnx.ml"
    assert [str(node) for node in read_model(proto.SerializeToString()).nodes] == ["TreeEnsemble 'trees'"]
    proto.graph.node[0].domain = "ai.onnx"
    refused(proto, "it does not say which opset it uses")


def test_a_weight_twice(proto):
    proto.graph.initializer.append(proto.graph.initializer[0])
    refused(proto, "two weights are named 'w'")


@pytest.mark.parametrize("version, text", [(0, "uses opset 0; export it with one from 1 to"), (999, "uses opset 999")])
def test_opsets(proto, version, text):
    proto.opset_import[0].version = version
    refused(proto, text)


def test_no_opset(proto):
    del proto.opset_import[:]
    refused(proto, "it does not say which opset it uses")
    proto.ir_version = 2  # the format had no opsets yet
    assert read_model(proto.SerializeToString()).opset == 1


def test_inputs_that_are_no_tensors(proto):
    proto.graph.input[0].CopyFrom(
        helper.make_value_info("x", helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [3])))
    )
    refused(proto, "input 'x' must be a tensor, got sequence_type")


def test_local_functions_are_put_in_place(model):
    content = model([helper.make_node("Twice", ["x"], ["y"], domain="mine")], {"x": ("N", 3)}, ["y"])
    proto = onnx.load_model_from_string(content)
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    assert [n.op_type for n in read_model(proto.SerializeToString()).nodes] == ["Add"]


@pytest.fixture
def external(proto, tmp_path):
    """A model whose weight lies in ``weights.bin``, and its path."""
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_external_weights(external):
    assert np.array_equal(read_model(external).weights["w"], WEIGHT)


@pytest.fixture
def cached(external, tmp_path):
    """The same files as download caches have them: links, in a folder of their own, to files named by their content."""
    blobs, snapshot = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / "main" / "onnx"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, path in (("aa11", external), ("bb22", tmp_path / "weights.bin")):
        (blobs / name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("..", "..", "..", "blobs", name))
        path.unlink()
    return snapshot / external.name


def test_external_weights_behind_links(cached):
    assert np.array_equal(read_model(cached).weights["w"], WEIGHT)
    assert np.array_equal(read_model(os.path.relpath(cached)).weights["w"], WEIGHT)
    link = cached.parent / "weights.bin"
    outside = cached.parents[3] / "weights.bin"
    outside.write_bytes(link.read_bytes())
    link.unlink()
    link.symlink_to(outside)
    with pytest.raises(OnnxError, match="is stored at 'weights.bin', which is outside the model's folder"):
        read_model(cached)


def test_external_weights_that_are_missing_or_cut_off(external):
    stored = external.parent / "weights.bin"
    content = stored.read_bytes()
    stored.write_bytes(content[:-8])
    with pytest.raises(
        OnnxError, match=r"weight 'w' takes 48 bytes at offset 0 of .*weights.bin; .* the file holds 40"
    ):
        read_model(external)
    stored.unlink()
    with pytest.raises(
        OnnxError, match="weight 'w' is stored in .*weights.bin, which is missing; put it beside the model"
    ):
        read_model(external)
    with pytest.raises(OnnxError, match="open the model by its path, not as bytes"):
        read_model(external.read_bytes())


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", ""])
def test_external_weights_outside_the_folder(external, location):
    proto = onnx.load(external, load_external_data=False)
    next(e for e in proto.graph.initializer[0].external_data if e.key == "location").value = location
    external.write_bytes(proto.SerializeToString())
    with pytest.raises(OnnxError, match="outside the model's folder"):
        read_model(external)


def test_random_damage_never_gives_another_error(proto):
    rng = np.random.default_rng(0)
    content = np.frombuffer(proto.SerializeToString(), np.uint8)
    for _ in range(300):
        damaged = content.copy()
        places = rng.integers(0, len(content), 3)
        damaged[places] = rng.integers(0, 256, 3)
        with suppress(OnnxError):
            read_model(damaged.tobytes())


def test_paths_that_are_no_file(tmp_path):
    loop = tmp_path / "loop.onnx"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="symbolic links"):
        read_model(loop)
    with pytest.raises(OnnxError, match=r"model\\0.onnx is not the path of a file"):
        read_model("model\0.onnx")
    with pytest.raises(OnnxError, match=r"\\ud800 is not the path of a file"):
        read_model("\ud800")
    with pytest.raises(TypeError, match="path should be|expected str"):
        read_model(None)


def test_a_path_that_is_no_text(proto, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.onnx"
    try:
        Path(os.fsdecode(path)).write_bytes(b"no model")
    except OSError:
        pytest.skip("this file system has names of text alone")
    with pytest.raises(OnnxError, match="ff.onnx is damaged or not") as error:
        read_model(os.fsdecode(path))
    assert str(error.value).encode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(external, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    script = (
        "import sys; from normengine.onnx.parse import read_model\n"
        "try:\n    read_model(sys.argv[1])\nexcept ValueError as error:\n    print(error)"
    )

    def answer(path):
        command = [sys.executable, "-c", script, path]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "pipe is a pipe, a socket or a device; give a regular file" in answer(tmp_path / "pipe")
    (tmp_path / "weights.bin").unlink()
    os.mkfifo(tmp_path / "weights.bin")
    assert "'weights.bin', which cannot be read: 'weights.bin' is a pipe, a socket or a device" in answer(external)


def with_entries(external, **entries):
    """The model's file with other entries for its external data."""
    proto = onnx.load(external, load_external_data=False)
    stored = proto.graph.initializer[0].external_data
    del stored[:]
    for key, value in {"location": "weights.bin", **entries}.items():
        stored.add(key=key, value=value)
    external.write_bytes(proto.SerializeToString())
    return external


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("value", ["-1", "1e3", "", " 4", "1_0", "٣", "9" * 5000, "0x10"])
def test_external_entries_that_are_no_number_of_bytes(key, value, external):
    with pytest.raises(OnnxError, match=f"weight 'w': {key} of its external data must be a number of bytes, got '"):
        read_model(with_entries(external, **{key: value}))


def test_external_entries_beyond_the_file(external):
    for entries in ({"offset": "9" * 18}, {"length": "9" * 18}, {"length": "0"}, {"offset": "1"}):
        with pytest.raises(OnnxError, match="weight 'w' takes 48 bytes at offset"):
            read_model(with_entries(external, **entries))


def test_external_entries_that_contradict_each_other(external):
    proto = onnx.load(external, load_external_data=False)
    proto.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    external.write_bytes(proto.SerializeToString())
    assert np.array_equal(read_model(external).weights["w"], WEIGHT)
    proto.graph.initializer[0].external_data.add(key="location", value="other.bin")
    external.write_bytes(proto.SerializeToString())
    with pytest.raises(OnnxError, match="says twice, and not the same, what 'location' of its external data is"):
        read_model(external)


def test_external_locations_that_are_no_file(external):
    (external.parent / "loop").symlink_to(external.parent / "loop")
    (external.parent / "folder").mkdir()
    (external.parent / "away").symlink_to("/")
    cases = {
        "loop": "cannot be read|which is missing",
        "folder": "is a folder",
        "away/etc/passwd": "outside the model's folder",
        "a\0b": "cannot be read|which is missing",
        "x" * 5000: "cannot be read",
    }
    for location, text in cases.items():
        with pytest.raises(OnnxError, match=text):
            read_model(with_entries(external, location=location))


def test_external_locations_that_are_no_text(external):
    content = with_entries(external, location="weightsX.bin").read_bytes()
    external.write_bytes(content.replace(b"weightsX.bin", b"weights\xff.bin"))
    with pytest.raises(OnnxError, match="which is missing") as error:
        read_model(external)
    assert str(error.value).encode()


def test_names_that_are_no_text(proto):
    content = proto.SerializeToString()
    for name in (b"\xff", b"\0", b"\xed\xa0\x80"):
        damaged = content.replace(b"product", name * (7 // len(name)) + b"p" * (7 % len(name)))
        assert len(read_model(damaged).nodes) == 1
        with pytest.raises(OnnxError, match="MatMul '") as error:
            read_model(damaged.replace(b"\n\x01w", b"\n\x01\xff"))
        assert str(error.value).encode()
