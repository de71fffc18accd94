"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from .reading import kind_of
from .temporary import create, lock, new_name, remove_abandoned

_LINKS = 40
"""How many links may follow each other, as in the kernel."""

_ACL = "system.posix_acl_access"


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to ``path``: all of it, or nothing and an error, whatever was there before staying.

    A file that is replaced hands its permissions on and, where the system allows that, its owner and group; where not,
    nobody gains a permission. A link stays one, and what it points to is replaced. Another name (hard link) of the
    replaced file keeps the old content. On return the content is on the disk.

    Raises:
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: ``path`` is a folder.
        OSError: ``path`` is no regular file but a device or a FIFO; it is write-protected; the disk is full; a link
            leads there that another user left in a folder for all, such as ``/tmp``.
        ValueError: ``path`` holds a NUL character.
    """
    with _naming(path):
        target, old = _replaced_by(path)
        replace_file(target, content, 0o666 if old is None else 0o600, old, durable=True)


@contextmanager
def atomic_stream(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream for content that comes in pieces; when the ``with`` ends, ``path`` is as :func:`write_atomically` leaves
    it. Where anything is raised inside, nothing was written.

    Raises what :func:`write_atomically` does. OSErrors with a number that come from inside are taken for the stream's.
    """
    with _naming(path):
        target, old = _replaced_by(path)
        with _replacing(target, 0o666 if old is None else 0o600, old, durable=True) as stream:
            yield stream


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Raise what :func:`write_atomically` would raise, as far as that can be known before there is content."""
    with _naming(path):
        target, _ = _replaced_by(path)
        temporary = new_name(os.path.dirname(target))
        try:
            with open(temporary, "wb", opener=partial(create, mode=0o600)):
                pass
        finally:
            _remove(temporary)


def replace_file(
    target: str, content: bytes, mode: int, old: os.stat_result | None = None, *, durable: bool = False
) -> None:
    """Put a new file with ``content`` and ``mode`` (less the umask) in the place of ``target``, in one move.

    The new file gets owner and mode of ``old``, the file that is there now, if that is given. ``durable`` waits until
    the content is on the disk.
    """
    with _replacing(target, mode, old, durable=durable) as stream:
        stream.write(content)


@contextmanager
def _replacing(target: str, mode: int, old: os.stat_result | None, *, durable: bool) -> Iterator[BinaryIO]:
    """A stream to the new file that takes the place of ``target`` at the end; see :func:`replace_file`."""
    folder = os.path.dirname(target)
    remove_abandoned(folder)
    while True:
        temporary, made = new_name(folder), False
        try:
            with open(temporary, "wb", opener=partial(create, mode=mode)) as stream:
                made = True
                if not lock(stream.fileno()):
                    continue
                yield stream
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
                if old is not None and sys.platform != "win32":
                    _make_alike(stream.fileno(), target, old)
                if sys.platform == "win32":
                    stream.close()  # an open file cannot be moved there
                os.replace(temporary, target)
            break
        except BaseException as error:
            if made or not isinstance(error, FileExistsError):  # else it is another's file, whatever it is
                _remove(temporary)
            raise
    if durable and sys.platform != "win32":
        _sync(folder)


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """The system's errors name ``path`` and not the temporary file."""
    name = os.fsdecode(path)
    if "\0" in name:
        raise ValueError(f"{name!r}: a file name cannot hold a NUL character; give another one")
    try:
        yield
    except OSError as error:
        if not error.errno:
            raise
        raise OSError(error.errno, f"cannot be written ({error.strerror})", name) from error


def _replaced_by(path: str | os.PathLike[str]) -> tuple[str, os.stat_result | None]:
    """The name, behind all links, of the file that writing to ``path`` replaces, and that file if there is one."""
    path = target = str(Path(os.fsdecode(path)))
    with suppress(FileNotFoundError):
        kind = kind_of(os.stat(path).st_mode)
        if kind == "folder":
            raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
        if kind:
            raise OSError(f"{path}: is a {kind}, which cannot be replaced as a whole; give the name of a regular file")
    old = None
    for _ in range(_LINKS):
        folder = os.path.dirname(target)
        if not os.path.isdir(folder or os.curdir):
            raise FileNotFoundError(f"{path}: the folder {folder} does not exist")
        try:
            old = os.lstat(target)
        except FileNotFoundError:
            return target, None
        if not stat.S_ISLNK(old.st_mode):
            break
        if _may_be_planted(old, folder):
            raise OSError(f"{path}: {target} is a link of another user in a folder for all; give what it points to")
        target = os.path.join(folder, os.readlink(target))
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return target, old


def _may_be_planted(link: os.stat_result, folder: str) -> bool:
    """Whether Linux, too, would not follow the link where links are protected: in a folder that everybody may write,
    only one's own links and those of the folder's owner count."""
    if sys.platform == "win32":
        return False
    place = os.stat(folder or os.curdir)
    for_all = place.st_mode & stat.S_ISVTX and place.st_mode & stat.S_IWOTH
    return bool(for_all) and link.st_uid not in (os.geteuid(), place.st_uid)


if sys.platform != "win32":

    def _make_alike(descriptor: int, target: str, old: os.stat_result) -> None:
        """Give the new file owner, group, permissions and access control list of ``old``, or fewer permissions."""
        mode = stat.S_IMODE(old.st_mode) & 0o777
        new = os.fstat(descriptor)
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            try:
                os.fchown(descriptor, old.st_uid, old.st_gid)
            except OSError:
                try:
                    os.fchown(descriptor, -1, old.st_gid)
                except OSError:
                    mode &= 0o707 | (mode & 0o007) << 3  # another group, which may do what everybody may
        if sys.platform == "linux" and not _copy_acl(target, descriptor):
            mode &= 0o707
        os.fchmod(descriptor, mode)


def _copy_acl(source: str, descriptor: int) -> bool:
    """Give the new file the access control list of ``source``, or none where it has none; whether that was done."""
    if sys.platform != "linux":
        return False
    wanted, found = _acl(source), _acl(descriptor)
    try:
        if wanted is not None:
            os.setxattr(descriptor, _ACL, wanted)
        elif found is not None:
            os.removexattr(descriptor, _ACL)
    except OSError:
        return False
    return True


def _acl(file: str | int) -> bytes | None:
    try:
        return os.getxattr(file, _ACL) if sys.platform == "linux" else None
    except OSError:
        return None


def _sync(folder: str) -> None:
    """Wait until the folder's entries are on the disk, where that can be asked for."""
    try:
        descriptor = os.open(folder or os.curdir, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return  # a folder that may be written but not read
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot do it
            raise
    finally:
        os.close(descriptor)


def _remove(temporary: str) -> None:
    with suppress(OSError):
        os.unlink(temporary)
