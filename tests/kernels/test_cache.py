"""The cache folder: code is found again by another process, damage is repaired, and a bad folder is no obstacle."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import subprocess
import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normengine.files import atomic
from normengine.kernels import cache
from normengine.kernels.chains import Chain, Operand, Step, chain

from .chains.test_chain import ENTRY, chain_args, chain_launch

ONE = Operand("float32", "one")
DOUBLE = Chain(1, (ONE,), (ONE,), (0,), 0, (), (Step("add", (("input", 0), ("input", 0)), "float32"),))
PROGRAM = """
import sys
from tests.kernels.test_cache import doubled
print(*doubled(), "numba" in sys.modules)
"""
ROOT = Path(__file__).parents[2]


def doubled() -> tuple[float, int]:
    """The result of DOUBLE on 21, compiled or loaded now, and whether it was loaded (1) or compiled (0)."""
    code = chain._compile(DOUBLE.source())
    x, y = np.array([21], np.float32), np.empty(1, np.float32)
    args = chain_args(DOUBLE, [x.ctypes.data, y.ctypes.data], (1,), [[1], [1]], *chain_launch((1,))[1:])
    ENTRY(code)(args.ctypes.data, 0, 1, 0)
    return float(y[0]), int(code.loaded)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NORMENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", set())
    return tmp_path / "cache"


def in_another_process() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def test_another_process_finds_the_code_and_needs_no_compiler(folder: Path) -> None:
    assert doubled() == (42, 0)
    process = in_another_process()
    out, errors = process.communicate()
    assert out.split() == ["42.0", "1", "False"], errors


def test_processes_that_start_together_share_the_folder(folder: Path) -> None:
    processes = [in_another_process() for _ in range(3)]
    results = [process.communicate() for process in processes]
    assert all(out.startswith("42.0") and not errors for out, errors in results), results
    assert sorted(path.suffix for path in folder.glob("chains/*")) == [".code", ".py"]
    assert doubled() == (42, 1)


def test_the_source_lies_beside_the_code(folder: Path) -> None:
    doubled()
    (code,) = folder.glob("chains/*.code")
    assert code.with_suffix(".py").read_text() == DOUBLE.source()
    assert len(list(folder.glob("chains/*"))) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "folder"])
def test_a_damaged_entry_is_built_again(folder: Path, damage: str) -> None:
    doubled()
    (code,) = folder.glob("chains/*.code")
    data = bytearray(code.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    if damage == "folder":
        code.unlink()
        code.mkdir()
        with pytest.warns(RuntimeWarning, match="cannot be written"):
            assert doubled() == (42, 0)
        return
    code.write_bytes({"cut": data[:-100], "flip": data, "empty": b""}[damage])
    assert doubled() == (42, 0)
    assert doubled() == (42, 1)


@pytest.mark.parametrize("content", [b"text", b"object file of another\n"])
def test_whole_files_of_something_else_are_built_again(folder: Path, content: bytes) -> None:
    doubled()
    (code,) = folder.glob("chains/*.code")
    assert cache.write_checked(code, content)
    assert doubled() == (42, 0)
    assert doubled() == (42, 1)


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NORMENGINE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(cache, "_warned", set())
    with pytest.warns(RuntimeWarning, match="set NORMENGINE_CACHE to a folder that can be written") as seen:
        results = [doubled(), doubled()]
    assert results == [(42, 0), (42, 0)]
    assert len(seen) == 1
    assert (tmp_path / "file").read_text() == "in the way"
    with pytest.raises(OSError, match="could not get source|source code not available"):
        inspect.getsourcelines(chain._function(DOUBLE.source(), tmp_path / "file" / "cache" / "source.py"))


@pytest.mark.parametrize("damaged", [False, True])
def test_a_folder_that_may_only_be_read_gives_its_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    doubled()
    (code,) = folder.glob("chains/*.code")
    if damaged:
        code.write_bytes(code.read_bytes()[:-1])

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic, "create", refuse)
    if not damaged:
        assert doubled() == (42, 1)
        return
    with pytest.warns(RuntimeWarning, match="cannot be written .Permission denied.") as seen:
        results = [doubled(), doubled()]
    assert results == [(42, 0), (42, 0)] and len(seen) == 1


def test_a_full_disk_leaves_nothing_and_the_code_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *args: Any, **options: Any) -> None:
            self.file = open(*args, **options)  # noqa: SIM115

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def fileno(self) -> int:
            return self.file.fileno()

        def write(self, data: bytes) -> None:
            self.file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "open", Full, raising=False)
    with pytest.warns(RuntimeWarning, match="No space left on device") as seen:
        assert doubled() == doubled() == (42, 0)
    assert len(seen) == 1
    assert list(folder.glob("chains/*")) == []


def test_nothing_is_left_of_a_write_that_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert not cache.write_entry(folder / "a", b"data")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes as POSIX has")
@pytest.mark.parametrize("place", ["folder", "folder above", "entry", "link", "FIFO"])
def test_code_that_others_can_have_planted_is_not_loaded(folder: Path, place: str) -> None:
    """From a folder of others nothing is loaded and nothing is kept there; an entry of others is replaced."""
    doubled()
    (code,) = folder.glob("chains/*.code")
    content = code.read_bytes()
    if place == "link":
        code.rename(code.with_suffix(".other"))
        code.symlink_to(code.with_suffix(".other"))
    elif place == "FIFO":
        code.unlink()
        os.mkfifo(code)
    else:
        {"folder": code.parent, "folder above": folder, "entry": code}[place].chmod(0o777)
    if "folder" in place:
        message = f"cache folder {folder} is not used, since .* can be written by other users; .* that only you can"
        with pytest.warns(RuntimeWarning, match=message) as seen:
            assert doubled() == doubled() == (42, 0)
        assert len(seen) == 1 and code.read_bytes() == content
    else:
        assert doubled() == (42, 0)
        assert doubled() == (42, 1)
        assert code.lstat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", ["folder", "entry"])
def test_code_of_another_user_is_not_loaded(folder: Path, place: str) -> None:
    doubled()
    (code,) = folder.glob("chains/*.code")
    os.chown(folder if place == "folder" else code, 12345, 12345)
    if place == "folder":
        with pytest.warns(RuntimeWarning, match=f"is not used, since {folder} belongs to another user"):
            assert doubled() == (42, 0)
        return
    assert doubled() == (42, 0)
    assert code.stat().st_uid == os.geteuid()
    assert doubled() == (42, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes as POSIX has")
def test_what_is_kept_is_this_users_alone(folder: Path) -> None:
    doubled()
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes == {"": 0o700, ".code": 0o600, ".py": 0o600}


@pytest.mark.parametrize("relative", ["cache", "~/cache", "."])
def test_a_relative_folder_is_an_error(monkeypatch: pytest.MonkeyPatch, relative: str) -> None:
    monkeypatch.setenv("NORMENGINE_CACHE", relative)
    with pytest.raises(ValueError, match=f"^NORMENGINE_CACHE must be an absolute path, got '{relative}'$"):
        doubled()


def test_the_name_depends_on_source_and_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    name = cache.digest("a", "b")
    assert name == cache.digest("a", "b") != cache.digest("ab")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_numba_version", lambda: "0.0")
        cache._machine.cache_clear()
        assert cache.digest("a", "b") != name
    cache._machine.cache_clear()
    monkeypatch.setenv("NUMBA_OPT", "1")
    assert cache.digest("a", "b") != name


def test_numba_is_told_from_its_other_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    version = importlib.metadata.version("numba")
    assert version in cache._numba_version()
    spec = ModuleSpec("numba", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(cache, "find_spec", lambda name: spec)
    assert cache._numba_version() == version


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NORMENGINE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(cache.Path, "home", nowhere)
    monkeypatch.setattr(cache, "_warned", set())
    assert cache.cache_folder() == Path(os.devnull) / "normengine"
    with pytest.warns(RuntimeWarning, match="set NORMENGINE_CACHE to a folder that can be written"):
        assert not cache.write_checked(cache.cache_folder() / "chains" / "x.code", b"code")


@pytest.mark.parametrize(
    "platform, variables, expected",
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/normengine"),
        ("linux", {}, "~/.cache/normengine"),
        ("darwin", {}, "~/Library/Caches/normengine"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/normengine"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "~/.cache/normengine"),
        ("linux", {"HOME": "relative"}, "/dev/null/normengine"),
        ("linux", {"NORMENGINE_CACHE": "/mine"}, "/mine"),
    ],
)
def test_cache_folder(platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NORMENGINE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.cache_folder() == Path(expected).expanduser()


def test_a_sound_folder_gives_no_warning(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        doubled()
