"""Nested structures (pytrees): the values in tuples, lists and dicts, taken out and put back, or joined place by
place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Build = Callable[[Iterator[Any]], Any]


def flattened(
    value: object, kind: type | tuple[type, ...], rest: Callable[[Any], None] = lambda part: None
) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The parts of ``value`` that are a ``kind``, in order, and the function that makes ``value`` anew from others in
    their places. ``rest`` is called with each other part."""
    found: list[Any] = []
    build = _taken(value, kind, found, rest)
    return found, lambda others: build(iter(others))


def _taken(value: object, kind: type | tuple[type, ...], found: list[Any], rest: Callable[[Any], None]) -> Build:
    if isinstance(value, kind):
        found.append(value)
        return next
    if isinstance(value, dict):
        entries = {key: _taken(part, kind, found, rest) for key, part in value.items()}

        def build(others: Iterator[Any]) -> Any:
            made = copy.copy(value)  # of its own class
            made.update({key: entry(others) for key, entry in entries.items()})
            return made

        return build
    if isinstance(value, (tuple, list)):
        parts = [_taken(part, kind, found, rest) for part in value]
        return lambda others: like(value, [part(others) for part in parts])
    rest(value)
    return lambda others: value


def joined(values: Sequence[Any], join: Callable[[list[Any], str], Any], what: str) -> Any:
    """One value that has at each place ``join(parts, what)`` of the parts that ``values`` have there.

    ``what`` begins messages; that of a part has its keys and indices behind it.

    Raises:
        ValueError: the values are not made of the same tuples, lists and dicts.
    """
    first, forms = values[0], [_form(value) for value in values]
    for i, form in enumerate(forms):
        if form != forms[0]:
            raise ValueError(f"{what} must have the same form each time, got {forms[0]} at 0 and {form} at {i}")
    if isinstance(first, dict):
        return {key: joined([value[key] for value in values], join, f"{what}[{key!r}]") for key in first}
    if isinstance(first, (tuple, list)):
        columns = enumerate(zip(*values, strict=True))
        return like(first, [joined(column, join, f"{what}[{i}]") for i, column in columns])
    return join(list(values), what)


def _form(value: object) -> str:
    if isinstance(value, dict):
        return f"a dict of {', '.join(sorted(map(repr, value)))}"
    return f"{len(value)} parts" if isinstance(value, (tuple, list)) else "one value"


def like(value: Any, parts: list[Any]) -> Any:
    """A tuple or list of the class of ``value``."""
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
