"""What a plan is: a flat list of calls over named memory, still without an address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..graph import Graph
from ..table import lines
from .arguments import Memory
from .call import Call


class Plan(NamedTuple):
    """Everything that a program needs: ``calls`` in order (``setup`` once, before the first run), and how memory is
    laid out. From the call number ``guard`` on, and only there, calls store to what is given."""

    graph: Graph
    calls: tuple[Call, ...]
    setup: tuple[Call, ...]
    arena_bytes: int
    offsets: dict[Memory, int]
    guard: int = 0

    def __str__(self) -> str:
        rows = [
            ("  " * depth + c.kernel, c.shapes, f"{c.work.nbytes / 2**20:.3f}", f"{c.work.flops / 1e6:.3f}", c.layer)
            for depth, c in self._lines()
        ]
        text = lines(("kernel", "shapes", "MiB", "MFLOP", "layer"), rows, left=(0, 1, 4))
        inside = sum(len(c.inner) for c in self.calls)
        calls = f"{len(self.calls)} calls" + (f" with {inside} inside" if inside else "")
        nbytes, flops = (sum(getattr(c.work, what) for c in self.calls) for what in ("nbytes", "flops"))
        total = f"{nbytes / 2**20:.1f} MiB read and written, {flops / 1e9:.3f} GFLOP"
        return "\n".join([*text, f"{calls}, {total}, arena of {self.arena_bytes / 2**20:.2f} MiB"])

    def explain(self) -> str:
        """As printed, with the reason for the choice below each call."""
        lines = (("  " * depth, c) for depth, c in self._lines())
        return "\n".join(f"{i + c.kernel:32s} {c.shapes:56s} {c.layer}\n{i}    {c.work.why()}" for i, c in lines)

    def _lines(self) -> Iterator[tuple[int, Call]]:
        """The calls as they are printed: each, and below it those inside of it."""
        for call in self.calls:
            yield 0, call
            if call.inner:
                yield from ((1, inner) for inner in call.each())
