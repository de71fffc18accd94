"""Machine code on disk: each compiled function is one checked file in the cache folder, written in one move.

The folder is ``NORMENGINE_CACHE`` or ``normengine`` in the user's cache folder. A file's name holds a hash of all
that its code depends on (source, compiler versions, CPU); its first 32 bytes are the SHA-256 of the rest, so a damaged
file is noticed and built again. Where the folder cannot be written, functions are compiled anew in each process.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any

_DIGEST = 32
_warned: set[str] = set()


def cache_folder() -> Path:
    """Where compiled code is kept; it may not exist yet."""
    chosen = os.environ.get("NORMENGINE_CACHE")
    if chosen:
        return Path(chosen)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        # A user without a home. Nothing can be kept below the null device; a folder that all users share would not do,
        # since code is run that lies there.
        base = Path(os.devnull)
    return base / "normengine"


def digest(*parts: str) -> str:
    """A name for code made of ``parts`` on this machine with these compilers."""
    import llvmlite
    import numba
    from llvmlite import binding

    features = binding.get_host_cpu_features().flatten()
    machine = (sys.version, numba.__version__, llvmlite.__version__, binding.get_host_cpu_name(), features)
    overrides = tuple(os.environ.get(name, "") for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT"))
    return hashlib.sha256(repr((machine, overrides, parts)).encode()).hexdigest()[:40]


def write_atomically(path: Path, data: bytes) -> bool:
    """Put ``data`` at ``path`` in one move; False, after one warning for the folder, where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        folder = str(cache_folder())
        if folder not in _warned:
            _warned.add(folder)
            warnings.warn(
                f"normengine: the cache folder {folder} cannot be written ({error.strerror or error}); compiled code "
                "is not kept for the next run; set NORMENGINE_CACHE to a folder that can be written",
                RuntimeWarning,
                stacklevel=2,
            )
        return False
    return True


def read_checked(path: Path) -> bytes | None:
    """What :func:`write_checked` wrote to ``path``, or None if it is not there or not whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[_DIGEST:]
    return body if len(data) > _DIGEST and hashlib.sha256(body).digest() == data[:_DIGEST] else None


def write_checked(path: Path, body: bytes) -> bool:
    """Write ``body`` after its checksum; see :func:`write_atomically`."""
    return write_atomically(path, hashlib.sha256(body).digest() + body)


class _OneFile:
    """The cache of one Numba function: what Numba asks of a cache, kept in one checked file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        from numba.core.compiler import CompileResult

        target_context.refresh()
        body = read_checked(self.path)
        try:
            return None if body is None else CompileResult._rebuild(target_context, *pickle.loads(body))
        except (ImportError, AttributeError, TypeError, pickle.UnpicklingError):
            return None  # whole, but written by code that is no longer there

    def save_overload(self, signature: Any, result: Any) -> None:
        from numba.core.serialize import dumps

        write_checked(self.path, dumps(result._reduce()))


def compile_function(function: Callable[..., None], path: Path, fastmath: Collection[str]) -> Any:
    """``function`` as a C callback of the kernels' signature, loaded from ``path`` or compiled and stored there.

    Returns Numba's callback object: it holds the code, and its ``address`` is valid as long as it lives.
    """
    from numba.core.ccallback import CFunc
    from numba.core.sigutils import normalize_signature

    from .abi import SIGNATURE

    # Code that is loaded again names the module that it was made in, which must then be there to import.
    sys.modules.setdefault(function.__module__, ModuleType(function.__module__))
    # Code of one process is looked up by name, so the name must tell apart what the files tell apart.
    function.__qualname__ = f"{function.__name__}_{path.stem}".replace("-", "_")
    options = {"error_model": "numpy", "fastmath": set(fastmath)}
    callback: Any = CFunc(function, normalize_signature(SIGNATURE), {}, options)
    callback._cache = _OneFile(path)
    callback.compile()
    return callback
