"""What the readers of data files share: finding a file, reading exactly the bytes that its sizes promise."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..files.reading import open_regular

_CHUNK = 1 << 20
_DEFLATE_LIMIT = 1032  # a deflate stream never grows more than 1032-fold (zlib's "technical details")
_EXPANSION = 100
"""How many times its size a compressed file may become. Handwriting and clothes become 3 to 10 times as large."""
_SMALL = 2**24
"""Bytes that any compressed file may become."""
MAX_BYTES = 2**30
"""Bytes that are read of a file if not told otherwise: twice the largest data set in MNIST's format."""
_AGAIN = "get the file again"


def find(folder: str | os.PathLike[str], subfolders: Sequence[str], names: Sequence[str], what: str) -> Path:
    """The first of ``names`` that exists in ``folder`` or one of its ``subfolders``.

    Raises:
        FileNotFoundError: none exists; the message lists every name and folder that was tried.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{what}: the folder {root} does not exist")
    places = [root, *(root / sub for sub in subfolders)]
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
    raise FileNotFoundError(
        f"{what}: none of the files {', '.join(names)} is in any of the folders {', '.join(map(str, places))}"
    )


@contextmanager
def open_plain_or_gzip(path: Path) -> Iterator[BinaryIO]:
    """The file's content, decompressed if its name ends in ``.gz``."""
    with open_regular(path) as file:
        if path.suffix == ".gz":
            with gzip.open(file, "rb") as stream:
                yield stream  # type: ignore[misc]
        else:
            yield file


def check_size(path: Path, expected: int, promise: str, max_bytes: int) -> None:
    """Refuse a file that promises more content than it can hold, or than shall be read, before that takes memory.

    Raises:
        ValueError: with ``promise``, which says where the expected number of bytes comes from.
    """
    size = path.stat().st_size
    compressed = path.suffix == ".gz"
    room = size * _DEFLATE_LIMIT if compressed else size
    if expected > room:
        found = f"{'at most ' if compressed else ''}{room}"
        raise ValueError(f"{path}: expected {expected} bytes ({promise}), found {found}; {_AGAIN}")
    if expected > max_bytes:
        raise ValueError(
            f"{path}: its {expected} bytes ({promise}) are more than the {max_bytes} that are read; give max_bytes"
        )
    if compressed and expected > max(_SMALL, size * _EXPANSION):
        raise ValueError(
            f"{path}: {size} bytes would become {expected} ({promise}), and pictures never become more than "
            f"{_EXPANSION} times as large; decompress the file yourself if that is what it holds"
        )


def read_bytes(path: Path, stream: BinaryIO, count: int, promise: str, already: int = 0) -> np.ndarray:
    """The last ``count`` bytes of a stream of which ``already`` bytes were read, as read-only uint8.

    Raises:
        ValueError: the file holds fewer or more bytes; ``promise`` says where the expected count comes from.
    """
    expected, found = already + count, 0
    content = np.empty(count, np.uint8)
    while chunk := decompressed(path, stream, min(_CHUNK, count + 1 - found)):
        if found + len(chunk) > count:
            raise ValueError(f"{path}: expected {expected} bytes ({promise}), found more; {_AGAIN}")
        content[found : found + len(chunk)] = np.frombuffer(chunk, np.uint8)
        found += len(chunk)
    if found < count:
        raise ValueError(f"{path}: expected {expected} bytes ({promise}), found {already + found}; {_AGAIN}")
    content.flags.writeable = False
    return content


def decompressed(path: Path, stream: BinaryIO, count: int) -> bytes:
    """At most ``count`` further bytes of the stream; damage to a gzip stream is a ValueError."""
    try:
        return stream.read(count)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged or cut-off gzip file ({error}); {_AGAIN}") from error


def check_labels(path: Path, labels: np.ndarray, classes: int) -> None:
    """Raises ValueError naming the first label that is not in ``0..classes-1``."""
    wrong = np.flatnonzero(labels >= classes)
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            f"{path}: labels must be 0 to {classes - 1}, but label {first} is {int(labels[first])} "
            f"({wrong.size} of {labels.size} are out of range); {_AGAIN}"
        )
