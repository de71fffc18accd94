"""A least-recently-used (LRU) cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key, in the order in which they were used last.

    Each change is one call of a dictionary's, and none takes for granted what another one left: a signal handler or
    another thread may come in between. Keys must compare without bytecode (tuples, texts and numbers do).
    """

    def __init__(self) -> None:
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def use(self, key: K) -> V | None:
        """The value of that key, which is now the one used last; None if there is none."""
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def keep(self, key: K, value: V, size: int) -> None:
        """Have the value as the one used last, and let go of the first ones while there are more than ``size``."""
        self._values.pop(key, None)
        self._values[key] = value
        while len(self._values) > size:
            self.drop()

    def drop(self) -> None:
        """Let go of the one that was not used for the longest time."""
        with suppress(KeyError):
            self._values.popitem(last=False)

    def items(self) -> list[tuple[K, V]]:
        """Keys and values, those used last at the end."""
        return list(self._values.items())

    def values(self) -> list[V]:
        """The values, that used last at the end."""
        return list(self._values.values())
