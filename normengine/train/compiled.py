"""A compiled training step: the program, the live arrays that it is bound to, and what it was made for."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from ..graph import Graph, Value
from ..nn.trace import Trace
from ..ops import LabelRule
from ..optim import Update
from ..runtime import Counters, Program
from .watch import WatchedGroups


@dataclass
class Compiled:
    """One structure of forward pass, loss and update, and the program of it."""

    key: tuple[Any, ...]
    """The structure, and what the update is of."""
    program: Program
    forward: Graph
    graph: Graph
    gradients: dict[str, Value]
    update: Update
    counters: Counters
    labels: tuple[LabelRule, ...]
    scalars: dict[str, np.ndarray]
    """The random numbers' counter, and the numbers that the model and the loss hand to arithmetic."""


class Bound:
    """A program and the live arrays that a trace found for it. ``again`` says why the next step may be another one,
    whatever :class:`~.watch.Watch` sees, and is empty if it cannot."""

    def __init__(self, compiled: Compiled, traced: Trace, again: str) -> None:
        self.compiled = compiled
        self.traced = traced
        self.again = again
        fixed = {**compiled.update.state, **compiled.update.scalars, **compiled.scalars}
        names = [*traced.parameters, *traced.buffers, *fixed]
        place = {name: i for i, name in enumerate(names)}
        self._fixed = tuple(fixed.values())
        # A rate and a parameter at least, so that it is a tuple.
        self._arranged = itemgetter(*(place[name] for name in compiled.program.kept))

    def kept(self) -> tuple[np.ndarray, ...]:
        """The live arrays of the program's state and scalars, in its order."""
        arrays: tuple[np.ndarray, ...] = self._arranged((*self.traced.arrays(), *self._fixed))
        return arrays

    def feeds(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """All that the program takes, by name."""
        return {"x": x, "y": y, **dict(zip(self.compiled.program.kept, self.kept(), strict=True))}


@dataclass
class Last:
    """The step that ran last, and what has to be as it was for it to run again."""

    shapes: tuple[Any, ...]
    parts: tuple[Any, ...]
    groups: WatchedGroups
    structure: tuple[Any, ...]
    ages: tuple[Any, ...]
    step: Bound
