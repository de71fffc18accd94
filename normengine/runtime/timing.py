"""The time of one call: a row of a profile."""

from __future__ import annotations

from dataclasses import dataclass

from ..plan import Call

HEAD = ("ms", "share", "GFLOP/s", "GB/s", "of limit")
"""Names of the columns that a profile makes of a call's time: milliseconds, share of the calls' time, rates, and share
of what the machine allows."""


@dataclass(frozen=True)
class Timing:
    """One call, or several of a kind: the median of its ``seconds``, what it computed (``flops``, counted the direct
    way, a multiply-add being two) and what it had to read and write at least (``nbytes``)."""

    kernel: str
    shapes: str
    layer: str
    kind: str
    seconds: float
    flops: int
    nbytes: int

    @classmethod
    def of(cls, call: Call, seconds: float) -> Timing:
        return cls(call.kernel, call.shapes, call.layer, call.work.kind, seconds, call.work.flops, call.work.nbytes)
