"""Learning rates that change while training: functions of how much of it is done."""

from __future__ import annotations

import math
from collections.abc import Callable

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
