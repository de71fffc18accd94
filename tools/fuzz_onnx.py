"""Opens and runs random ONNX models, most of them spoilt: attributes at and beyond every bound, odd shapes, counts,
types and names, functions, data beside the file, damaged bytes.

    python tools/fuzz_onnx.py [--seconds 60] [--seed 0] [--models N] [--jobs 1] [--memory 4] [--limit 20]
                              [--keep FOLDER] [--only NUMBER] [--compare]

Each model is loaded and run in a process that may have ``--memory`` gigabytes of address space (0: any number, which
AddressSanitizer needs) and ``--limit`` seconds for it. A signal, a hang, and an exception that is none of
:data:`REFUSALS` are findings: printed with seed and number, counted by place, and kept in a folder as the files that
they were. The same seed gives the same models; ``--only`` tries one of them in this process. ``--compare`` runs valid
models in ONNX Runtime too and reports other values. The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from onnx_damage import PIPE, damage, damage_bytes
from onnx_models import Rng, valid

import normengine as ne
from normengine.onnx.importer import import_graph

REFUSALS = (ValueError, OSError)
"""What opening a file may raise: OnnxError is a ValueError, OSError says that the file cannot be read."""
RUN_REFUSALS = (ValueError, MemoryError)
"""What running a network may raise: it may be larger than the memory that there is."""
MOST_ELEMENTS = 1 << 22
"""Of an input that is made; what wants more is only opened."""
LARGE = range(1 << 27, 1 << 30)
"""Elements of all arrays of a network that is only opened: to compute them takes long, but there is memory for it. More
than these the limit of memory refuses, where there is one."""
MODELS_A_WORKER = 300
EXHAUSTED = 75
"""Exit code of a worker that is out of memory."""


@dataclass
class Model:
    """What is written and run: the file's bytes and what lies beside it (:data:`PIPE` for a pipe with a name)."""

    content: bytes
    spoilt: list[str]
    beside: dict[str, bytes | str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        for name, content in self.beside.items():
            if content == PIPE and hasattr(os, "mkfifo"):
                os.mkfifo(folder / name)
            elif isinstance(content, bytes):
                (folder / name).write_bytes(content)
        path = folder / "model.onnx"
        path.write_bytes(self.content)
        return path


def draw(seed: int, number: int) -> Model:
    """The model of that number; the same for the same seed, whatever was drawn before it."""
    rng = np.random.default_rng((seed, number))
    proto = valid(rng)
    beside: dict[str, bytes | str] = {}
    spoilt = damage(rng, proto, beside) if rng.random() < 0.85 else []
    content = proto.SerializeToString()
    if rng.random() < 0.1:
        content = damage_bytes(rng, content)
        spoilt.append("bytes")
    return Model(content, spoilt, beside)


def feeds_for(rng: Rng, session: ne.InferenceSession, odd: bool) -> dict[str, np.ndarray] | None:
    """An array for each input, a name's extent the same wherever it stands; None where one would be too large.

    Some have a number in them that is ``odd``: not finite, or near the largest.
    """
    named: dict[str, int] = {}
    feeds: dict[str, np.ndarray] = {}
    for given in session.get_inputs():
        shape = [
            n if isinstance(n, int) else named.setdefault(n or str(len(named)), int(rng.choice([1, 2, 3, 7])))
            for n in given.shape or ()
        ]
        if np.prod(shape, dtype=float) > MOST_ELEMENTS:
            return None
        numbers = rng.standard_normal(shape) * 3
        if odd and numbers.size and rng.random() < 0.1:
            numbers.reshape(-1)[0] = rng.choice([np.nan, np.inf, 1e38])
        kind = given.type[len("tensor(") : -1]
        dtype = np.dtype({"float": "float32", "double": "float64"}.get(kind, kind))
        with np.errstate(all="ignore"):
            feeds[given.name] = (np.nan_to_num(numbers) if dtype.kind not in "f" else numbers).astype(dtype)
    return feeds


def elements(session: ne.InferenceSession, feeds: dict[str, np.ndarray]) -> int:
    """Of all that the network computes; 0 where it refuses the feeds."""
    try:
        graph = import_graph(session._model, {name: array.shape for name, array in feeds.items()})
    except ValueError:
        return 0
    return sum(value.spec.size for node in graph.nodes for value in node.outputs)


def try_model(seed: int, number: int, compare: bool, memory: float) -> str:
    """Open and run the model: "ran", "opened" or "refused", or what is wrong."""
    model, rng = draw(seed, number), np.random.default_rng((seed, number, 1))
    with tempfile.TemporaryDirectory() as name:
        source = model.write(Path(name)) if model.beside or rng.random() < 0.1 else model.content
        try:
            session = ne.InferenceSession(source)
        except REFUSALS:
            return "refused"
        feeds = feeds_for(rng, session, odd=not compare)
        count = 0 if feeds is None else elements(session, feeds)
        if feeds is None or count in LARGE or (count >= LARGE.stop and not memory):
            return "opened"
        try:
            results = session.run(None, feeds)
            session.run(None, feeds)
        except RUN_REFUSALS as error:
            return "refused" if isinstance(error, ValueError) else "opened"
    return difference(model, feeds, results) if compare and not model.spoilt else "ran"


def difference(model: Model, feeds: dict[str, np.ndarray], results: list[np.ndarray]) -> str:
    """What ONNX Runtime gives otherwise, or "ran"."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        theirs = onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
        wanted = theirs.run(None, feeds)
    except Exception:  # an operator that it does not have for this type
        return "ran"
    for ours, want in zip(results, wanted, strict=True):
        if ours.shape != want.shape or ours.dtype != want.dtype:
            return f"DIFFERS: {ours.dtype}{ours.shape} instead of {want.dtype}{want.shape}"
        with np.errstate(all="ignore"):
            scale = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0.0)))
            if not np.allclose(ours, want, rtol=1e-3, atol=1e-4 * scale, equal_nan=True):
                return f"DIFFERS: at most {np.nanmax(np.abs(ours.astype(float) - want)):.3g} of {scale:.3g}"
    return "ran"


def work(seed: int, memory: float, compare: bool) -> None:
    """Try the models whose numbers come in, one a line, and answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    if memory:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory * 2**30),) * 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("error")
    try:
        for line in sys.stdin:
            said, kind = try_and_say(seed, int(line), compare, memory)
            print(json.dumps([said, kind]), file=answers, flush=True)
    except MemoryError:  # of what this process has done in all: the next one tries the model again
        os._exit(EXHAUSTED)


