"""Guards of a compiled step: they notice at little cost that something which a model's or a loss's Python may read
is no longer what it was."""

from __future__ import annotations

import math
import random
from abc import get_cache_token
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, starmap
from operator import attrgetter, is_
from typing import Any, NamedTuple

import numpy as np

from ..nn import random as own_random
from ..runtime.executor import content, holds_same
from .reach import PLAIN, Reach

_BYTES, _FORM = np.ndarray.tobytes, attrgetter("shape", "dtype")
_GONE, _KEY = object(), object()


def _is_plain(holder: object) -> bool:
    return isinstance(holder, dict) or type(holder) is list


@dataclass
class Looked:
    """Why something has to be called in every step; empty if it has not."""

    again: str = ""


class Watch:
    """All that can be read from ``roots``, as it is now (see :class:`~.reach.Reach`).

    What is looked at again and again is identity: whatever is another object than it was has changed, and of numbers
    and texts the value is compared then. Of arrays the content counts. ``unseen`` says what cannot be watched, and is
    empty if there is nothing.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._roots = tuple(roots)
        self._walk()

    def _walk(self) -> None:
        reach = Reach(self._roots)
        self.unseen = reach.unseen
        plain = [place for place in reach.places if _is_plain(place.holder)]
        self._holders = [place.holder for place in plain]
        self._names = [place.names for place in plain]
        self._others = [place.holder for place in reach.places if not _is_plain(place.holder)]
        self._lookups = [(held, name, _GONE) for held, name in reach.lookups]
        self._attributes = [(held, name, _GONE) for held, name in reach.attributes]
        self._arrays = reach.arrays
        self._is_abstract = reach.is_abstract
        self._generators = reach.generators
        self._note()

    def _note(self) -> None:
        """Take what there is now as what was seen."""
        self._sizes = list(map(len, self._holders))
        self._seen = list(chain.from_iterable(map(content, self._holders)))
        self._other_sizes = list(map(len, self._others))
        self._other_seen = list(self._other_values())
        self._contents = self._contents_now()
        self._registered = get_cache_token()

    def _contents_now(self) -> list[Any]:
        return [*map(_FORM, self._arrays), *map(_BYTES, self._arrays)]

    def _other_values(self) -> Iterator[Any]:
        """What has to be walked through or asked for by name."""
        return chain(
            chain.from_iterable(self._others),
            starmap(dict.get, self._lookups),
            starmap(getattr, self._attributes),
        )

    def unchanged(self) -> bool:
        """Whether everything is the object that it was, and arrays hold what they held."""
        return (
            holds_same(self._holders, self._sizes, self._seen)
            and (not self._other_seen or self._others_unchanged())
            and (not self._arrays or self._contents_now() == self._contents)
            and (not self._is_abstract or get_cache_token() == self._registered)
        )

    def _others_unchanged(self) -> bool:
        try:
            same_sizes = list(map(len, self._others)) == self._other_sizes
            return same_sizes and all(map(is_, self._other_values(), self._other_seen))
        except RuntimeError:  # another thread adds to what is walked through
            return False

    def renew(self) -> bool:
        """Take what there is now as what was seen; whether anything differs that can be read."""
        if self.unchanged():
            return False
        if list(map(len, self._holders)) == self._sizes and list(map(len, self._others)) == self._other_sizes:
            read = list(self._differing())
            if all(type(a) in PLAIN and type(b) in PLAIN for a, b in read):
                differs = any(not _same(a, b) for a, b in read) or self._contents_now() != self._contents
                differs = differs or (self._is_abstract and get_cache_token() != self._registered)
                self._note()
                return differs
        self._walk()
        return True

    def _differing(self) -> Iterator[tuple[Any, Any]]:
        """What was seen and what there is now, where these are two objects and code may read them by their name."""
        begin = 0
        for holder, names in zip(self._holders, self._names, strict=True):
            now = list(content(holder))
            before = self._seen[begin : begin + len(now)]
            begin += len(now)
            for at in (at for at, (a, b) in enumerate(zip(before, now, strict=True)) if a is not b):
                if isinstance(holder, dict) and at % 2 == 0:
                    yield _KEY, now[at]
                elif names is None or now[at - 1] in names:
                    yield before[at], now[at]
        yield from ((a, b) for a, b in zip(self._other_seen, self._other_values(), strict=True) if a is not b)

    @contextmanager
    def looking(self, what: str) -> Iterator[Looked]:
        """While ``what``, which is watched, is called inside: finds out why that has to be done in every step."""
        looked, drawn = Looked(), self.generators()
        self.renew()
        yield looked
        if self.unseen:
            looked.again = f"{what} reads what cannot be watched: {self.unseen}"
        elif self.generators() != drawn:
            looked.again = f"{what} draws from a generator of Python's or NumPy's"
        elif self.renew():
            looked.again = f"{what} changes what it reads"

    def generators(self) -> list[Any]:
        """The states of the generators of random numbers that can be drawn from."""
        return [
            random.getstate(),
            _state(np.random.mtrand._rand),
            _state(own_random.generator()),
            *map(_state, self._generators),
        ]


def _same(a: object, b: object) -> bool:
    """Whether no code could tell the one value from the other, but by identity."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return bool(a == b)


def _state(generator: Any) -> object:
    """The state of a generator, comparable."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return _comparable(generator.get_state(legacy=False))
    return _comparable(getattr(generator, "bit_generator", generator).state)


def _comparable(state: object) -> object:
    if isinstance(state, dict):
        return {key: _comparable(value) for key, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


class Watches(NamedTuple):
    """What a step watches: the parts that it was made of, and what can be read from the model and from the loss."""

    parts: tuple[Any, ...]
    model: Watch
    loss: Watch


class WatchedGroups:
    """The parameter groups of an optimizer: values by identity, arrays by content."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self._groups = groups
        listed = [group["params"] for group in groups if type(group["params"]) is list]  # others cannot be changed
        self._holders = [holder for holder in (groups, *groups, *listed) if _is_plain(holder)]
        self._sizes = list(map(len, self._holders))
        self._seen = list(chain.from_iterable(map(content, self._holders)))
        self._arrays = [value for value in self._seen if isinstance(value, np.ndarray)]
        self._contents = list(map(_BYTES, self._arrays))

    def changed(self, groups: list[dict[str, Any]]) -> bool:
        """Whether they are others, or hold something else."""
        return (
            groups is not self._groups
            or not holds_same(self._holders, self._sizes, self._seen)
            or (bool(self._arrays) and list(map(_BYTES, self._arrays)) != self._contents)
        )
