"""Weights on disk: what is written is what is read, and what goes wrong changes nothing."""

import os
import sys

import numpy as np
import pytest
import safetensors.numpy

import normengine as ne
from normengine import nn


def network(width=4):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, bias=False), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 36, 3)
    )


def arrays(model):
    return {name: np.array(array) for name, array in model.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)


def test_round_trip(tmp_path):
    path = tmp_path / "model.safetensors"
    saved, other = network(), network()
    assert not same(arrays(saved), arrays(other))
    ne.save(saved, path)
    assert ne.load(other, path) is other
    assert same(arrays(saved), arrays(other))


def test_file_has_pytorch_keys_shapes_and_types(tmp_path):
    path = tmp_path / "model.safetensors"
    ne.save(network(), path)
    state = safetensors.numpy.load_file(path)
    assert {name: (array.shape, array.dtype.name) for name, array in state.items()} == {
        "0.weight": ((4, 1, 3, 3), "float32"),
        "1.weight": ((4,), "float32"),
        "1.bias": ((4,), "float32"),
        "1.running_mean": ((4,), "float32"),
        "1.running_var": ((4,), "float32"),
        "1.num_batches_tracked": ((), "int64"),
        "3.weight": ((3, 144), "float32"),
        "3.bias": ((3,), "float32"),
    }


@pytest.mark.parametrize("share", [0, 0.001, 0.05, 0.5, 0.999])
def test_cut_off_file(tmp_path, share):
    path = tmp_path / "model.safetensors"
    model = network()
    ne.save(model, path)
    content = path.read_bytes()
    size = int(share * len(content))
    path.write_bytes(content[:size])
    before = arrays(model)
    with pytest.raises(
        ValueError, match=f"model.safetensors: expected a complete safetensors file, found {size} bytes"
    ):
        ne.load(model, path)
    assert same(arrays(model), before)


def test_size_in_the_header_beyond_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    header = b'{"0.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(ValueError, match="expected a complete safetensors file"):
        ne.load(network(), path)


def test_file_of_another_network(tmp_path):
    path = tmp_path / "model.safetensors"
    ne.save(network(width=5), path)
    model = network(width=4)
    before = arrays(model)
    with pytest.raises(ValueError, match=r"model\.safetensors: .*0\.weight") as error:
        ne.load(model, path)
    assert "(5, 1, 3, 3)" in str(error.value) and "(4, 1, 3, 3)" in str(error.value)
    assert same(arrays(model), before)


def test_array_type_that_numpy_does_not_have(tmp_path):
    path = tmp_path / "model.safetensors"
    header = b'{"0.weight":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError, match="holds an array of a type that NumPy does not have"):
        ne.load(network(), path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("0.weight", r"0\.weight has shape \(5368709120,\), the model needs \(4, 1, 3, 3\)"), ("x", "unexpected keys: x")],
)
def test_a_large_array_of_holes_takes_no_memory(tmp_path, name, message):
    path, model = tmp_path / "model.safetensors", network()
    size = 20 * 2**30
    header = f'{{"{name}":{{"dtype":"F32","shape":[{size // 4}],"data_offsets":[0,{size}]}}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + size)
    before = arrays(model)
    with pytest.raises(ValueError, match=message):
        ne.load(model, path)
    assert ne.load(model, path, strict=False) is model if name == "x" else True
    assert same(arrays(model), before)


@pytest.mark.parametrize("shape", [[1] * 100, [0, 2**62]])
def test_array_shape_that_numpy_does_not_have(tmp_path, shape):
    path = tmp_path / "model.safetensors"
    size = 4 * (0 not in shape)
    header = f'{{"0.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{size}]}}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    with pytest.raises(ValueError, match=r"model\.safetensors: holds an array of a shape that NumPy does not have"):
        ne.load(network(), path)


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs are POSIX's")
def test_what_is_no_file(tmp_path):
    path = tmp_path / "model.safetensors"
    os.mkfifo(path)
    with pytest.raises(OSError, match="is a FIFO; give the name of a regular file"):
        ne.load(network(), path)
    with pytest.raises(OSError, match="is a FIFO, which cannot be replaced as a whole"):
        ne.save(network(), path)
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a regular file"):
        ne.load(network(), tmp_path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        ne.load(network(), tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="the folder .* does not exist"):
        ne.save(network(), tmp_path / "none" / "model.safetensors")
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        ne.save(network(), tmp_path)


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the old file")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\): '.*/model.safetensors'"):
        ne.save(network(), path)
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]
