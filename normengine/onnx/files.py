"""Bytes from files of known size: what is no regular file is refused without waiting for a writer."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from .node import OnnxError


def open_regular(path: str, name: str) -> tuple[BinaryIO, int]:
    """The file, open for reading, and its size. ``name`` is what errors call it.

    Raises :class:`OnnxError` for a folder, a pipe, a device, or a path that no file can have; OSError where the file
    is missing or cannot be opened.
    """
    try:
        _check_kind(os.stat(path).st_mode, name)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OnnxError:
        raise
    except ValueError as error:
        raise OnnxError(f"{name} is not the path of a file: {error}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {name}") from None
    file = os.fdopen(descriptor, "rb")
    try:
        status = os.fstat(descriptor)
        _check_kind(status.st_mode, name)
    except OnnxError:
        file.close()
        raise
    return file, status.st_size


def _check_kind(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise OnnxError(f"{name} is a folder; give the .onnx file in it")
    if not stat.S_ISREG(mode):
        raise OnnxError(f"{name} is a pipe, a socket or a device; give a regular file")


def printable(path: str) -> str:
    """The path as messages have it: what is no text in it is written with backslashes."""
    return path.encode("utf-8", errors="backslashreplace").decode().replace("\0", "\\0")


def reason(error: OSError | ValueError) -> str:
    """What an error says, without the path that it was about."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
