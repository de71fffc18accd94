"""Compares two builds of normengine, each in an environment of its own: the same bits, and how fast they are.

    python tools/compare_builds.py OLD_PYTHON NEW_PYTHON --models models.py [--turns 7] [--seconds 2] [--threads 2]

``OLD_PYTHON`` and ``NEW_PYTHON`` are interpreters whose environments have one build each; one given as
``PYTHON@FOLDER`` has that folder in front of its path, which does for a checkout. ``--models`` names a file with a
dict ``MODELS`` from a name to ``(build, shape)``: ``build(nn)`` makes the network, ``shape`` is that of one image.

For each network and batch size, ten training steps with dropout and one inference are hashed in both, and then timed in
turns: of the medians, new over old, so that a number above 1 says that the new build is slower. At the end comes the
geometric mean, and the start: ``import normengine``, and the first run of a session from the start of the process.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

JOBS = ("train", "infer")
BATCHES = {"train": (32, 128), "infer": (1, 32)}
STARTS = 15
STEPS = 10


def models_of(path: str) -> dict[str, tuple[Any, ...]]:
    spec = importlib.util.spec_from_file_location("models", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, tuple[Any, ...]] = module.MODELS
    return found


def job(kind: str, build: Callable[[Any], Any], shape: Sequence[int], batch: int, file: str) -> Callable[[], Any]:
    """A function that does one step, or one inference of the exported network."""
    import numpy as np

    import normengine as ne

    ne.manual_seed(0)
    model = build(ne.nn)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, *shape), dtype=np.float32), rng.integers(0, 10, batch)
    if kind == "infer":
        if not os.path.exists(file):
            ne.onnx.export(model.eval(), file, input_shape=tuple(shape))
        session = ne.InferenceSession(file)
        return lambda: session.run(None, {"x": x})[0]
    model.train()
    optimizer = ne.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    step = ne.TrainStep(model, ne.nn.CrossEntropyLoss(), optimizer)
    return lambda: (step(x, y), model)


def bits(kind: str, run: Callable[[], Any]) -> str:
    made = hashlib.sha256()
    if kind == "infer":
        made.update(run().tobytes())
        return made.hexdigest()
    for _ in range(STEPS):
        loss, model = run()
        made.update(repr(float(loss)).encode())
    for name, array in sorted(model.state_dict().items()):
        made.update(name.encode() + array.tobytes())
    return made.hexdigest()


def work(options: argparse.Namespace) -> None:
    """A worker: prints the hash, then the median time of a run for each line that it reads."""
    import normengine as ne

    ne.set_num_threads(options.threads)
    build, shape = models_of(options.models)[options.network][:2]
    run = job(options.job, build, shape, options.batch, options.file)
    print(bits(options.job, run), flush=True)
    for line in sys.stdin:
        end = time.perf_counter() + float(line)
        times: list[float] = []
        while time.perf_counter() < end or len(times) < 5:
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        print(json.dumps(median(times)), flush=True)


class Build:
    """One of the two: an interpreter, and what goes in front of its path."""

    def __init__(self, given: str) -> None:
        self.python, _, folder = given.partition("@")
        own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.environment = {**own, "PYTHONPATH": folder} if folder else own

    def worker(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        command = [self.python, os.path.abspath(__file__), "-", "-", "--worker", *arguments]
        return subprocess.Popen(
            command, env=self.environment, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, script: str) -> float:
        """CPU seconds of a process."""
        pid = os.posix_spawn(self.python, [self.python, script], self.environment)
        _, status, used = os.wait4(pid, 0)
        if status:
            raise SystemExit(f"{self.python} failed")
        return used.ru_utime + used.ru_stime


def answer(worker: subprocess.Popen[str], line: str = "") -> str:
    assert worker.stdin is not None and worker.stdout is not None
    if line:
        worker.stdin.write(line + "\n")
        worker.stdin.flush()
    text = worker.stdout.readline().strip()
    if not text:
        raise SystemExit("a worker ended")
    return text


def compare(builds: Sequence[Build], options: argparse.Namespace) -> list[float]:
    ratios = []
    print(f"{'network':18}{'job':7}{'batch':>6}  {'bits':10}{'old ms':>9}{'new ms':>9}{'new/old':>9}")
    for network in models_of(options.models):
        for kind in JOBS:
            for batch in BATCHES[kind]:
                with tempfile.TemporaryDirectory() as folder:
                    given = ["--models", os.path.abspath(options.models), "--network", network, "--job", kind]
                    given += ["--batch", str(batch), "--threads", str(options.threads)]
                    given += ["--file", str(Path(folder, "model.onnx"))]
                    workers, hashes = [], []
                    for build in builds:
                        workers.append(build.worker(given))
                        hashes.append(answer(workers[-1]))
                    times: list[list[float]] = [[], []]
                    for turn in range(options.turns):
                        for i in (0, 1) if turn % 2 else (1, 0):
                            times[i].append(float(answer(workers[i], str(options.seconds))))
                    for worker in workers:
                        worker.communicate()
                old, new = map(median, times)
                ratios.append(new / old)
                same = "same" if hashes[0] == hashes[1] else "DIFFERENT"
                row = f"{network:18}{kind:7}{batch:>6}  {same:10}{1e3 * old:9.3f}{1e3 * new:9.3f}{ratios[-1]:9.3f}"
                print(row, flush=True)
    return ratios


def starts(builds: Sequence[Build], options: argparse.Namespace) -> None:
    """The least CPU time of fresh processes, which other work on the machine can only lengthen."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "model.onnx"))
        name, (build, shape, *_) = next(iter(models_of(options.models).items()))
        code = {
            "import normengine": "import normengine",
            f"first run of a session ({name})": "import numpy as np, normengine as ne\n"
            f"ne.InferenceSession({file!r}).run(None, {{'x': np.zeros((1, *{tuple(shape)}), np.float32)}})",
        }
        import normengine as ne

        ne.onnx.export(build(ne.nn).eval(), file, input_shape=tuple(shape))
        script = Path(folder, "start.py")
        for what, text in code.items():
            script.write_text(text, encoding="utf-8")
            times: list[list[float]] = [[], []]
            for _ in range(STARTS):
                for i, one in enumerate(builds):
                    times[i].append(one.start(str(script)))
            old, new = map(min, times)
            print(f"{what}: {1e3 * old:.0f} ms of CPU old, {1e3 * new:.0f} ms new, {new / old:.3f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="interpreter of the old build, or PYTHON@FOLDER")
    parser.add_argument("new", help="interpreter of the new build, or PYTHON@FOLDER")
    parser.add_argument("--models", required=True, help="file with MODELS")
    parser.add_argument("--turns", type=int, default=7, help="measurements of each (default: 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement (default: 2)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: all CPUs)")
    for hidden in ("--network", "--job", "--file"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    builds = [Build(options.old), Build(options.new)]
    ratios = compare(builds, options)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean of new over old: {mean:.3f}, most {max(ratios):.3f}, least {min(ratios):.3f}")
    starts(builds, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
