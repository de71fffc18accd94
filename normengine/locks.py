"""Locks that are safe with forks and signals: free again in a forked process, and held while work is done that neither
a signal nor a fork may cut in two.

``with lock:`` on a lock of the interpreter's own takes and releases it without a bytecode in between, so that a signal
handler that raises (Ctrl-C) never leaves it taken; one with ``__enter__`` written in Python would. The locks of
:func:`new_lock` are reentrant: a signal handler or finalizer that comes back to the thread that holds one goes on.

Python calls signal handlers on the main thread, between two bytecodes. What must not end halfway is therefore either
one call of a function written in C (:func:`at_once`) or done by another thread (:func:`undisturbed`).
"""

from __future__ import annotations

import _thread
import gc
import logging  # noqa: F401
import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module
from operator import methodcaller
from threading import Lock, RLock
from types import ModuleType
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")

_every: WeakSet[Any] = WeakSet()


def new_lock() -> AbstractContextManager[object]:
    """A reentrant lock for ``with`` that is free in a forked process, where a thread that held it no longer exists."""
    lock = RLock()
    _every.add(lock)
    return lock


is_held: Callable[[Any], bool] = type(RLock())._is_owned  # type: ignore[attr-defined]
"""Whether this thread holds the lock: it came back, by way of a signal handler or a finalizer."""


WHOLE = RLock()
"""Held while something is under way that a forked process could neither finish nor begin anew, such as an import or a
compilation: another thread's ``os.fork`` waits for its end."""


def undisturbed(work: Callable[[], T]) -> T:
    """``work()``, on a thread of its own, which no signal handler interrupts, while :data:`WHOLE` is held and no
    garbage is collected, whose finalizers might wait for this very work. It may take no other lock: whoever asked for
    it, or a signal handler that comes while it is done, may hold that.

    If the caller is interrupted the work goes on to its end, and nobody sees its result.
    """
    if is_held(WHOLE):
        return work()
    outcome: list[tuple[bool, Any]] = []
    ended = Lock()
    ended.acquire()
    _waited_for.add(ended)

    def run() -> None:
        with WHOLE:
            outcome.append(_tried(work))
            ended.release()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # a signal handler's, while the thread began
        run()  # the interpreter ends, or there can be no more threads
    ended.acquire()
    if not outcome:  # this is a child, forked by a signal handler before the other thread had begun
        return undisturbed(work)
    ((succeeded, value),) = outcome
    if not succeeded:
        raise value
    result: T = value
    return result


_waited_for: WeakSet[Any] = WeakSet()
"""Locks that are released when another thread has done what this one waits for."""


def _tried(work: Callable[[], Any]) -> tuple[bool, Any]:
    """Whether ``work()`` succeeded, and its result or its error."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return True, work()
    except BaseException as error:
        return False, error
    finally:
        if collecting:
            gc.enable()


def load_module(name: str) -> ModuleType:
    """Import a module, undisturbed: an import that a signal or a fork cuts in two may not be possible again."""
    if name not in _loaded:
        _loaded[name] = undisturbed(lambda: import_module(name))
    return _loaded[name]


_loaded: dict[str, ModuleType] = {}


def at_once(calls: Iterable[Callable[[], Any]]) -> Callable[[], Any]:
    """A function, to be called once, that does all the calls, which must be of functions written in C. That is one step
    for the interpreter, so that a signal handler runs before the first of them or after the last."""
    return partial(deque, map(methodcaller("__call__"), tuple(calls)), 0)


def _hold() -> None:
    """Take :data:`WHOLE`. The interpreter forks whatever happens here, so a signal handler that raises is not heard."""
    while True:
        try:
            WHOLE.acquire()
            return
        except BaseException:
            continue


def _let_go() -> None:
    if is_held(WHOLE):
        WHOLE.release()


def _renew_all() -> None:
    """In a child: free the locks of threads that no longer exist, and end the waiting for them. What the thread holds
    that forked, in a signal handler, it will let go itself."""
    for lock in _every:
        if not is_held(lock):
            lock._at_fork_reinit()
    for ended in _waited_for:
        if ended.locked():
            ended.release()


# What is registered last comes first before a fork. `logging`, which Numba imports, takes a lock of its own there; were
# it imported after this module, a fork would hold that lock, and wait for work that waits for it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)
    os.register_at_fork(after_in_child=_renew_all)
