"""Whether what lies in a file can have been written by another user. Code is run only where it cannot.

Owners that are believed are this user, root, and whoever owns the root folder. Windows has no such owners and modes;
there, folders are private where the system made them so.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
LARGEST = 2**28
"""Bytes that a private file may have at most."""


def make_private(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, for this user alone."""
    if not folder.exists():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def distrusted(folder: Path) -> str | None:
    """Why another user may be able to put files into ``folder`` or to put another folder in its place; None if nobody
    can. Folders above it that everybody may write must have the sticky bit, as ``/tmp`` has."""
    if sys.platform == "win32":
        return None
    return _distrusted(os.path.join(os.getcwd(), folder))


def _distrusted(leaf: str) -> str | None:
    place, above, linked = leaf, "", False
    while place != above:
        found = os.lstat(place)
        if not _believed(found.st_uid):
            return f"{place} belongs to another user"
        if stat.S_ISLNK(found.st_mode):
            linked = True
        elif found.st_mode & _OTHERS and not (above and found.st_mode & stat.S_ISVTX) and not _alone(found):
            return f"{place} can be written by other users"
        place, above = os.path.dirname(place), place
    return _distrusted(os.path.realpath(leaf)) if linked else None


def read_private(path: Path) -> bytes | None:
    """The content of the regular file ``path``; None if there is none, it is a link, its owner is none of those
    believed, or others can write it."""
    try:
        with open(path, "rb", opener=_without_links) as stream:
            found = os.fstat(stream.fileno())
            regular = stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST
            private = sys.platform == "win32" or not found.st_mode & _OTHERS
            if regular and private and _believed(found.st_uid):
                return stream.read(found.st_size)
    except OSError:
        pass
    return None


def _without_links(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _believed(owner: int) -> bool:
    return sys.platform == "win32" or owner in (os.geteuid(), 0) or owner == os.stat("/").st_uid


def _alone(found: os.stat_result) -> bool:
    """Whether those who can write are a group of which this user is the only member, named as the user is: many systems
    make one for each user, and folders that it can write. Root's group is none of these."""
    if sys.platform == "win32" or found.st_mode & stat.S_IWOTH or found.st_gid == 0:
        return False
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return (group.gr_gid, group.gr_name) == (user.pw_gid, user.pw_name) and set(group.gr_mem) <= {user.pw_name}
