"""What signals, forks and threads find of a lock, and of work that none of them may cut in two."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from operator import setitem

import pytest

from normengine.kernels.code import Code, CodeCache
from normengine.locks import at_once, is_held, load_modules, new_lock, undisturbed


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


def test_modules_are_loaded_once() -> None:
    load_modules("json.tool", "json")
    load_modules("json")
    with pytest.raises(ModuleNotFoundError):
        load_modules("normengine.no_such_module")


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
