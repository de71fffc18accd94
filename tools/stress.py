"""Uses the engine as no one should: many threads at once on a cold start, signals at any moment, forks while another
thread compiles.

    python tools/stress.py threads [--count 200] [--threads 8]
    python tools/stress.py interrupts [--count 10000]
    python tools/stress.py handlers [--count 1000]
    python tools/stress.py forks [--count 100]

``threads`` starts processes whose threads all go over every road at once (a session, a model called directly, a step
of training, an export, a profile), every other one with an empty cache of compiled code, and compares their results
bit by bit. ``interrupts`` raises KeyboardInterrupt in the midst of runs, steps, fits and loads, and looks that each is
done or not done, that nothing stays locked, for this thread or another, and that later results are what they would have
been. ``handlers`` comes back by signal handler: it runs a session, a model and a step while they run. ``forks`` makes
children that compile, run and train while a thread of their parent compiles. ``--seed`` draws other networks and
moments. The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import normengine as ne
from normengine import nn, optim

HANG = 120
"""Seconds after which what does not answer is said to hang."""
COUNTS = {"threads": 200, "interrupts": 10_000, "handlers": 1000, "forks": 100}
ACTIVATIONS = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU)


class Found(Exception):
    """What should not be."""


def network(seed: int, activations: int = 1) -> nn.Module:
    """A small network, its weights always the same; its activations, and so the code that is compiled for it, follow
    from ``seed``."""
    rng = random.Random(seed)
    between = [rng.choice(ACTIVATIONS)() for _ in range(activations)]
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), *between, nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip
    draw = np.random.default_rng(0)
    floats = {name: array for name, array in model.state_dict().items() if array.dtype.kind == "f"}
    drawn = {name: 0.5 + 0.1 * draw.standard_normal(array.shape) for name, array in floats.items()}
    model.load_state_dict(drawn, strict=False)
    return model


def batch(number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.standard_normal((4, 2, 6, 6), np.float32), rng.integers(0, 3, 4)


def step_of(model: nn.Module) -> ne.TrainStep:
    return ne.TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 0.01), seed=1)


def exported(model: nn.Module) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        ne.onnx.export(model, Path(folder, "model.onnx"), input_shape=(2, 6, 6))
        return Path(folder, "model.onnx").read_bytes()


def digest(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:12]


def state_of(step: ne.TrainStep) -> str:
    """All that a step changes, its own count aside."""
    kept = step.optimizer.state
    memory = [array for p in step.optimizer.param_groups[0]["params"] for _, array in sorted(kept.get(p, {}).items())]
    return digest(*step.model.state_dict().values(), *memory)


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Ends the process with a traceback of all threads when the block takes longer."""
    print(f"{what}: still at work after {seconds:.0f} s means that it hangs", file=sys.stderr, flush=True)
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


# threads


def roads(seed: int, content: bytes) -> list[Callable[[], str]]:
    """Every way into the engine, each of which gives what it computed."""
    x, y = batch()

    def session() -> str:
        made = ne.InferenceSession(content)
        return digest(made(x), made(x[:1]))

    def eager() -> str:
        return digest(network(seed).eval()(x))

    def training() -> str:
        step = step_of(network(seed))
        return digest(np.array([step(x, y) for _ in range(2)])) + state_of(step)

    def export() -> str:
        return hashlib.sha256(exported(network(seed).eval())).hexdigest()

    def profile() -> str:
        step = step_of(network(seed))
        step.profile(x, y, runs=1)
        return state_of(step)

    return [session, eager, training, export, profile]


def start(seed: int, threads: int, content: bytes) -> None:
    """One process's threads on every road; raises what one of them raised, or :class:`Found`."""
    ready = threading.Barrier(threads)
    lock = threading.Lock()
    errors: list[BaseException] = []
    results: dict[str, set[str]] = {}

    def go(thread: int) -> None:
        try:
            ways = roads(seed, content)
            ready.wait()
            for way in ways[thread % len(ways) :] + ways[: thread % len(ways)]:
                result = way()
                with lock:
                    results.setdefault(way.__name__, set()).add(result)
        except BaseException as error:
            errors.append(error)
            ready.abort()

    started = [threading.Thread(target=go, args=(n,)) for n in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]
    different = [name for name, found in results.items() if len(found) > 1]
    if different:
        raise Found(f"threads have different results: {', '.join(different)}")


