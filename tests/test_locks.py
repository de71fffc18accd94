"""What signals, forks and threads find of a lock, and of work that none of them may cut in two."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import setitem
from pathlib import Path

import pytest

from normengine import locks
from normengine.kernels.code import Code, CodeCache
from normengine.locks import at_once, is_held, load_module, new_lock, undisturbed
from normengine.nn import random
from normengine.recent import Recent


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, which it does not where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_lock_lets_its_own_thread_in_again_and_no_other() -> None:
    lock = new_lock()
    assert not is_held(lock)
    with lock, lock:
        assert is_held(lock)
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(lock.acquire(blocking=False)))
        thread.start()
        thread.join()
        assert got == [False]
    assert not is_held(lock)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_lock_that_another_thread_held_is_free_in_a_child() -> None:
    lock, held, done = new_lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(blocking=False) else 1)
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    thread.join()


def test_undisturbed_work_gives_its_result_or_raises_its_error() -> None:
    assert undisturbed(lambda: (threading.current_thread() is not threading.main_thread(), gc.isenabled())) == (
        True,
        False,
    )
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        undisturbed(lambda: 1 / 0)


def test_undisturbed_work_within_undisturbed_work_needs_no_other_thread() -> None:
    outer, inner = undisturbed(lambda: (threading.get_ident(), undisturbed(threading.get_ident)))
    assert outer == inner


@pytest.mark.usefixtures("interruptible")
def test_undisturbed_work_goes_on_when_its_caller_is_interrupted() -> None:
    ended = threading.Event()

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.05)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        undisturbed(work)
    assert ended.wait(10)
    assert undisturbed(lambda: 42) == 42


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_for_undisturbed_work() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.1)
        ended.set()

    thread = threading.Thread(target=undisturbed, args=(work,))
    thread.start()
    begun.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if ended.is_set() and undisturbed(lambda: True) else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


@pytest.mark.usefixtures("interruptible")
def test_a_signal_takes_effect_before_or_after_what_is_done_at_once() -> None:
    numbers = [0] * 10
    calls = [partial(setitem, numbers, i, 1) for i in range(10)]
    calls.insert(5, partial(_thread.interrupt_main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        at_once(calls)()
    assert numbers == [1] * 10


def test_a_module_is_loaded_once() -> None:
    assert load_module("json.tool") is load_module("json.tool") is sys.modules["json.tool"]
    with pytest.raises(ModuleNotFoundError):
        load_module("normengine.no_such_module")


def test_a_cache_of_code_keeps_the_last_ones_and_makes_each_once() -> None:
    made: list[int] = []

    def make(number: int) -> Code:
        time.sleep(0.001)
        made.append(number)
        return Code(number, False, None)

    cache = CodeCache(size=2)
    results: list[Code] = []
    threads = [threading.Thread(target=lambda: results.append(cache.get(7, lambda: make(7)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [7] and all(code is results[0] for code in results) and len(results) == 8
    for number in (8, 7, 9):
        cache.get(number, partial(make, number))
    assert made == [7, 8, 9]
    cache.get(7, partial(make, 7))
    cache.get(8, partial(make, 8))
    assert made == [7, 8, 9, 8]


def test_code_may_be_asked_for_while_the_same_thread_asks_for_code() -> None:
    """As by a signal handler: nothing that the one holds is waited for by the other's thread."""
    cache = CodeCache()
    inner: list[Code] = []

    def make() -> Code:
        inner.append(cache.get("inner", lambda: Code(2, False, None)))
        return Code(1, False, None)

    assert (cache.get("outer", make), *inner) == (1, 2)


def test_what_was_used_last_is_kept_whatever_comes_in_between() -> None:
    recent: Recent[str, int] = Recent()
    for key, value in zip("abc", (1, 2, 3)):
        recent.keep(key, value, size=2)
    assert [key for key, _ in recent.items()] == ["b", "c"] and recent.use("a") is None
    assert recent.use("b") == 2 and recent.items() == [("c", 3), ("b", 2)] and recent.values() == [3, 2]
    recent.keep("d", 4, size=2)
    assert recent.items() == [("b", 2), ("d", 4)]
    for _ in range(3):
        recent.drop()
    assert len(recent) == 0


