"""Naming of state: a trace names parameters, buffers and arrays that it meets, told apart by identity, as
``state_dict`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from operator import getitem
from typing import Any

import numpy as np

from .recorder import BufferOwner
from .state_dict import StateOwner


@dataclass
class Names:
    """What modules hold, by identity; the first name of what has several."""

    modules: dict[int, str] = field(default_factory=dict)
    parameters: dict[int, str] = field(default_factory=dict)
    buffers: dict[int, tuple[str, Callable[[], np.ndarray]]] = field(default_factory=dict)
    places: dict[tuple[int, str], str] = field(default_factory=dict)
    """The names of buffers by module and key, whichever array is there."""
    met: list[np.ndarray] = field(default_factory=list)
    """Kept, so that no other array has the id of one of them."""
    taken: set[str] = field(default_factory=set)
    holders: list[tuple[str, StateOwner]] = field(default_factory=list)
    numbered: dict[str, int] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """``name``, with a number behind it if there is such a name."""
        number, free = self.numbered.get(name, 1), name
        while free in self.taken:
            number += 1
            free = f"{name}_{number}"
        self.numbered[name] = number
        self.taken.add(free)
        return free

    def add(self, prefix: str, module: StateOwner) -> None:
        """Take in what a module holds, under names as in its ``state_dict``."""
        for path, part in module.named_modules(prefix=prefix):
            self.modules.setdefault(id(part), path)
            self.holders.append((path, part))
            dot = f"{path}." if path else ""
            for key, parameter in part._parameters.items():
                if parameter is not None and id(parameter) not in self.parameters:
                    self.parameters[id(parameter)] = self.unique(dot + key)
            for key, array in part._buffers.items():
                if array is not None and id(array) not in self.buffers:
                    self.places[id(part), key] = self.unique(dot + key)
                    self.add_buffer(array, self.places[id(part), key], getter(part, key))

    def add_buffer(self, array: np.ndarray, name: str, get: Callable[[], np.ndarray]) -> None:
        """Have a name for a buffer's array."""
        self.met.append(array)
        self.buffers[id(array)] = name, get

    def own(self, module: BufferOwner, key: str) -> str:
        """The path of an attribute."""
        return ".".join(filter(None, (self.modules.get(id(module), ""), key)))

    def of(self, array: np.ndarray) -> str:
        """A name for an array that is no buffer: that of the attribute that it is, where it is one."""
        held = [(path, key) for path, module in self.holders for key, value in vars(module).items() if value is array]
        return self.unique(".".join(filter(None, held[0]))) if len(held) == 1 else self.unique("array")

    def copy(self) -> Names:
        """The same names, for others to be added."""
        return Names(**{f.name: getattr(self, f.name).copy() for f in fields(self)})


def getter(module: BufferOwner, key: str) -> Callable[[], Any]:
    """What gives the buffer's array, whichever it is then."""
    return partial(getitem, module._buffers, key)


def follows(array: np.ndarray, copy: np.ndarray) -> Callable[[], np.ndarray]:
    """What gives ``array`` as it is then in the type and layout of ``copy``, which is ``array`` itself where it has
    these."""
    if copy is array:
        return lambda: array

    def converted_now() -> np.ndarray:
        with np.errstate(all="ignore"):
            np.copyto(copy, array, casting="unsafe")
        return copy

    return converted_now
