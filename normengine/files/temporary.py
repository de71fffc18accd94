"""Temporary files beside what they will replace: made for their writer alone, removed once their writer is dead.

A writer holds a lock on its file (``flock``), which ends with the process however that ends. So a temporary file whose
lock is free was left by a writer that was killed. Where the file system has no locks it stays; where locks do not reach
other machines, the machine's mark in the name tells whose it is.
"""

from __future__ import annotations

import os
import platform
import stat
import sys
import time
import zlib
from contextlib import suppress
from functools import cache

if sys.platform != "win32":
    import fcntl

_PREFIX, _SUFFIX = ".normengine-", ".tmp"
_OLD = 24 * 3600.0
"""Seconds without a change after which no writer is at work, on whatever machine."""

_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def new_name(folder: str) -> str:
    """A name in ``folder`` that nobody can foresee, short whatever the name of the file is that will be written."""
    return os.path.join(folder, f"{_PREFIX}{_machine()}-{os.urandom(8).hex()}{_SUFFIX}")


def create(path: str, flags: int, mode: int) -> int:
    """For ``open(..., opener=)``: a descriptor of a new file; whatever has the name, be it a link, is an error."""
    return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, mode)


def lock(descriptor: int) -> bool:
    """Lock a file just made as one that is being written; False if it was taken for abandoned before that."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks here; then nobody finds one free
    return os.fstat(descriptor).st_nlink > 0


def remove_abandoned(folder: str) -> None:
    """Remove this user's temporary files in ``folder`` that no living process writes."""
    with suppress(OSError), os.scandir(folder or os.curdir) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path, entry.name.startswith(f"{_PREFIX}{_machine()}-"))


def _remove_if_abandoned(path: str, made_here: bool) -> None:
    if sys.platform == "win32":
        if time.time() - os.stat(path).st_mtime > _OLD:
            os.unlink(path)  # which fails while a process has it open
        return
    descriptor = os.open(path, _FLAGS | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if own and (made_here or time.time() - found.st_mtime > _OLD):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its writer lives
            os.unlink(path)
    finally:
        os.close(descriptor)


@cache
def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode(errors='surrogateescape')):08x}"
