"""Files that are opened only if they are files."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def kind_of(mode: int) -> str:
    """What a file of this ``st_mode`` is, or nothing if it is a regular file."""
    return next((name for is_one, name in _KINDS if is_one(mode)), "")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open the regular file ``path`` for reading.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: ``path`` is a folder.
        OSError: ``path`` is a FIFO, a socket or a device, which might never come to an end, or cannot be read.
        ValueError: ``path`` holds a NUL character.
    """
    name = os.fsdecode(path)
    if "\0" in name:
        raise ValueError(f"{name!r}: a file name cannot hold a NUL character; give another one")
    return open(name, "rb", opener=_regular)


def _regular(name: str, flags: int) -> int:
    """For ``open(..., opener=)``: waits for no FIFO's writer, and asks the open file for its kind, since a name may
    come to mean another one."""
    try:
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no such file") from None
    kind = kind_of(os.fstat(descriptor).st_mode)
    if kind:
        os.close(descriptor)
        error = IsADirectoryError if kind == "folder" else OSError
        raise error(f"{name}: is a {kind}; give the name of a regular file")
    return descriptor
