"""Files appear whole or not at all, under the name that was asked for."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from normengine.files import atomic, temporary
from normengine.files.atomic import atomic_stream, check_replaceable, replace_file, write_atomically

posix = pytest.mark.skipif(sys.platform == "win32", reason="owners, modes, FIFOs and locks are POSIX's")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
ANOTHER = 12345
"""The number of another user."""

WRITER = """
import sys, time
from normengine.files import atomic
sync = atomic.os.fsync
def stop(descriptor):
    sync(descriptor)
    print("written", flush=True)
    time.sleep(60)
atomic.os.fsync = stop
atomic.write_atomically(sys.argv[1], b"new" * 1000)
"""


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def writer(tmp_path):
    """A process that has written its temporary file and not yet put it in place."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "f")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def shared():
    """A folder that every user may write, and reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def run_as(user, script, *arguments):
    """``script`` run by another user, its imports done before; what it printed."""
    head = (
        f"import os, sys\nfrom normengine.files.atomic import write_atomically\nos.setgroups([])\nos.setegid({user})\n"
    )
    command = [sys.executable, "-c", f"{head}os.seteuid({user})\n{script}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "f"
    for content in (b"old", b"the new one"):
        write_atomically(path, content)
    assert path.read_bytes() == b"the new one"
    assert list(tmp_path.iterdir()) == [path]


def test_looking_whether_a_file_can_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "f"
    check_replaceable(path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    check_replaceable(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        check_replaceable(tmp_path)
    with pytest.raises(FileNotFoundError, match="the folder .*none does not exist"):
        check_replaceable(tmp_path / "none" / "f")


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    try:
        link.symlink_to(real.name)
    except OSError:
        pytest.skip("links cannot be made here")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_an_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def interrupt(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_in_pieces(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with atomic_stream(path) as stream:
        for piece in (b"n", b"", b"ew" * 100_000):
            stream.write(piece)
            assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"n" + b"ew" * 100_000 and mode(path) == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, FileExistsError])
def test_an_error_among_the_pieces_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def write():
        with atomic_stream(path) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_stream_to_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        atomic_stream(tmp_path / "no" / "f").__enter__()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        atomic_stream(tmp_path).__enter__()


def test_threads_that_write_the_same_file(tmp_path):
    path, contents = tmp_path / "f", [bytes([i]) * 100_000 for i in range(4)]
    threads = [threading.Thread(target=write_atomically, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("before", [0o600, 0o640, 0o666, 0o755])
def test_a_replaced_file_hands_its_mode_on(tmp_path, before):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(before)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and mode(path) == before


@posix
def test_a_new_file_has_the_mode_that_open_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "f", b"new")
        (tmp_path / "other").write_bytes(b"")
    finally:
        os.umask(before)
    assert mode(tmp_path / "f") == mode(tmp_path / "other") == 0o640


@posix
def test_nobody_can_read_a_secret_while_it_is_written(tmp_path, monkeypatch):
    path, seen, sync = tmp_path / "f", [], os.fsync
    path.write_bytes(b"old")
    path.chmod(0o600)
    monkeypatch.setattr(os, "fsync", lambda d: (seen.append(stat.S_IMODE(os.fstat(d).st_mode)), sync(d)))
    write_atomically(path, b"new")
    assert seen[0] == 0o600


@as_root
def test_a_replaced_file_hands_its_owner_on(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.chown(path, ANOTHER, ANOTHER + 1)
    write_atomically(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode(path)) == (ANOTHER, ANOTHER + 1, 0o640)


@as_root
@pytest.mark.parametrize(("before", "after"), [(0o666, 0o666), (0o662, 0o622), (0o646, 0o646)])
def test_who_may_not_give_files_away_gives_no_permission_either(shared, before, after):
    """The new file has another group: that may do what everybody could."""
    path = shared / "f"
    path.write_bytes(b"old")
    path.chmod(before)
    done = run_as(ANOTHER, "write_atomically(sys.argv[1], b'new')", path)
    assert not done.stderr
    found = path.stat()
    assert path.read_bytes() == b"new" and (found.st_uid, found.st_gid) == (ANOTHER, ANOTHER) and mode(path) == after


@as_root
def test_a_file_that_open_would_not_write_is_not_replaced(shared):
    path = shared / "f"
    path.write_bytes(b"old")
    os.chown(path, ANOTHER, ANOTHER)
    path.chmod(0o444)
    done = run_as(ANOTHER, "write_atomically(sys.argv[1], b'new')", path)
    assert done.stderr.endswith(f"PermissionError: [Errno 13] cannot be written (Permission denied): '{path}'\n")
    assert path.read_bytes() == b"old" and list(shared.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="access control lists as Linux has them")
def test_access_control_lists_stay_and_none_is_added(tmp_path):
    """The group's bits of the mode are the list's mask, and without the list they would be the group's."""
    entries = [(1, 6, -1), (2, 6, ANOTHER), (4, 0, -1), (16, 6, -1), (32, 0, -1)]  # u::rw u:12345:rw g::- m::rw o::-
    listed = b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + (number & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, rights, number in entries
    )
    path, other = tmp_path / "f", tmp_path / "other"
    path.write_bytes(b"old")
    other.write_bytes(b"old")
    other.chmod(0o660)
    try:
        os.setxattr(path, "system.posix_acl_access", listed)
        os.setxattr(tmp_path, "system.posix_acl_default", listed)
    except OSError:
        pytest.skip("the file system has no access control lists")
    write_atomically(path, b"new")
    write_atomically(other, b"new")
    assert os.getxattr(path, "system.posix_acl_access") == listed
    assert "system.posix_acl_access" not in os.listxattr(other) and mode(other) == 0o660


