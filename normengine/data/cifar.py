"""Reader of CIFAR-10 in its binary version, from files on disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..files.reading import open_regular
from .reading import check_labels, find, read_bytes

_RECORD = 1 + 3 * 32 * 32  # the label, then the red, green and blue planes
_RECORDS = 10_000  # in each file of the published data set
_SUBFOLDERS = ("cifar-10-batches-bin",)


def cifar10(folder: str | os.PathLike[str], train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Read the training (or the test) images and labels of CIFAR-10 from ``folder``.

    Looks for ``data_batch_1.bin`` to ``data_batch_5.bin`` (``test_batch.bin`` for the test set), as
    ``cifar-10-binary.tar.gz`` unpacks them, in ``folder`` and ``folder/cifar-10-batches-bin``. The version for
    Python is made of pickles, which can run any code when they are read, and is not supported.
    Format: "Learning Multiple Layers of Features from Tiny Images" by A. Krizhevsky, 2009.

    Returns:
        Images ``(N, 3, 32, 32) float32`` from 0 to 1 and labels ``(N,) int64`` from 0 to 9.

    Raises:
        FileNotFoundError: a file is missing; the message lists what was looked for.
        ValueError: a file is damaged: no whole number of records, more than the 10,000 of the data set, files of
            different sizes, labels out of range.
    """
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
    paths = [_find(folder, name) for name in names]
    counts = [_records(path) for path in paths]
    for path, count in zip(paths, counts, strict=True):
        if count != max(counts):
            raise ValueError(
                f"{path}: expected {max(counts) * _RECORD} bytes as in the largest of the {len(paths)} training files, "
                f"found {count * _RECORD}; get the file again"
            )
    images = np.empty((sum(counts), 3, 32, 32), np.float32)
    labels = np.empty(sum(counts), np.int64)
    first = 0
    for path, count in zip(paths, counts, strict=True):
        with open_regular(path) as stream:
            promise = f"{count} records of {_RECORD}"
            records = read_bytes(path, stream, count * _RECORD, promise).reshape(count, _RECORD)
        check_labels(path, records[:, 0], 10)
        np.divide(records[:, 1:].reshape(count, 3, 32, 32), np.float32(255), out=images[first : first + count])
        labels[first : first + count] = records[:, 0]
        first += count
    return images, labels


def _find(folder: str | os.PathLike[str], name: str) -> Path:
    try:
        return find(folder, _SUBFOLDERS, [name], "CIFAR-10")
    except FileNotFoundError as error:
        for place in (Path(folder), Path(folder) / "cifar-10-batches-py"):
            if (place / name.removesuffix(".bin")).is_file():
                raise FileNotFoundError(
                    f"{error}; {place} holds the version made of pickles, get cifar-10-binary.tar.gz instead"
                ) from None
        raise


def _records(path: Path) -> int:
    size = path.stat().st_size
    if size == 0 or size % _RECORD or size > _RECORDS * _RECORD:
        raise ValueError(
            f"{path}: expected {_RECORDS * _RECORD} bytes ({_RECORDS} records of {_RECORD}), found {size}; "
            "get the file again"
        )
    return size // _RECORD
