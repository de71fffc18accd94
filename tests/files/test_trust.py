"""Code is run only from where no other user can have put it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from normengine.files import trust
from normengine.files.trust import distrusted, make_private, read_private

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no owners and modes as POSIX has")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
ANOTHER = 12345
"""The number of another user."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "above" / "folder"
    make_private(path)
    return path


def test_folders_are_made_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700] * 2
    assert distrusted(tmp_path / "a" / "b") is None


@pytest.mark.parametrize("bits", [0o002, 0o020, 0o1002])
@pytest.mark.parametrize("above", [False, True])
def test_a_folder_that_others_can_write(folder: Path, bits: int, above: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in a sticky folder can be replaced by nobody but its owner, but others can put files beside it."""
    monkeypatch.setattr(trust, "_alone", lambda found: False)
    place = folder.parent if above else folder
    place.chmod(0o700 | bits)
    expected = None if above and bits == 0o1002 else f"{place} can be written by other users"
    assert distrusted(folder) == expected


@as_root
@pytest.mark.parametrize("above", [False, True])
def test_a_folder_of_another_user(folder: Path, above: bool) -> None:
    place = folder.parent if above else folder
    os.chown(place, ANOTHER, ANOTHER)
    assert distrusted(folder) == f"{place} belongs to another user"


def test_a_folder_behind_a_link(folder: Path) -> None:
    link = folder.parent.parent / "link"
    link.symlink_to(folder)
    assert distrusted(link) is None
    folder.parent.chmod(0o777)
    assert distrusted(link) == f"{folder.parent} can be written by other users"


def test_a_folder_above_a_link(folder: Path) -> None:
    """Above ``link/..`` is what the link points to."""
    link = folder.parent.parent / "link"
    link.symlink_to(folder)
    other = folder.parent / "other"
    make_private(other)
    assert distrusted(link / ".." / "other") is None
    folder.parent.chmod(0o777)
    assert distrusted(link / ".." / "other") is not None


@as_root
def test_a_link_of_another_user(folder: Path) -> None:
    link = folder.parent.parent / "link"
    link.symlink_to(folder)
    os.lchown(link, ANOTHER, ANOTHER)
    assert distrusted(link) == f"{link} belongs to another user"


@pytest.mark.parametrize(
    ("name", "members", "trusted"), [("me", [], True), ("me", ["me"], True), ("me", ["you"], False), ("us", [], False)]
)
def test_a_group_that_is_nobody_but_this_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, members: list[str], trusted: bool
) -> None:
    import grp
    import pwd

    group = os.getegid()
    if group == 0:
        group = ANOTHER
        os.chown(folder, -1, group)
    monkeypatch.setattr(pwd, "getpwuid", lambda user: SimpleNamespace(pw_gid=group, pw_name="me"))
    entry = SimpleNamespace(gr_gid=group, gr_name=name, gr_mem=members)
    monkeypatch.setattr(grp, "getgrgid", lambda number: entry)
    folder.chmod(0o775)
    assert (distrusted(folder) is None) == trusted
    folder.chmod(0o777)
    assert distrusted(folder) is not None


@as_root
def test_files_of_another_user_and_files_that_others_can_write(folder: Path) -> None:
    path = folder / "f"
    path.write_bytes(b"content")
    path.chmod(0o644)
    assert read_private(path) == b"content"
    path.chmod(0o646)
    assert read_private(path) is None
    path.chmod(0o600)
    os.chown(path, ANOTHER, -1)
    assert read_private(path) is None


def test_what_is_no_file_of_ones_own(folder: Path) -> None:
    real = folder / "real"
    real.write_bytes(b"content")
    (folder / "link").symlink_to(real)
    os.mkfifo(folder / "fifo")
    assert [read_private(folder / name) for name in ("link", "fifo", ".", "none")] == [None] * 4
    with real.open("wb") as stream:
        stream.truncate(trust.LARGEST + 1)  # of holes
    assert read_private(real) is None