def try_and_say(seed: int, number: int, compare: bool, memory: float) -> tuple[str, str]:
    """What became of a model, and the kind that it counts for."""
    try:
        said = try_model(seed, number, compare, memory)
    except MemoryError:
        raise  # of what the process has done in all, unless the model has it by itself
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {'/'.join(Path(last.filename).parts[-3:])}:{last.lineno}"
        return f"{place}: {str(error)[:300]}", place
    return said, said.split(":")[0]


class Worker:
    """A process that tries models, started when one is needed and again when it ended."""

    def __init__(self, command: list[str], limit: float) -> None:
        self._command = command
        self._limit = limit
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._tried = 0

    def answer(self, number: int) -> tuple[str, str]:
        """What became of the model, and the kind that it counts for."""
        if self._process is None or self._tried >= MODELS_A_WORKER:
            self.end()
            self._start()
        self._tried += 1
        process = self._process
        assert process is not None and process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(number, file=process.stdin, flush=True)
        try:
            line = self._answers.get(timeout=self._limit)
        except queue.Empty:
            self.end()
            return f"HANG: over {self._limit:g} s", f"HANG {number}"
        if not line:
            process.wait()
            alone = self._tried == 1
            self.end()
            if process.returncode == EXHAUSTED and not alone:
                return self.answer(number)
            return f"DEATH: exit code {process.returncode}", f"DEATH {process.returncode} {number}"
        said, kind = json.loads(line)
        return str(said), str(kind)

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answers = queue.Queue()
        self._tried = 0
        threading.Thread(target=self._listen, args=(self._process.stdout, self._answers), daemon=True).start()

    @staticmethod
    def _listen(stream: IO[str], answers: queue.Queue[str]) -> None:
        with stream:
            for line in stream:
                answers.put(line)
        answers.put("")

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
            self._process = None


class Campaign:
    """Numbers handed out to the workers, and what they found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.counts: collections.Counter[str] = collections.Counter()
        self.kinds: collections.Counter[str] = collections.Counter()
        self._next = options.first
        self._end = time.monotonic() + options.seconds
        self._lock = threading.Lock()

    def number(self) -> int | None:
        with self._lock:
            done = self._next - self.options.first
            over = time.monotonic() > self._end if self.options.models is None else done >= self.options.models
            self._next += 1
            return None if over else self._next - 1

    def run(self) -> None:
        options = self.options
        command = [sys.executable, __file__, "--worker", "--seed", str(options.seed), "--memory", str(options.memory)]
        worker = Worker(command + ["--compare"] * options.compare, options.limit)
        try:
            while (number := self.number()) is not None:
                self.note(number, *worker.answer(number))
        finally:
            worker.end()

    def note(self, number: int, said: str, kind: str) -> None:
        with self._lock:
            if said in ("ran", "opened", "refused"):
                self.counts[said] += 1
                return
            self.counts["found"] += 1
            self.kinds[kind] += 1
            if self.kinds[kind] > 1:
                return
            model = draw(self.options.seed, number)
            print(f"seed {self.options.seed}, number {number}: {said} (spoilt: {model.spoilt})", flush=True)
            if self.options.keep is not None:
                folder = Path(self.options.keep) / f"{self.options.seed}-{number}"
                folder.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    model.write(folder)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop after this time (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first model (default: 0)")
    parser.add_argument("--models", type=int, default=None, help="stop after so many models, whatever the time")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--memory", type=float, default=4.0, help="gigabytes of address space (default: 4; 0: any)")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for a model (default: 20)")
    parser.add_argument("--keep", default=None, help="folder for the models that something was found with")
    parser.add_argument("--only", type=int, default=None, help="try the model of that number, in this process")
    parser.add_argument("--compare", action="store_true", help="hold valid models to ONNX Runtime")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = parse()
    if options.worker:
        work(options.seed, options.memory, options.compare)
        return 0
    if options.only is not None:
        print(try_model(options.seed, options.only, options.compare, options.memory))
        return 0
    campaign = Campaign(options)
    with ThreadPoolExecutor(options.jobs) as jobs:
        for done in [jobs.submit(campaign.run) for _ in range(options.jobs)]:
            done.result()
    counts: dict[str, Any] = campaign.counts
    print(
        f"{sum(counts.values())} models: {counts['ran']} ran, {counts['opened']} were opened, {counts['refused']} "
        f"refused, {counts['found'] or 'nothing'} found"
    )
    for kind, count in campaign.kinds.most_common():
        print(f"  {count:6d} {kind}")
    return 1 if counts["found"] else 0


if __name__ == "__main__":
    sys.exit(main())
