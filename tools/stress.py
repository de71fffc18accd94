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
been. ``handlers`` comes back by signal handler: it runs a session and calls a step while they are at work. ``forks``
makes children that compile, run and train while a thread of their parent compiles. ``--seed`` draws other networks and
moments. The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from stress_interrupts import HANG, Found, Moments, interrupts, seconds_of
from stress_networks import batch, digest, exported, network, state_of, step_of

import normengine as ne

COUNTS = {"threads": 200, "interrupts": 10_000, "handlers": 1000, "forks": 100}


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


# handlers


def handlers(options: argparse.Namespace) -> int:
    """Signal handlers that use what is at work."""
    x, y = batch()
    session = ne.InferenceSession(exported(network(options.seed).eval()))
    step = step_of(network(options.seed))
    expected = session(x)
    step(x, y)
    refused, wrong = 0, 0

    def handle() -> None:
        nonlocal refused, wrong
        wrong += not np.array_equal(session(x), expected)
        try:
            step(x, y)
        except RuntimeError:
            refused += 1

    moments, numbers = Moments(options.seed, handle), itertools.count(1000 * (options.seed + 1))

    def compile_anew() -> None:
        network(next(numbers), activations=3).eval()(x)

    works: list[Callable[[], Any]] = [lambda: [session(x) for _ in range(5)], lambda: step(x, y), compile_anew]
    seconds = [seconds_of(work) for work in works]
    with within(HANG + options.count * 0.1, "handlers"):
        while moments.count < options.count:
            which = moments.rng.choices(range(len(works)), (10, 10, 1))[0]
            moments.during(works[which], seconds[which])
            wrong += not np.array_equal(session(x), expected)
            counts = {int(kept["step"]) for kept in step.optimizer.state.values()}
            wrong += counts != {step.steps}
    print(f"{moments.count} signals, {refused} met a step at work, {wrong} wrong")
    return wrong + (refused == 0)


# forks


def forks(options: argparse.Namespace) -> int:
    """Children that use the engine, of a process in which one thread compiles and another one draws random numbers."""
    x, y = batch()
    session = ne.InferenceSession(exported(network(options.seed).eval()))
    expected, stop, found = session(x), threading.Event(), 0

    def compile_on() -> None:
        number = 10_000 * (options.seed + 1)
        while not stop.is_set():
            number += 1
            network(number, activations=3).eval()(x)

    def draw_on() -> None:
        while not stop.is_set():
            ne.nn.random.generator().standard_normal(1 << 16)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["NORMENGINE_CACHE"] = folder
        threads = [threading.Thread(target=work, daemon=True) for work in (compile_on, draw_on)]
        for thread in threads:
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
        for thread in threads:
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
