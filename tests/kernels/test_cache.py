"""The cache folder: code is found again by another process, damage is repaired, and a bad folder is no obstacle."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from normengine.kernels import cache, chain
from normengine.kernels.chain import Chain, Operand, Step

from .test_chain import ENTRY, chain_args, chain_launch

ONE = Operand("float32", "one")
DOUBLE = Chain(1, (ONE,), (ONE,), (0,), 0, (), (Step("add", (("input", 0), ("input", 0)), "float32"),))
PROGRAM = """
from tests.kernels.test_cache import doubled
print(*doubled())
"""


def doubled() -> tuple[float, int]:
    """The result of DOUBLE on 21, compiled or loaded now, and whether it was loaded (1) or compiled (0)."""
    callback = chain._compile(DOUBLE.source())
    x, y = np.array([21], np.float32), np.empty(1, np.float32)
    args = chain_args(DOUBLE, [x.ctypes.data, y.ctypes.data], (1,), [[1], [1]], *chain_launch((1,))[1:])
    ENTRY(callback.address)(args.ctypes.data, 0, 1, 0)
    return float(y[0]), callback.cache_hits


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NORMENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", set())
    return tmp_path / "cache"


def test_another_process_finds_the_code(folder: Path) -> None:
    assert doubled() == (42, 0)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["42.0", "1"], done.stderr


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


def test_whole_files_of_code_that_is_gone_are_built_again(folder: Path) -> None:
    doubled()
    (code,) = folder.glob("chains/*.code")
    assert cache.write_checked(code, b"cno_such_module\nname\n.")
    assert doubled() == (42, 0)


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
        inspect.getsourcelines(chain._compile(DOUBLE.source())._pyfunc)


def test_nothing_is_left_of_a_write_that_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert not cache.write_atomically(folder / "a", b"data")
    assert list(folder.iterdir()) == []


def test_the_name_depends_on_source_and_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    name = cache.digest("a", "b")
    assert name == cache.digest("a", "b") != cache.digest("ab")
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert cache.digest("a", "b") != name


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
