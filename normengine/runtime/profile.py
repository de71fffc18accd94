"""The profiler: where the time of a program goes, call by call, beside the roofline of the machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from ..files.atomic import write_atomically
from ..plan import Call
from ..table import lines
from .limits import Limits, limits
from .microbatches import MicrobatchedProgram
from .program import Program
from .timing import HEAD, Timing


@dataclass(frozen=True)
class Profile:
    """The times of a program's calls; ``print`` it, or ``save`` it as a page or as a trace.

    ``timings`` are the calls in their order, ``seconds`` is the time of a run whose calls are not timed one by one,
    ``limits`` what the machine allows, which is measured once a process (None without compiled kernels).

    A call's share of what the machine allows is the larger of its operations beside the peak of multiply-adds and of
    its bytes beside the rate of memory. It is above 100 % where there is a shorter way than the direct one (Winograd's)
    or where the data lie in a cache.
    """

    title: str
    timings: tuple[Timing, ...]
    seconds: float
    threads: int
    limits: Limits | None

    def kinds(self) -> list[tuple[Timing, int]]:
        """The total of each kind of operator and its number of calls, the longest first; then, under the name
        "all but convolutions", that of everything else."""
        groups: dict[str, list[Timing]] = {}
        for timing in self.timings:
            groups.setdefault(timing.kind, []).append(timing)
        totals = [(_sum(kind, group), len(group)) for kind, group in groups.items()]
        totals.sort(key=lambda total: -total[0].seconds)
        rest = [timing for timing in self.timings if timing.kind != "convolutions"]
        return [*totals, (_sum("all but convolutions", rest), len(rest))]

    def heading(self) -> str:
        """One line: what was run, how long that took, and what the machine allows."""
        timed = sum(timing.seconds for timing in self.timings)
        text = f"{self.title}: {1e3 * self.seconds:.3f} ms a run, {1e3 * timed:.3f} ms in its {len(self.timings)} calls"
        text += f", {self.threads} thread{'s' * (self.threads > 1)}"
        if self.limits:
            text += f"; the machine allows {self.limits.flops / 1e9:.0f} GFLOP/s, {self.limits.nbytes / 1e9:.1f} GB/s"
        return text

    def columns(self, timing: Timing) -> tuple[str, ...]:
        """Milliseconds, share of the calls' time, GFLOP/s, GB/s, and share of what the machine allows."""
        whole = sum(t.seconds for t in self.timings)
        seconds = timing.seconds
        share = f"{100 * seconds / whole:.1f} %" if whole else "-"
        speeds = [f"{n / seconds / 1e9:.1f}" if n and seconds else "-" for n in (timing.flops, timing.nbytes)]
        reached = self.limits.seconds(timing.flops, timing.nbytes) / seconds if self.limits and seconds else 0.0
        return f"{1e3 * seconds:.3f}", share, *speeds, f"{100 * reached:.0f} %" if reached else "-"

    def __str__(self) -> str:
        left = range(len(HEAD), len(HEAD) + 3)
        calls = [(*self.columns(t), t.kernel, t.shapes, t.layer) for t in self.timings]
        totals = [(*self.columns(t), t.kind, str(count)) for t, count in self.kinds()]
        return "\n".join(
            [
                *lines((*HEAD, "kernel", "shapes", "layer"), calls, left),
                "",
                *lines((*HEAD, "kind", "calls"), totals, left),
                "",
                self.heading(),
            ]
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a page of its own (``.html``) or a trace for chrome://tracing and Perfetto (``.json``).

        Raises ValueError for another suffix, OSError where the file cannot be written.
        """
        path = Path(path)
        if path.suffix == ".html":
            from .profile_page import page

            text = page(self.title, self.heading(), self.kinds(), self.timings, self.columns)
        elif path.suffix == ".json":
            text = json.dumps({"displayTimeUnit": "ms", "traceEvents": list(self._events())})
        else:
            raise ValueError(f"a profile is saved as .html (a page) or .json (a trace), got '{path}'")
        write_atomically(path, text.encode())

    def _events(self) -> Iterable[dict[str, object]]:
        """The calls one after the other, in microseconds, as the Trace Event Format has complete events."""
        yield {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": self.title}}
        start = 0.0
        for t in self.timings:
            arguments = {"layer": t.layer, "shapes": t.shapes, "flops": t.flops, "bytes": t.nbytes}
            arguments |= dict(zip(HEAD[1:], self.columns(t)[1:], strict=True))
            event = {"name": t.kernel, "cat": t.kind, "ph": "X", "ts": start, "dur": 1e6 * t.seconds}
            yield {**event, "pid": 1, "tid": 1, "args": arguments}
            start += 1e6 * t.seconds


def profile_program(
    program: Program | MicrobatchedProgram, feeds: Mapping[str, np.ndarray], title: str, runs: int
) -> Profile:
    """Time the calls of ``program``: medians over ``runs`` runs after a first one. State is left as it is: all runs
    begin with copies of it."""
    if runs < 1:
        raise ValueError(f"profile: runs must be at least 1, got {runs}")
    stored = [value.name for part in program.programs for value in part.plan.graph.state]
    given = {**feeds, **{name: np.array(feeds[name], order="C") for name in stored}}
    whole: list[float] = []
    samples: list[list[float]] = []
    calls: Sequence[Call] = ()
    for _ in range(runs + 1):
        start = time.perf_counter()
        program.run(given)
        whole.append(time.perf_counter() - start)
        _restore(given, feeds, stored)
        timed = program.profile(given)
        _restore(given, feeds, stored)
        calls = [call for call, _ in timed]
        samples.append([seconds for _, seconds in timed])
    for part in program.programs:
        part.release()
    medians = [median(times) for times in zip(*samples[1:], strict=True)]
    timings = tuple(Timing.of(call, seconds) for call, seconds in zip(calls, medians, strict=True))
    threads = program.programs[0].threads
    return Profile(title, timings, median(whole[1:]), threads, limits(threads))


def _restore(given: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray], names: Iterable[str]) -> None:
    for name in names:
        np.copyto(given[name], feeds[name])


def _sum(kind: str, timings: Sequence[Timing]) -> Timing:
    seconds, flops, nbytes = (sum(getattr(t, name) for t in timings) for name in ("seconds", "flops", "nbytes"))
    return Timing("", "", "", kind, seconds, flops, nbytes)
