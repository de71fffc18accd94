"""Reader of CIFAR-10's binary files, on small files written here."""

import os

import numpy as np
import pytest

from normengine.data import cifar10

NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)]


@pytest.fixture
def records():
    rng = np.random.default_rng(0)
    content = rng.integers(0, 256, (5, 4, 3073), np.uint8)
    content[:, :, 0] = rng.integers(0, 10, (5, 4))
    return content


@pytest.fixture
def folder(tmp_path, records):
    for name, content in zip(NAMES, records, strict=True):
        (tmp_path / name).write_bytes(content.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[0].tobytes())
    return tmp_path


@pytest.mark.parametrize("train", [True, False])
def test_reads(folder, records, train):
    expected = (records if train else records[:1]).reshape(-1, 3073)
    x, y = cifar10(folder, train=train)
    assert x.shape == (len(expected), 3, 32, 32) and x.dtype == np.float32 and y.dtype == np.int64
    assert np.array_equal(np.rint(x * 255), expected[:, 1:].reshape(-1, 3, 32, 32))
    assert np.array_equal(y, expected[:, 0])


def test_reads_the_folder_that_the_archive_makes(folder):
    inner = folder / "cifar-10-batches-bin"
    inner.mkdir()
    (folder / "test_batch.bin").rename(inner / "test_batch.bin")
    assert cifar10(folder, train=False)[0].shape == (4, 3, 32, 32)


def test_missing_file(folder):
    (folder / NAMES[2]).unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_3\.bin is in any of the folders .*cifar-10-batches-bin"):
        cifar10(folder)


def test_pickles_are_not_read(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"\x80\x02.")
    with pytest.raises(FileNotFoundError, match=r"made of pickles, get cifar-10-binary.tar\.gz instead"):
        cifar10(tmp_path, train=False)


@pytest.mark.parametrize("size", [0, 1, 3072, 3073 * 3 + 17, 3073 * 10_001, 3073 * 10**7])
def test_cut_off_file_and_one_too_large(folder, size):
    """Beyond its content the file is a hole, which takes no room on the disk but would take memory."""
    path = folder / "test_batch.bin"
    os.truncate(path, size)
    with pytest.raises(ValueError, match=rf"expected 30730000 bytes \(10000 records of 3073\), found {size}; get"):
        cifar10(folder, train=False)


def test_file_cut_off_between_records(folder):
    path = folder / NAMES[3]
    path.write_bytes(path.read_bytes()[: 2 * 3073])
    with pytest.raises(ValueError, match=r"data_batch_4\.bin: expected 12292 bytes .*, found 6146"):
        cifar10(folder)


def test_labels_out_of_range(folder, records):
    records[1, 3, 0] = 10
    (folder / NAMES[1]).write_bytes(records[1].tobytes())
    with pytest.raises(ValueError, match=r"data_batch_2\.bin: labels must be 0 to 9, but label 3 is 10"):
        cifar10(folder)
