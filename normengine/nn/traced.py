"""The result of a trace: its graph, and what of the user's the graph's inputs and state are bound to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from ..graph import Value
from ..ops import Builder
from .parameter import Parameter

Counter = Callable[[], tuple[np.ndarray, np.ndarray]]
"""Gives the uint32 numbers ``rng_seed`` and ``rng_step`` of a run."""


@dataclass
class Trace:
    """What a traced function computes.

    ``outputs`` are its results in order; ``structure(arrays)`` puts arrays in their places again, in the tuples,
    lists and dicts that the function returned. ``builder.state`` holds a value for each parameter and buffer it used,
    under its name in ``state_dict``; ``parameters`` are those with ``requires_grad``, ``buffers`` gets the array of
    every other one. ``counter`` gives the uint32 inputs ``rng_seed`` and ``rng_step`` of a graph that has them.
    ``numbers`` are the scalars that are inputs beside these, by name. ``looked`` says that the function's Python read
    values that steps change. ``derived`` are the values of attributes that are computed of parameters.
    """

    builder: Builder
    outputs: tuple[Value, ...]
    structure: Callable[[Sequence[Any]], Any]
    parameters: dict[str, Parameter]
    buffers: dict[str, Callable[[], np.ndarray]]
    counter: Counter | None
    numbers: dict[str, float]
    looked: bool
    derived: dict[Value, str]

    def state(self) -> dict[str, np.ndarray]:
        """The live arrays of all state values, by name."""
        return dict(zip((*self.parameters, *self.buffers), self.arrays(), strict=True))

    def arrays(self) -> list[np.ndarray]:
        """The live arrays of the parameters, then those of the buffers."""
        return [*map(_DATA, self.parameters.values()), *[get() for get in self.buffers.values()]]

    def scalars(self) -> dict[str, np.ndarray]:
        """:attr:`numbers` as arrays of float32 or int64; a number beyond its range is infinite."""
        with np.errstate(over="ignore"):
            kinds = {v.name: v.dtype for v in self.builder.inputs}
            return {name: np.asarray(number, kinds[name]) for name, number in self.numbers.items()}


_DATA = attrgetter("_data")
