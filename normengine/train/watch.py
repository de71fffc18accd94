"""Notices at little cost that something which a model's or a loss's Python may read is no longer what it was."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import chain, starmap
from operator import is_
from typing import Any

import numpy as np

from ..nn import random as own_random
from .reach import PLAIN, Reach

_BYTES = np.ndarray.tobytes
_GONE = object()


class Watch:
    """All that can be read from ``roots``, as it is now (see :class:`~.reach.Reach`).

    What is looked at again and again is identity: whatever is another object than it was has changed, and of numbers and
    texts the value is compared then. Of arrays the content counts. ``unseen`` says what cannot be watched, and is empty
    if there is nothing.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._roots = tuple(roots)
        self._walk()

    def _walk(self) -> None:
        reach = Reach(self._roots)
        self.unseen = reach.unseen
        self._places = reach.places
        self._views = [place.view for place in reach.places]
        self._lookups = [(held, name, _GONE) for held, name in reach.lookups]
        self._attributes = [(held, name, _GONE) for held, name in reach.attributes]
        self._arrays = reach.arrays
        self._generators = reach.generators
        self._note()

    def _note(self) -> None:
        """Take what there is now as what was seen."""
        self._lengths = list(map(len, self._views))
        self._seen = list(chain.from_iterable(self._views))
        self._looked_up = list(starmap(dict.get, self._lookups))
        self._had = list(starmap(getattr, self._attributes))
        self._contents = list(map(_BYTES, self._arrays))

    def unchanged(self) -> bool:
        """Whether everything is the object that it was, and arrays hold what they held."""
        try:
            return (
                list(map(len, self._views)) == self._lengths
                and all(map(is_, chain.from_iterable(self._views), self._seen))
                and all(map(is_, starmap(dict.get, self._lookups), self._looked_up))
                and all(map(is_, starmap(getattr, self._attributes), self._had))
                and (not self._arrays or list(map(_BYTES, self._arrays)) == self._contents)
            )
        except RuntimeError:  # another thread adds to what is walked through
            return False

    def renew(self) -> bool:
        """Take what there is now as what was seen; whether anything differs that can be read."""
        if self.unchanged():
            return False
        if list(map(len, self._views)) == self._lengths:
            now = list(chain.from_iterable(self._views))
            pairs = [
                (a, b, self._is_read(i)) for i, (a, b) in enumerate(zip(self._seen, now, strict=True)) if a is not b
            ]
            singles = zip(self._looked_up, starmap(dict.get, self._lookups), strict=True)
            owned = zip(self._had, starmap(getattr, self._attributes), strict=True)
            pairs += [(a, b, True) for a, b in chain(singles, owned) if a is not b]
            read = [(a, b) for a, b, is_read in pairs if is_read]
            if all(type(a) in PLAIN and type(b) in PLAIN for a, b in read):
                differs = any(not _same(a, b) for a, b in read) or list(map(_BYTES, self._arrays)) != self._contents
                self._note()
                return differs
        self._walk()
        return True

    def _is_read(self, index: int) -> bool:
        """Whether any code reads the value of that number, by the name that it has."""
        for place, length in zip(self._places, self._lengths, strict=True):
            if index < length:
                if place.keys is None or place.names is None:
                    return True
                key = next(key for i, key in enumerate(place.keys) if i == index)
                return key in place.names
            index -= length
        return True

    def generators(self) -> list[Any]:
        """The states of the generators of random numbers that can be drawn from."""
        return [
            random.getstate(),
            _state(np.random.mtrand._rand),
            _state(own_random.generator()),
            *map(_state, self._generators),
        ]


def _same(a: Any, b: Any) -> bool:
    """Whether no code could tell the one value from the other, but by identity."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return bool(a == b)


def _state(generator: Any) -> Any:
    """The state of a generator, comparable."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return _comparable(generator.get_state(legacy=False))
    return _comparable(getattr(generator, "bit_generator", generator).state)


def _comparable(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _comparable(value) for key, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


class WatchedList:
    """The settings in a list of dictionaries, which is given anew each time: values by identity."""

    def __init__(self, content: list[dict[str, Any]]) -> None:
        self._seen = _settings(content)

    def changed(self, content: list[dict[str, Any]]) -> bool:
        now = _settings(content)
        return len(now) != len(self._seen) or not all(map(is_, now, self._seen))


def _settings(groups: list[dict[str, Any]]) -> list[Any]:
    return [*groups, *chain.from_iterable(map(dict.values, groups)), *chain.from_iterable(g["params"] for g in groups)]