def threads(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(exported(network(options.seed).eval()))
        found = 0
        for number in range(options.count):
            cache = Path(folder, f"cache{number // 2}")
            settings = ["--seed", str(options.seed), "--threads", str(options.threads), "--file", str(file)]
            environment = {**os.environ, "NORMENGINE_CACHE": str(cache)}
            command = [sys.executable, __file__, "start", *settings]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                found += 1
                kind = "cold" if number % 2 == 0 else "warm"
                print(f"start {number} ({kind}) ended with {done.returncode}: {done.stderr[-2000:]}", flush=True)
        print(f"{options.count} starts of {options.threads} threads, {found} failed")
        return found


# interrupts


class Moments:
    """Signals at moments drawn at random; ``handle`` is called in the midst of whatever the main thread does."""

    def __init__(self, seed: int, handle: Callable[[], None]) -> None:
        self.rng = random.Random(seed)
        self.count = 0
        self.armed = False
        self._handle = handle
        signal.signal(signal.SIGALRM, self._come)

    def _come(self, number: int, frame: Any) -> None:
        if self.armed:
            self.armed = False
            self.count += 1
            self._handle()

    def during(self, work: Callable[[], Any], seconds: float) -> Any:
        """``work()``, with a signal within about its time; None where that was cut off."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, self.rng.uniform(0, 1.2) * seconds))
            result = work()
            self.armed = False
            return result
        except KeyboardInterrupt:
            return None
        finally:
            self.armed = False


def seconds_of(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def in_another_thread(work: Callable[[], Any], what: str) -> None:
    """Does it, or says that it is locked."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(HANG)
    if thread.is_alive():
        raise Found(f"{what}: another thread waits for ever")


def interrupt() -> None:
    raise KeyboardInterrupt


Trial = Callable[[Moments], None]


def running(seed: int) -> Trial:
    """Runs of a session: the same bits each time."""
    x, _ = batch()
    session = ne.InferenceSession(exported(network(seed).eval()))
    expected, seconds = session(x), seconds_of(lambda: session(x))

    def trial(moments: Moments) -> None:
        moments.during(lambda: [session(x) for _ in range(5)], 5 * seconds)
        if not np.array_equal(session(x), expected):
            raise Found("a session gives another result after an interrupt")
        if moments.count % 100 == 0:
            in_another_thread(lambda: session(x), "a session")

    return trial


def starting(seed: int) -> Trial:
    """Sessions that are made, run with another batch size, and profiled."""
    x, _ = batch()
    content = exported(network(seed).eval())
    session = ne.InferenceSession(content)
    expected = [session(x[:n]) for n in (1, 2, 3)]

    def work() -> ne.InferenceSession:
        made = ne.InferenceSession(content, programs=2)
        for n in (1, 2, 3):
            made(x[:n])
        made.profile({"x": x[:1]}, runs=1)
        return made

    seconds = seconds_of(work)

    def trial(moments: Moments) -> None:
        made = moments.during(work, seconds) or session
        moments.during(lambda: made.profile({"x": x[:1]}, runs=1), seconds / 4)
        in_another_thread(lambda: made(x[:2]), "a new session")
        if not all(np.array_equal(made(x[:n]), y) for n, y in zip((1, 2, 3), expected, strict=True)):
            raise Found("a new session gives another result after an interrupt")

    return trial


def calling(seed: int) -> Trial:
    """Models called directly, in eval mode."""
    x, _ = batch()
    model = network(seed).eval()
    expected, seconds = model(x), seconds_of(lambda: model(x))

    def trial(moments: Moments) -> None:
        moments.during(lambda: model(x), seconds)
        if not np.array_equal(model(x), expected):
            raise Found("a model gives another result after an interrupt")
        if moments.count % 100 == 0:
            in_another_thread(lambda: model(x), "a model")

    return trial


def stepping(seed: int) -> Trial:
    """Steps of training: what is counted is done, and nothing else."""
    step, twin = step_of(network(seed)), step_of(network(seed))
    expected = {0: state_of(twin)}

    def state_after(steps: int) -> str:
        while twin.steps < steps:
            twin(*batch(twin.steps))
            expected[twin.steps] = state_of(twin)
        return expected[steps]

    state_after(1)
    step(*batch(0))
    seconds = seconds_of(lambda: step(*batch(step.steps)))

    def trial(moments: Moments) -> None:
        moments.during(lambda: step(*batch(step.steps)), seconds)
        counts = {int(kept["step"]) for kept in step.optimizer.state.values()}
        if counts != {step.steps}:
            raise Found(f"{step.steps} steps, but the optimizer counts {sorted(counts)}")
        if state_of(step) != state_after(step.steps):
            raise Found(f"after {step.steps} steps, one of them interrupted, parameters are others")

    return trial


def fitting(seed: int) -> Trial:
    """Fits: learning rates and modes are put back, and what is counted is done."""
    x, y = (np.concatenate(parts) for parts in zip(*map(batch, range(4)), strict=True))
    model = network(seed)
    next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    trainer = ne.Trainer(model, optim.SGD(model.parameters(), lr=0.01, momentum=0.9), nn.CrossEntropyLoss(), seed=0)
    modes = [module.training for module in model.modules()]

    def fit() -> None:
        trainer.fit(x, y, epochs=1, batch_size=4, validation=(x, y), schedule=ne.train.cosine(), progress=False)

    fit()
    seconds = seconds_of(fit)

    def trial(moments: Moments) -> None:
        moments.during(fit, seconds)
        if [module.training for module in model.modules()] != modes:
            raise Found("a fit left modules in another mode")
        if trainer.optimizer.param_groups[0]["lr"] != 0.01:
            raise Found("a fit left another learning rate")
        counts = {int(kept["step"]) for kept in trainer.optimizer.state.values()}
        if counts != {trainer.step.steps}:
            raise Found(f"{trainer.step.steps} steps, but the optimizer counts {sorted(counts)}")

    return trial


def loading(seed: int) -> Trial:
    """Loads of a model's and an optimizer's state: all arrays are of the one or of the other."""
    step = step_of(network(seed))
    states = []
    for number in range(2):
        step(*batch(number))
        kept = step.optimizer.state_dict()
        arrays = {n: {k: np.copy(v) for k, v in s.items()} for n, s in kept["state"].items()}
        model_state = {name: array.copy() for name, array in step.model.state_dict().items()}
        states.append((model_state, {**kept, "state": arrays}))
    halves: list[tuple[Callable[[Any], Any], Callable[[], str]]] = [
        (step.model.load_state_dict, lambda: digest(*step.model.state_dict().values())),
        (
            step.optimizer.load_state_dict,
            lambda: digest(*(a for s in step.optimizer.state.values() for _, a in sorted(s.items()))),
        ),
    ]
    whole = []
    for state in states:
        for (load, _), part in zip(halves, state, strict=True):
            load(part)
        whole.append([look() for _, look in halves])
    seconds = [seconds_of(partial(load, part)) for (load, _), part in zip(halves, states[0], strict=True)]

    def trial(moments: Moments) -> None:
        which, half = moments.rng.randrange(2), moments.rng.randrange(2)
        load, look = halves[half]
        moments.during(lambda: load(states[which][half]), seconds[half])
        if look() not in (whole[0][half], whole[1][half]):
            raise Found(f"{load.__qualname__} was cut in two")

    return trial


TRIALS = {
    "runs": (running, 0.25),
    "starts": (starting, 0.03),
    "models": (calling, 0.22),
    "steps": (stepping, 0.25),
    "fits": (fitting, 0.05),
    "loads": (loading, 0.2),
}
"""What is interrupted, and the share of the interrupts that it has."""


def interrupts(options: argparse.Namespace) -> int:
    moments = Moments(options.seed, interrupt)
    found = 0
    for name, (prepare, share) in TRIALS.items():
        trial, goal = prepare(options.seed), moments.count + max(1, round(share * options.count))
        first = moments.count
        while moments.count < goal:
            with_guard = moments.count % 50 == 0
            if with_guard:
                faulthandler.dump_traceback_later(HANG, exit=True)
            try:
                trial(moments)
            except Exception as error:
                found += 1
                told = "" if isinstance(error, Found) else traceback.format_exc()[-2000:]
                print(f"{name}, interrupt {moments.count - first}: {error!r:.500} {told}", flush=True)
                trial = prepare(options.seed)
        faulthandler.cancel_dump_traceback_later()
        print(f"{name}: {moments.count - first} interrupts", flush=True)
    print(f"{moments.count} interrupts, {found} found")
    return found


# handlers


def handlers(options: argparse.Namespace) -> int:
    """Signal handlers that use what is at work."""
    x, y = batch()
    session = ne.InferenceSession(exported(network(options.seed).eval()))
    model, step = network(options.seed).eval(), step_of(network(options.seed))
    results = session(x), model(x)
    step(x, y)
    refused, wrong = 0, 0

    def handle() -> None:
        nonlocal refused, wrong
        wrong += not np.array_equal(session(x), results[0])
        try:
            step(x, y)
        except RuntimeError:
            refused += 1

    moments = Moments(options.seed, handle)
    works: list[Callable[[], Any]] = [lambda: [session(x) for _ in range(5)], lambda: step(x, y)]
    seconds = [seconds_of(work) for work in works]
    with within(HANG + options.count * 0.1, "handlers"):
        while moments.count < options.count:
            which = moments.rng.randrange(len(works))
            moments.during(works[which], seconds[which])
            wrong += not np.array_equal(session(x), results[0])
            counts = {int(kept["step"]) for kept in step.optimizer.state.values()}
            wrong += counts != {step.steps}
    print(f"{moments.count} signals, {refused} met a step at work, {wrong} wrong")
    return wrong


# forks


def forks(options: argparse.Namespace) -> int:
    """Children that use the engine, of a process in which another thread compiles."""
    x, y = batch()
    session = ne.InferenceSession(exported(network(options.seed).eval()))
    expected, stop, found = session(x), threading.Event(), 0

    def compile_on() -> None:
        number = 10_000 * (options.seed + 1)
        while not stop.is_set():
            number += 1
            network(number, activations=3).eval()(x)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["NORMENGINE_CACHE"] = folder
        thread = threading.Thread(target=compile_on, daemon=True)
        thread.start()
        for number in range(options.count):
            time.sleep(random.Random(options.seed + number).uniform(0, 0.05))
            child = os.fork()
            if child == 0:
                child_of_a_fork(number, session, x, y, expected)
            deadline = time.monotonic() + HANG
            done, status = 0, 0
            while not done and time.monotonic() < deadline:
                done, status = os.waitpid(child, os.WNOHANG)
                time.sleep(0.005)
            if not done:
                os.kill(child, signal.SIGABRT)
                os.waitpid(child, 0)
            if not done or status:
                found += 1
                print(f"fork {number}: {f'status {status}' if done else 'the child hangs'}", flush=True)
        stop.set()
        thread.join()
    print(f"{options.count} forks, {found} failed")
    return found


def child_of_a_fork(number: int, session: ne.InferenceSession, x: Any, y: Any, expected: Any) -> None:
    """Everything once, a chain that is new among it; ends the process."""
    faulthandler.dump_traceback_later(HANG - 10, exit=True)
    code = 1
    try:
        model = network(-1 - number, activations=2)
        model.eval()(x)
        step_of(network(0))(x, y)
        code = 0 if np.array_equal(session(x), expected) else 2
    finally:
        os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*COUNTS, "start"])
    parser.add_argument("--count", type=int, help="starts, signals or forks (default: 200, 10000, 1000, 100)")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "start":
        with within(HANG, "start"):
            start(options.seed, options.threads, options.file.read_bytes())
        return 0
    if options.count is None:
        options.count = COUNTS[options.what]
    commands = {"threads": threads, "interrupts": interrupts, "handlers": handlers, "forks": forks}
    return 1 if commands[options.what](options) else 0


if __name__ == "__main__":
    sys.exit(main())
