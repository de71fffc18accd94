"""Reader of IDX files, on small files written here: found under every name, damaged in every way."""

import gzip
import os
import re
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from normengine.data import mnist
from normengine.data.mnist import read_idx


def idx(array, magic=None):
    array = np.asarray(array, np.uint8)
    return struct.pack(f">{1 + array.ndim}I", magic or 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 5, 4), np.uint8)


@pytest.fixture
def labels():
    return np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("train", [True, False])
def test_reads(tmp_path, images, labels, suffix, place, dot, train):
    part = "train" if train else "t10k"
    write(tmp_path / place / f"{part}-images{dot}idx3-ubyte{suffix}", idx(images))
    write(tmp_path / place / f"{part}-labels{dot}idx1-ubyte{suffix}", idx(labels))
    x, y = mnist(tmp_path, train=train)
    assert x.shape == (7, 1, 5, 4) and x.dtype == np.float32 and y.dtype == np.int64
    assert np.array_equal(np.rint(x[:, 0] * 255), images) and x.max() <= 1
    assert np.array_equal(y, labels)


def test_missing_file_lists_all_that_was_looked_for(tmp_path, images):
    write(tmp_path / "train-images-idx3-ubyte.gz", idx(images))
    with pytest.raises(FileNotFoundError) as error:
        mnist(tmp_path)
    for words in ("train-labels-idx1-ubyte,", "train-labels-idx1-ubyte.gz", "train-labels.idx1-ubyte", "MNIST/raw"):
        assert words in str(error.value).replace("\\", "/")


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        mnist(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:100], r"expected 156 bytes .*shape \(7, 5, 4\)\), found 100;"),
        (lambda content: content + b"x", r"expected 156 bytes .*shape \(7, 5, 4\)\), found more;"),
        (lambda content: content[:9], "expected an IDX header of 16 bytes, found 9 bytes"),
        (lambda content: b"", "expected an IDX header of 16 bytes, found 0 bytes"),
        (lambda content: b"\x89PNG" + content[4:], "expected the magic number 2051 .*, found 2303741511"),
        (lambda content: idx([1, 2, 3]) + bytes(20), "expected the magic number 2051 .*, found 2049"),
        (lambda content: idx(np.zeros((0, 28, 28))), r".*the shape is \(0, 28, 28\), which holds no values"),
    ],
)
def test_damaged_images(tmp_path, images, labels, suffix, damage, message):
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    write(path, damage(idx(images)))
    write(tmp_path / f"train-labels-idx1-ubyte{suffix}", idx(labels))
    with pytest.raises(ValueError, match=re.escape(f"{path}: ") + message):
        mnist(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_sizes_beyond_the_file_take_no_memory(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    write(path, struct.pack(">4I", 2051, 60000, 60000, 60000) + bytes(100))
    with pytest.raises(ValueError, match=r"expected 216000000000016 bytes .*, found (116|at most [0-9]+);"):
        read_idx(path, 3)


def bomb(path, size, count):
    """A gzip file of ``size`` bytes at most that holds ``count`` black pictures of 1024 x 1024 pixels."""
    with gzip.open(path, "wb") as stream:
        stream.write(struct.pack(">4I", 2051, count, 1024, 1024))
        for _ in range(count):
            stream.write(bytes(2**20))
    assert path.stat().st_size < size


def test_a_small_file_that_becomes_a_large_one(tmp_path):
    """It is refused by its header, before it takes memory; decompressed by the user it is read."""
    path = tmp_path / "images.gz"
    bomb(path, 50_000, 40)
    tracemalloc.start()
    with pytest.raises(ValueError, match="bytes would become 41943056 .* never become more than 100 times as large; "):
        read_idx(path, 3)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    (tmp_path / "images").write_bytes(gzip.decompress(path.read_bytes()))
    assert read_idx(tmp_path / "images", 3).shape == (40, 1024, 1024)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_no_more_is_read_than_was_asked_for(tmp_path, images, suffix):
    path = tmp_path / f"images{suffix}"
    write(path, idx(images))
    assert read_idx(path, 3, max_bytes=156).shape == (7, 5, 4)
    with pytest.raises(ValueError, match=r"its 156 bytes \(.*\) are more than the 155 that are read; give max_bytes"):
        read_idx(path, 3, max_bytes=155)


def test_a_large_file_of_holes_takes_no_memory(tmp_path, labels):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">4I", 2051, 25_000_000, 28, 28))
    os.truncate(path, 16 + 25_000_000 * 28 * 28)
    write(tmp_path / "train-labels-idx1-ubyte", idx(labels))
    with pytest.raises(ValueError, match="are more than the 1073741824 that are read; give max_bytes"):
        mnist(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs are POSIX's")
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_fifo_is_not_waited_for(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    os.mkfifo(path)
    with pytest.raises(OSError, match="is a FIFO; give the name of a regular file"):
        read_idx(path, 3)


def test_cut_off_gzip(tmp_path, images):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(images))[:-20])
    with pytest.raises(ValueError, match="damaged or cut-off gzip file"):
        read_idx(path, 3)


def test_file_that_is_no_gzip(tmp_path, images):
    path = tmp_path / "images.gz"
    path.write_bytes(idx(images))
    with pytest.raises(ValueError, match="damaged or cut-off gzip file"):
        read_idx(path, 3)


def test_labels_out_of_range(tmp_path, images, labels):
    write(tmp_path / "train-images-idx3-ubyte", idx(images))
    labels[2] = 12
    write(tmp_path / "train-labels-idx1-ubyte", idx(labels))
    with pytest.raises(ValueError, match=r"labels must be 0 to 9, but label 2 is 12 \(1 of 7 are out of range\)"):
        mnist(tmp_path)


def test_counts_that_differ(tmp_path, images, labels):
    write(tmp_path / "train-images-idx3-ubyte", idx(images))
    write(tmp_path / "train-labels-idx1-ubyte", idx(labels[:6]))
    with pytest.raises(ValueError, match=r"has 7 images, but .* has 6 labels"):
        mnist(tmp_path)
