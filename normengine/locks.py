"""Locks that outlive forks and signals, and work that neither of them may cut in two.

``with lock:`` on a lock of the interpreter's own takes and releases it without a bytecode in between, so that a signal
handler that raises (Ctrl-C) never leaves it taken; one with ``__enter__`` written in Python would. All locks here are
reentrant: a signal handler or finalizer that comes back to the thread that holds one goes on.

Python calls signal handlers on the main thread, between two bytecodes. What must not end halfway is therefore either
one call of a function written in C (:func:`at_once`) or done by another thread (:func:`undisturbed`).
"""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import import_module
from operator import methodcaller
from threading import Lock, RLock, Thread
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")

_every: WeakSet[Any] = WeakSet()


def new_lock() -> Any:
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
    garbage is collected, whose finalizers might wait for this very work.

    If the caller is interrupted the work goes on to its end, and nobody sees its result.
    """
    if is_held(WHOLE):
        return work()
    _have_forks_wait()
    outcome: list[tuple[bool, Any]] = []
    ended = Lock()
    ended.acquire()

    def run() -> None:
        with WHOLE:
            collecting = gc.isenabled()
            gc.disable()
            try:
                result: tuple[bool, Any] = True, work()
            except BaseException as error:
                result = False, error
            finally:
                if collecting:
                    gc.enable()
        outcome.append(result)
        ended.release()

    try:
        Thread(target=run, name="normengine-build", daemon=True).start()
    except RuntimeError:  # the interpreter ends, or there can be no more threads
        run()
    ended.acquire()
    ((succeeded, value),) = outcome
    if not succeeded:
        raise value
    result: T = value
    return result


def load_modules(*names: str) -> None:
    """Import modules that are not loaded yet, undisturbed: an import that a signal or a fork cuts in two may not be
    possible again."""
    if not all(name in _loaded for name in names):
        undisturbed(lambda: [import_module(name) for name in names])
        _loaded.update(names)


_loaded: set[str] = set()


def at_once(calls: Iterable[Callable[[], Any]]) -> Callable[[], Any]:
    """One function that does all the calls, which must be of functions written in C: to call it is one step for the
    interpreter, so that a signal handler runs before the first of them or after the last."""
    return partial(deque, map(methodcaller("__call__"), tuple(calls)), 0)


@cache
def _have_forks_wait() -> None:
    """Register what :data:`WHOLE` promises.

    What is registered last comes first before a fork. ``logging``, which Numba imports, takes a lock of its own there;
    were it imported later, a fork would hold that lock, and wait for work that waits for it.
    """
    import logging  # noqa: F401

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=WHOLE.acquire, after_in_parent=WHOLE.release, after_in_child=WHOLE.release)


def _renew_all() -> None:
    for lock in _every:
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
