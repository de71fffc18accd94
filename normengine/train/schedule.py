"""Learning rates that change while training: functions of how much of it is done."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def cosine(warmup: float = 0.0) -> Schedule:
    """The factor rises from 0 to 1 over the share ``warmup`` of the training, and falls as a cosine to 0 at its end.

    Give it to ``Trainer.fit`` as ``schedule``. I. Loshchilov and F. Hutter, "SGDR", ICLR 2017, without restarts.

    Raises:
        ValueError: ``warmup`` is not in [0, 1).
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"cosine: warmup must be at least 0 and less than 1, got {warmup}")

    def factor(done: float) -> float:
        if done < warmup:
            return done / warmup
        return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / (1 - warmup))

    return factor
