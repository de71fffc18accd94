"""The executor in use: the compiled one where it was built, else (or with ``NORMENGINE_BACKEND=numba``) Numba's."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import numpy as np

from ..kernels.cpu import backend
from ..locks import load_module
from .threads import usable_cpus


def address_of(name: str) -> int:
    """The address of an executor's own kernel function, "depth_first" or "merged" (see ``src_cy/composite_calls.pxi``).

    Raises ``RuntimeError`` where Numba's executor is in use, which has none: plans made there have no inner calls.
    """
    if backend() == "numba":
        raise RuntimeError(f"{name}: the plan has inner calls, which need the compiled executor; make it anew")
    from ._executor import ADDRESSES

    return int(ADDRESSES[name])


try:
    from ._executor import all_writeable, data_address, holds_same
except ImportError:  # no extension was built

    def all_writeable(arrays: Iterable[np.ndarray]) -> bool:
        """Whether all of the arrays, which are C-contiguous, may be written to."""
        return all(array.flags.writeable for array in arrays)

    def data_address(array: np.ndarray) -> int:
        """The address of the first element of a C-contiguous array."""
        return array.ctypes.data

    def holds_same(holders: list[Any], sizes: list[int], seen: list[Any]) -> bool:
        """Whether dictionaries and lists hold the objects ``seen``, one after the other, each as many as in ``sizes``;
        of a dictionary each key comes before its value."""
        held = chain.from_iterable(map(content, holders))
        return list(map(len, holders)) == sizes and all(map(is_, held, seen))


def content(holder: Any) -> Iterable[Any]:
    """What :func:`holds_same` compares, of a dictionary or list."""
    return chain.from_iterable(dict.items(holder)) if isinstance(holder, dict) else holder


class Counters:
    """Numbers that are one more after each run that is told of them: int64 arrays of one element."""

    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self.arrays = tuple(arrays)
        self.addresses = np.array([array.ctypes.data for array in self.arrays], np.int64)


_NOTHING = Counters(())


class Executor:
    """Runs ranges of a list of kernel calls, the tasks of each call shared by a team of threads.

    ``calls`` is an int64 array of shape (n, 4): each row the address of a kernel, the address of its arguments, its
    number of tasks, and how many tasks a thread takes at a time (0: chosen from their number). Calls in a row whose
    tasks are taken all at once are done by one thread without waiting for the others in between. What the addresses
    point to must live as long as the executor. Raises ``ValueError`` for an array of another shape or dtype.

    Several Python threads may run executors at the same time; runs of more than one thread take turns. Denormal
    numbers count as zero while the calls are done, and again as themselves afterwards.
    """

    def __init__(self, calls: np.ndarray) -> None:
        if backend() == "numba":
            load_module("normengine.runtime.portable_executor")
            from .portable_executor import PortableExecutor

            self._executor, self._counted = PortableExecutor(calls, usable_cpus()), attrgetter("arrays")
        else:
            from ._executor import CompiledExecutor

            self._executor, self._counted = CompiledExecutor(calls, usable_cpus()), attrgetter("addresses")

    def run(self, first: int, last: int, threads: int, counters: Counters = _NOTHING) -> None:
        """Do the calls ``first..last-1`` in order, each one after the one before it has ended, on ``threads`` threads,
        and add 1 to each of the ``counters``. To a signal handler all of it is one step.

        Raises ``ValueError`` unless ``0 <= first <= last <= n`` and ``1 <= threads <= 1024``, and ``RuntimeError``
        when the system refuses to start a thread.
        """
        self._executor.run(first, last, threads, self._counted(counters))

    def profile(self, first: int, last: int, threads: int) -> np.ndarray:
        """As :meth:`run`; returns the seconds that each call took, float64 of shape (last - first,)."""
        return np.asarray(self._executor.profile(first, last, threads))
