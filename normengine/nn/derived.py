"""Derived attributes: what a module computes of its parameters whenever it is read, as a normalized weight."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from . import eager
from .context import current
from .state_dict import StateOwner
from .tensor import Tensor


class Derived(Protocol):
    """How an attribute is made of its module's parameters."""

    def compute(self, module: StateOwner) -> Tensor:
        """The value in the current trace."""

    def assign(self, module: StateOwner, name: str, value: object) -> None:
        """Set the parameters so that the attribute ``name`` has the value; all of them, or none if it raises."""


def read(module: StateOwner, name: str, derived: Derived) -> Tensor | np.ndarray:
    """The attribute: a tensor in a trace, elsewhere a read-only array of the value that it has now."""
    tracer = current()
    if tracer is not None:
        return tracer.derive(module, name, derived.compute(module))
    what = f"{type(module).__name__}.{name}"
    array: np.ndarray = eager.run(lambda: derived.compute(module), (), {}, [("", module)], what)
    array.flags.writeable = False
    return array


def write(module: StateOwner, name: str, derived: Derived, value: object) -> None:
    """Set the attribute, which ``forward`` cannot."""
    tracer = current()
    if tracer is not None:
        raise tracer.error(f"'{name}' is computed of parameters, which forward() cannot change; use another name")
    derived.assign(module, name, value)
