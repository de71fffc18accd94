"""Reader of MNIST and of every data set in its format (Fashion-MNIST, KMNIST), from files on disk."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import numpy as np

from .reading import MAX_BYTES, check_labels, check_size, decompressed, find, open_plain_or_gzip, read_bytes

_SUBFOLDERS = ("raw", "MNIST/raw")


def mnist(
    folder: str | os.PathLike[str], train: bool = True, *, max_bytes: int = MAX_BYTES
) -> tuple[np.ndarray, np.ndarray]:
    """Read the training (or the test) images and labels of MNIST from ``folder``.

    Looks for ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte`` (``t10k-...`` for the test set), with a dot
    or a hyphen before ``idx``, gzip-compressed (``.gz``) or not, in ``folder``, ``folder/raw`` and
    ``folder/MNIST/raw``. Format: "The MNIST database of handwritten digits" by Y. LeCun, C. Cortes and C. Burges.

    What a file says of its size is checked before anything of that size is made: at most ``max_bytes`` are read of a
    file (by default 2**30), and a compressed one may become a hundred times as large, or 16 MiB.

    Returns:
        Images ``(N, 1, H, W) float32`` from 0 to 1 and labels ``(N,) int64`` from 0 to 9.

    Raises:
        FileNotFoundError: a file is missing; the message lists what was looked for.
        ValueError: a file is damaged: another format, fewer or more bytes than its header says, labels out of range;
            or it is larger than is read.
    """
    part = "train" if train else "t10k"
    image_path = _find(folder, f"{part}-images", "idx3", "MNIST images")
    label_path = _find(folder, f"{part}-labels", "idx1", "MNIST labels")
    labels = read_idx(label_path, rank=1, max_bytes=max_bytes)
    check_labels(label_path, labels, 10)
    images = read_idx(image_path, rank=3, max_bytes=max_bytes)
    if len(images) != len(labels):
        raise ValueError(f"{image_path} has {len(images)} images, but {label_path} has {len(labels)} labels")
    return np.divide(images[:, None], np.float32(255), dtype=np.float32), labels.astype(np.int64)


def _find(folder: str | os.PathLike[str], stem: str, kind: str, what: str) -> Path:
    names = [f"{stem}{dot}{kind}-ubyte{suffix}" for dot in "-." for suffix in ("", ".gz")]
    return find(folder, _SUBFOLDERS, names, what)


def read_idx(path: str | os.PathLike[str], rank: int, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read an IDX file of ``rank`` dimensions of unsigned bytes: big-endian magic number 0x0800 + rank, the extents
    as 32-bit integers, the values row by row.

    Returns:
        The values as a read-only uint8 array.

    Raises:
        ValueError: the magic number is another, an extent is 0, the file's size is not what the extents say, or more
            than ``max_bytes``; a compressed file would become more than a hundred times as large, and more than 16 MiB.
    """
    path = Path(path)
    size = 4 + 4 * rank
    with open_plain_or_gzip(path) as stream:
        header = decompressed(path, stream, size)
        if len(header) < size:
            raise ValueError(f"{path}: expected an IDX header of {size} bytes, found {len(header)} bytes")
        magic, *extents = struct.unpack(f">{1 + rank}I", header)
        if magic != 0x0800 + rank:
            raise ValueError(
                f"{path}: expected the magic number {0x0800 + rank} of an IDX file with {rank} dimension"
                f"{'s' * (rank > 1)} of bytes, found {magic}"
            )
        if 0 in extents:
            raise ValueError(f"{path}: the header says the shape is {tuple(extents)}, which holds no values")
        promise = f"a header of {size} and values of shape {tuple(extents)}"
        count = math.prod(extents)
        check_size(path, size + count, promise, max_bytes)
        return read_bytes(path, stream, count, promise, already=size).reshape(extents)
