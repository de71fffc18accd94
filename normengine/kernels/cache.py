"""Machine code on disk: each compiled function is one checked file in the cache folder, written in one move.

The folder is ``NORMENGINE_CACHE`` or ``normengine`` in the user's cache folder. A file's name holds a hash of all
that its code depends on (source, compiler versions, CPU); its first 32 bytes are the SHA-256 of the rest, so a damaged
file is noticed and built again. Code is loaded only from a folder and from files that no other user can have written
(``files/trust.py``). Where the folder is not such a one, or cannot be written, functions are compiled anew in each
process.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..files.trust import distrusted, make_private, read_private
from ..locks import load_module
from .code import Code, load, object_code

_DIGEST = 32
_warned: set[str] = set()


def cache_folder() -> Path:
    """Where compiled code is kept; it may not exist yet.

    Raises ValueError where ``NORMENGINE_CACHE`` is a relative path, which would mean another folder, perhaps of another
    user, wherever the process happens to be.
    """
    chosen = os.environ.get("NORMENGINE_CACHE")
    if chosen:
        if not os.path.isabs(chosen):
            raise ValueError(f"NORMENGINE_CACHE must be an absolute path, got {chosen!r}")
        return Path(chosen)
    try:
        if sys.platform == "win32":
            base = _absolute("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = _absolute("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        base = Path()
    if not base.is_absolute():
        # A user without a home. Nothing can be kept below the null device; a folder that all users share would not do,
        # since code is run that lies there.
        base = Path(os.devnull)
    return base / "normengine"


def _absolute(variable: str) -> Path | None:
    """A folder that the system names; a relative one is ignored, as the XDG Base Directory Specification wants."""
    folder = os.environ.get(variable, "")
    return Path(folder) if os.path.isabs(folder) else None


def digest(*parts: str) -> str:
    """A name for code made of ``parts`` on this machine with these compilers."""
    overrides = tuple(os.environ.get(name, "") for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT"))
    return hashlib.sha256(repr((_machine(), overrides, parts)).encode()).hexdigest()[:40]


@cache
def _machine() -> tuple[str, ...]:
    import llvmlite
    from llvmlite import binding

    made_by = (Path(__file__).with_name("code.py").read_text(encoding="utf-8"), _numba_version(), llvmlite.__version__)
    return (sys.version, *made_by, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())


def _numba_version() -> str:
    """What tells one version of Numba from another: the file in which it keeps it. That is read in a moment; importing
    Numba, or ``importlib.metadata``, would be a good part of a process's start."""
    spec = find_spec("numba")
    if spec is not None and spec.origin is not None:
        kept = Path(spec.origin).with_name("_version.py")
        if kept.is_file():
            return kept.read_text(encoding="utf-8")
    from importlib.metadata import version

    return version("numba")


def write_entry(path: Path, data: bytes) -> bool:
    """Put ``data`` at ``path`` in one move; False, after one warning for the folder, where that cannot be done."""
    try:
        make_private(path.parent)
        reason = distrusted(path.parent)
        if reason is None:
            load_module("normengine.files.atomic")
            from ..files.atomic import replace_file

            replace_file(str(path), data, 0o600)
            return True
        _warn(f"is not used, since {reason}", "belongs to you and that only you can write")
    except OSError as error:
        _warn(f"cannot be written ({error.strerror or error})", "can be written")
    return False


def _warn(what: str, wanted: str) -> None:
    folder = str(cache_folder())
    if folder not in _warned:
        _warned.add(folder)
        warnings.warn(
            f"normengine: the cache folder {folder} {what}; compiled code is not kept for the next run; set "
            f"NORMENGINE_CACHE to a folder that {wanted}",
            RuntimeWarning,
            stacklevel=3,
        )


def read_checked(path: Path) -> bytes | None:
    """What :func:`write_checked` wrote to ``path``; None if it is not there, not whole, or may be of another user."""
    try:
        if distrusted(path.parent) is not None:
            return None
    except OSError:
        return None
    data = read_private(path) or b""
    body = data[_DIGEST:]
    return body if len(data) > _DIGEST and hashlib.sha256(body).digest() == data[:_DIGEST] else None


def write_checked(path: Path, body: bytes) -> bool:
    """Write ``body`` after its checksum; see :func:`write_entry`."""
    return write_entry(path, hashlib.sha256(body).digest() + body)


def compile_function(make: Callable[[], Callable[..., None]], path: Path, fastmath: Collection[str]) -> Code:
    """The function that ``make`` gives as machine code with the kernels' signature, loaded from ``path`` or compiled
    and stored there. ``make`` and Numba are called only where the code has to be compiled."""
    entry = f"kernel_{path.stem}".replace("-", "_")
    head = f"object file of {entry}\n".encode()
    body = read_checked(path)
    if body is not None and body.startswith(head):
        return load(body[len(head) :], entry, loaded=True)
    content = object_code(make(), entry, fastmath)
    write_checked(path, head + content)
    return load(content, entry, loaded=False)
