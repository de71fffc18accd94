"""What the readers of data files share: finding a file, reading exactly the bytes that its sizes promise."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

_CHUNK = 1 << 20
_DEFLATE_LIMIT = 1032  # a deflate stream never grows more than 1032-fold (zlib's "technical details")
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


def open_plain_or_gzip(path: Path) -> BinaryIO:
    """The file's content, decompressed if its name ends in ``.gz``."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def capacity(path: Path) -> int:
    """The most bytes of content that the file can hold."""
    size = path.stat().st_size
    return size * _DEFLATE_LIMIT if path.suffix == ".gz" else size


def read_bytes(path: Path, stream: BinaryIO, count: int, promise: str, already: int = 0) -> np.ndarray:
    """The last ``count`` bytes of a stream of which ``already`` bytes were read, as uint8.

    Raises:
        ValueError: the file holds fewer or more bytes; ``promise`` says where the expected count comes from.
    """
    expected = already + count
    room = capacity(path)
    if expected > room:
        found_text = f"{'at most ' if path.suffix == '.gz' else ''}{room}"
        raise ValueError(f"{path}: expected {expected} bytes ({promise}), found {found_text}; {_AGAIN}")
    chunks, found = [], 0
    while chunk := decompressed(path, stream, min(_CHUNK, count + 1 - found)):
        chunks.append(chunk)
        found += len(chunk)
        if found > count:
            raise ValueError(f"{path}: expected {expected} bytes ({promise}), found more; {_AGAIN}")
    if found < count:
        raise ValueError(f"{path}: expected {expected} bytes ({promise}), found {already + found}; {_AGAIN}")
    return np.frombuffer(b"".join(chunks), np.uint8)


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
