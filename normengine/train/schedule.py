"""Learning-rate schedules: functions of how much of the training is done."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import repeat
from operator import itemgetter, setitem
from typing import Any

from ..locks import at_once
from ..optim import Optimizer
from ..settings import finite

Schedule = Callable[[float], float]


def cosine(warmup: float = 0.0) -> Schedule:
    """The factor rises from 0 to 1 over the share ``warmup`` of the training, and falls as a cosine to 0 at its end.

    Give it to ``Trainer.fit`` as ``schedule``. I. Loshchilov and F. Hutter, "SGDR", ICLR 2017, without restarts.

    Raises:
        TypeError, ValueError: ``warmup`` is no number in [0, 1).
    """
    warmup = finite(warmup, "cosine: warmup", 0, 1, below=True)

    def factor(done: float) -> float:
        if done < warmup:
            return done / warmup
        return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / (1 - warmup))

    return factor


class ScaledRates:
    """The learning rates of an optimizer while a schedule is at work.

    A rate that anybody else has set meanwhile is the one that is scaled from then on. ``restore``, to be called once,
    gives each group the rate back that is scaled; a rate that anybody else has set stays.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._groups: list[dict[str, Any]] = []
        self._unscaled: list[dict[int, Any]] = []
        """For each group the rate that is scaled, by the identity of what came out and is in the group now."""
        self._scaled: list[Any] = []
        """What came out, kept so that its identity stays its own."""
        # As locks.at_once: one call in C, which looks at what is in the groups when it is made.
        now = partial(map, itemgetter("lr"), self._groups)
        rates = map(dict.get, self._unscaled, map(id, now()), now())
        self.restore: Callable[[], object] = partial(deque, map(setitem, self._groups, repeat("lr"), rates), 0)

    def scale(self, factor: float) -> None:
        """Make each rate ``factor`` times what it is without a schedule."""
        for group in self._optimizer.param_groups:
            place = next((i for i, known in enumerate(self._groups) if known is group), len(self._groups))
            if place == len(self._groups):
                self._unscaled.append({})
                self._scaled.append(None)
                self._groups.append(group)
            rate = self._unscaled[place].get(id(group["lr"]), group["lr"])
            scaled = rate * factor
            at_once([
                partial(setitem, self._scaled, place, scaled),
                partial(setitem, self._unscaled, place, {id(scaled): rate}),
                partial(setitem, group, "lr", scaled),
            ])()  # fmt: skip
