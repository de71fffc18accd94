"""What is no file is not read."""

from __future__ import annotations

import os
import sys

import pytest

from normengine.files.reading import open_regular


def test_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"content")
    with open_regular(tmp_path / "f") as stream:
        assert stream.read() == b"content"


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="f: there is no such file"):
        open_regular(tmp_path / "f")
    with pytest.raises(ValueError, match="a file name cannot hold a NUL character"):
        open_regular(f"{tmp_path}/f\0")


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs are POSIX's")
@pytest.mark.parametrize(("kind", "error"), [("folder", IsADirectoryError), ("FIFO", OSError), ("device", OSError)])
def test_what_is_no_file(tmp_path, kind, error):
    """A FIFO without a writer would be waited for without end, a device such as /dev/zero read without end."""
    path = tmp_path / "f"
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        {"folder": os.mkdir, "FIFO": os.mkfifo}[kind](path)
    with pytest.raises(error, match=f"f: is a {kind}; give the name of a regular file"):
        open_regular(path)