@pytest.mark.usefixtures("interruptible")
def test_work_is_done_once_though_a_signal_handler_raises_while_its_thread_begins() -> None:
    done: list[int] = []

    def handle(number: int, frame: object) -> None:
        raise RuntimeError("a handler's own")

    signal.signal(signal.SIGINT, handle)
    original = locks._thread.start_new_thread

    def start(function: Callable[[], None], arguments: tuple[()]) -> int:
        ident = original(function, arguments)
        signal.raise_signal(signal.SIGINT)
        return ident

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks._thread, "start_new_thread", start)
        with pytest.raises(RuntimeError, match="a handler's own"):
            undisturbed(lambda: done.append(1))
    deadline = time.monotonic() + 10
    while not done and time.monotonic() < deadline:
        time.sleep(0.001)
    assert done == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="how much a stack may be is the system's affair")
def test_work_is_done_here_where_there_can_be_no_more_threads() -> None:
    before = threading.stack_size(1 << 46)
    try:
        assert undisturbed(threading.get_ident) == threading.get_ident()
    finally:
        threading.stack_size(before)


FIRST_USE = """
import os, sys, threading, time
import normengine as ne
first = threading.Thread(target=lambda: getattr(ne, sys.argv[1]))
first.start()
time.sleep(float(sys.argv[2]))
child = os.fork()
if child == 0:
    getattr(ne, sys.argv[1])
    os._exit(0)
deadline = time.monotonic() + 60
while os.waitpid(child, os.WNOHANG) == (0, 0):
    if time.monotonic() > deadline:
        os.kill(child, 9)
        sys.exit("the child hangs")
    time.sleep(0.01)
first.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(("moment", "compiled"), [(0.01, True), (0.04, True), (0.001, False), (0.01, False)])
def test_a_fork_while_another_thread_uses_a_name_for_the_first_time(
    moment: float, compiled: bool, tmp_path: Path
) -> None:
    """Without the modules' bytecode every import takes long, and the fork falls into an early one."""
    command = [sys.executable, "-W", "ignore", "-c", FIRST_USE, "TrainStep", str(moment)]
    environment = {**os.environ} if compiled else {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_draws_random_numbers() -> None:
    generator, drawing, done = random.generator(), threading.Event(), threading.Event()

    def draw() -> None:
        while not done.is_set():
            drawing.set()
            generator.standard_normal(1 << 20)

    thread = threading.Thread(target=draw)
    thread.start()
    drawing.wait()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                random.draw_seed()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("moment", ["begun", "not begun"])
def test_a_signal_handler_forks_while_work_is_waited_for(moment: str) -> None:
    """The child goes on where its parent was: with the work's result, or by doing it anew."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_WITHIN, moment],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


FORK_WITHIN = """
import os, signal, sys, time
from types import SimpleNamespace
from normengine import locks

parent, children, begun = os.getpid(), [], sys.argv[1] == "begun"

def fork(number, frame):
    children.append(os.fork())
    if children[0] == 0:
        signal.alarm(20)

def work():
    if begun and os.getpid() == parent:
        os.kill(parent, signal.SIGUSR1)
        time.sleep(0.1)
    return 42

def start(function, arguments):
    if not begun and not children:
        os.kill(parent, signal.SIGUSR1)
        if children[0] == 0:
            return 0  # a thread that was started before the fork, and is not there any more
    return start_new_thread(function, arguments)

signal.signal(signal.SIGUSR1, fork)
start_new_thread = locks._thread.start_new_thread
locks.undisturbed(lambda: None)
locks._thread = SimpleNamespace(start_new_thread=start)
with locks.new_lock():
    assert locks.undisturbed(work) == 42
if children[0] == 0:
    os._exit(0)
assert os.waitpid(children[0], 0)[1] == 0, "the child failed"
"""