@posix
def test_another_name_keeps_the_old_content(tmp_path):
    path, other = tmp_path / "f", tmp_path / "other"
    path.write_bytes(b"old")
    os.link(path, other)
    write_atomically(path, b"new")
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"old")


@posix
@pytest.mark.parametrize("kind", ["FIFO", "device", "socket"])
def test_what_is_no_file_is_neither_replaced_nor_waited_for(tmp_path, kind, monkeypatch):
    path = tmp_path / "f"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(os.devnull)
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(tmp_path)  # a socket's name is short
            listener.bind("f")
    before = path.stat()
    for write in (check_replaceable, lambda p: write_atomically(p, b"new")):
        with pytest.raises(OSError, match=f"f: is a {kind}, which cannot be replaced as a whole; give the name of a"):
            write(path)
    assert os.path.samestat(path.stat(), before) and list(tmp_path.iterdir()) == [path]


@posix
def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="cannot be written .*symbolic links"):
        write_atomically(tmp_path / "a", b"new")


@posix
def test_a_link_to_nothing_gets_something_to_point_to(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("real")
    write_atomically(link, b"new")
    assert link.is_symlink() and (tmp_path / "real").read_bytes() == b"new"


@as_root
def test_a_link_that_another_user_left_for_all_is_not_followed(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    real, link = tmp_path / "real", folder / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_atomically(link, b"own link")
    os.lchown(link, ANOTHER, ANOTHER)
    with pytest.raises(OSError, match="is a link of another user in a folder for all; give what it points to"):
        write_atomically(link, b"new")
    assert real.read_bytes() == b"own link"


@posix
def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    victim, planted = tmp_path / "victim", tmp_path / "planted"
    victim.write_bytes(b"mine")
    planted.symlink_to(victim)
    monkeypatch.setattr(atomic, "new_name", lambda folder: str(planted))
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "f", b"new")
    assert victim.read_bytes() == b"mine"


def test_names_as_long_as_a_name_may_be_and_longer(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(OSError, match=r"cannot be written \(File name too long\)"):
        write_atomically(tmp_path / ("n" * 256), b"new")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 are Linux's")
@pytest.mark.parametrize("kind", [str, bytes])
def test_names_that_are_no_text(tmp_path, kind):
    path = os.fsencode(tmp_path / "f") + b"\xff"
    write_atomically(os.fsdecode(path) if kind is str else path, b"new")
    with open(path, "rb") as stream:
        assert stream.read() == b"new"


def test_a_name_with_a_nul(tmp_path):
    with pytest.raises(ValueError, match=r"f\\x00g': a file name cannot hold a NUL character; give another one"):
        write_atomically(f"{tmp_path}/f\0g", b"new")


@posix
def test_a_disk_that_is_full_after_half_of_it(tmp_path):
    import resource

    path = tmp_path / "f"
    path.write_bytes(b"old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written \(File too large\)"):
            write_atomically(path, bytes(100_000))
        with pytest.raises(OSError, match=r"cannot be written \(File too large\)"), atomic_stream(path) as stream:
            stream.writelines([bytes(1000)] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@posix
def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path, writer):
    write_atomically(tmp_path / "other", b"new")
    assert len(list(tmp_path.glob(".*.tmp"))) == 1  # the writer lives
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write_atomically(tmp_path / "other", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@as_root
def test_what_another_user_left_stays(tmp_path):
    left = tmp_path / os.path.basename(temporary.new_name(""))
    left.write_bytes(b"")
    os.chown(left, ANOTHER, ANOTHER)
    write_atomically(tmp_path / "f", b"new")
    assert left.exists()


@posix
def test_what_another_machine_left_stays_for_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(temporary, "_machine", lambda: "another")
    left = [tmp_path / os.path.basename(temporary.new_name("")) for _ in range(2)]
    for path in left:
        path.write_bytes(b"")
    yesterday = time.time() - 25 * 3600
    os.utime(left[0], (yesterday, yesterday))
    monkeypatch.undo()
    write_atomically(tmp_path / "f", b"new")
    assert [path.exists() for path in left] == [False, True]


@posix
def test_what_is_no_temporary_file_stays(tmp_path):
    names = [".normengine-notes", "model.tmp", ".normengine-0-0.tmp.old"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / os.path.basename(temporary.new_name("")))
    (tmp_path / os.path.basename(temporary.new_name(""))).symlink_to(names[0])
    write_atomically(tmp_path / "f", b"new")
    assert len(list(tmp_path.iterdir())) == 6


@posix
def test_a_writer_whose_file_was_taken_for_abandoned_begins_again(tmp_path, monkeypatch):
    """Between the moment it was made and that in which it was locked."""
    taken = []

    def locked(descriptor):
        if not taken:
            (path,) = tmp_path.iterdir()
            taken.append(path)
            path.unlink()
        return temporary.lock(descriptor)

    monkeypatch.setattr(atomic, "lock", locked)
    replace_file(str(tmp_path / "f"), b"new", 0o666)
    assert taken and (tmp_path / "f").read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1


@posix
def test_a_file_system_without_locks(tmp_path, monkeypatch):
    import fcntl

    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left = tmp_path / os.path.basename(temporary.new_name(""))
    left.write_bytes(b"")
    write_atomically(tmp_path / "f", b"new")
    assert left.exists() and (tmp_path / "f").read_bytes() == b"new"
