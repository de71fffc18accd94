"""Interrupts in the midst of runs, steps, fits and loads, for tools/stress.py: signals at moments drawn at random, and
what must hold after each of them."""

from __future__ import annotations

import argparse
import faulthandler
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from stress_networks import batch, digest, exported, network, state_of, step_of

import normengine as ne
from normengine import nn, optim

HANG = 120
"""Seconds after which what does not answer is said to hang."""


class Found(Exception):
    """What should not be."""


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
