"""Notices at little cost that something which a trace may have looked at is no longer what it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..nn.module import Module
from ..nn.parameter import Parameter

PLAIN = frozenset({bool, int, float, str, type(None)})


class Watch:
    """The attributes of objects as they are now: numbers and texts by value, the content of lists, tuples and
    dictionaries, everything else by identity."""

    def __init__(self, objects: Iterable[Any]) -> None:
        self._live = [vars(o) for o in objects]
        self._seen = [_remembered(own) for own in self._live]

    def changed(self) -> bool:
        """Whether anything is not as it was; it may say so by mistake, where arrays were put in others' places."""
        return not _equal(self._live, self._seen)


class WatchedList:
    """As :class:`Watch`, for the content of a list, which is given anew each time."""

    def __init__(self, content: list[Any]) -> None:
        self._seen = _remembered(content)

    def changed(self, content: list[Any]) -> bool:
        return not _equal(content, self._seen)


def _equal(live: list[Any], seen: list[Any]) -> bool:
    """One comparison of containers, which is one loop in C: it asks no object that is the one remembered."""
    try:
        return bool(live == seen)
    except Exception:  # whatever a user's object does when it is compared; arrays raise ValueError
        return False


def _remembered(value: Any) -> Any:
    """What equals ``value`` as long as nothing has changed."""
    if type(value) in PLAIN or isinstance(value, (Module, Parameter)):
        return value
    if isinstance(value, dict):
        return {key: _remembered(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_remembered(v) for v in value]
    if isinstance(value, tuple):
        return tuple(_remembered(v) for v in value)
    if isinstance(value, np.ndarray) and value.size > 1:
        return value  # others cannot be compared with it to give one truth value
    return _Same(value)


class _Same:
    """Equal to one object alone."""

    __slots__ = ("_object",)
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, given: Any) -> None:
        self._object = given

    def __eq__(self, other: object) -> bool:
        return other is self._object
