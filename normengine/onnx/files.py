"""The files of a model, its external data among them, opened with errors of one family."""

from __future__ import annotations

import os
from typing import BinaryIO

from ..files.reading import open_regular
from .node import OnnxError


def open_part(path: str, name: str) -> tuple[BinaryIO, int]:
    """The model's file, or one beside it, open for reading, and its size. ``name`` is what errors call it.

    Raises :class:`OnnxError` for a folder, a pipe, a device, or a path that no file can have; OSError where the file
    is missing or cannot be opened.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {name}") from None
    except IsADirectoryError:
        raise OnnxError(f"{name} is a folder; give the .onnx file in it") from None
    except ValueError as error:
        raise OnnxError(f"{name} is not the path of a file: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise OnnxError(f"{name} is a pipe, a socket or a device; give a regular file") from None
    return file, os.fstat(file.fileno()).st_size


def printable(path: str) -> str:
    """The path as messages have it: what is no text in it is written with backslashes."""
    return path.encode("utf-8", errors="backslashreplace").decode().replace("\0", "\\0")


def reason(error: OSError | ValueError) -> str:
    """What an error says, without the path that it was about."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
