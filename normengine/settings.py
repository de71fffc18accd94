"""Validation of settings: numbers, saved state and compile options that users give, and what is said of those that
make no sense."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from .compiling import KERNELS, PASSES_OFF, SWITCHES, CompileOptions
from .locks import load_module

LARGEST = float.fromhex("0x1.fffffep127")
"""The largest float32."""


def compile_options(without: Collection[str] = (), kernels: Mapping[str, str] | None = None) -> CompileOptions:
    """The options for what is compiled from now on: passes to leave out and algorithms by operator, those given and
    those of the environment variables as they are now.

    Raises ValueError for a name that no pass, operator or algorithm has.
    """
    load_module("normengine.passes")
    from .passes import PASSES

    if isinstance(without, str):
        raise ValueError(f"passes to leave out must be a collection of names, got {without!r}; put it into a tuple")
    named = [name.strip() for name in os.environ.get(PASSES_OFF, "").split(",") if name.strip()]
    choice = (*PASSES, *SWITCHES)
    for names, where in ((without, "passes to leave out"), (named, PASSES_OFF)):
        for name in names:
            if name not in choice:
                raise ValueError(f"{where}: there is no pass {name!r}, choose from {', '.join(choice)}")
    algorithms: Mapping[str, str] = {}
    if kernels is not None or os.environ.get(KERNELS):
        load_module("normengine.kernels")
        from .kernels import REGISTRY

        algorithms = REGISTRY.preferred(kernels)
    off = frozenset((*without, *named))
    switches = {name: False for name in SWITCHES if name in off}
    return CompileOptions(off.difference(SWITCHES), tuple(sorted(algorithms.items())), **switches)


def finite(value: Any, what: str, low: float = -math.inf, high: float = math.inf, *, below: bool = False) -> float:
    """``value``, a number or an array of one, as a float in ``[low, high]``, or ``[low, high)`` with ``below``.

    Raises:
        TypeError: it is no real number; ``what`` begins the message.
        ValueError: it is NaN, infinite as float32, or outside the interval.
    """
    if getattr(value, "size", 0) == 1 and hasattr(value, "item"):
        value = value.item()
    try:
        if isinstance(value, (str, bytes, bytearray)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{what} must be a number, got {value!r}") from None
    except OverflowError:
        number = math.inf
    if not (low <= number <= high and abs(number) <= LARGEST) or (below and number == high):
        if high < math.inf:
            rule = f"in [{low:g}, {high:g}{')' if below else ']'}"
        else:
            rule = "a finite number" + (f" of {low:g} or more" if low > -math.inf else "")
        raise ValueError(f"{what} must be {rule}, got {value}")
    return number


def whole(value: Any, what: str, low: int | None = 0) -> int:
    """``value``, an integer, as an int of at least ``low`` if that is given; raises ValueError for anything else."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (low is not None and number < low):
        rules = {None: "an integer", 1: "a positive integer"}
        raise ValueError(f"{what} must be {rules.get(low, f'an integer of {low} or more')}, got {value!r}")
    return number


def saved(state: object, names: Sequence[str], what: str) -> list[Any]:
    """The entries of ``state`` under ``names``; raises ValueError, which ``what`` begins, where it has not all."""
    if not isinstance(state, Mapping) or any(name not in state for name in names):
        given = f"a dict with {_quoted(state)}" if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(f"{what} must be what state_dict() gave, a dict with {_quoted(names)}, got {given}")
    return [state[name] for name in names]


def _quoted(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
