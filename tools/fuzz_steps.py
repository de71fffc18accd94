"""Trains random models whose settings change at random between steps, and holds each step to one that is built anew.

    python tools/fuzz_steps.py [--seconds 60] [--seed 0] [--steps N] [--a-model 60]

A model reads settings of every kind that Python has: numbers, arrays, containers, objects, classes, closures, globals,
functions, generators of random numbers, state that it assigns itself. Before each step some of them change. The step's
loss, and all that it stores, have to be those of a step that knows nothing of what was before, bit for bit; and no more
programs may be compiled than there are structures. The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
from step_models import Loss, Model, Noise, State, parts

import normengine as ne
from normengine import nn, optim
from normengine.runtime import compile_graph
from normengine.train import step as steps


def state_of(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, np.ndarray]:
    """All that a step stores."""
    arrays: dict[str, Any] = {
        f"{name} of {i}": a for i, m in enumerate(model.modules()) for name, a in m._buffers.items()
    }
    arrays |= {f"mean of {i}": m.mean for i, m in enumerate(model.modules()) if isinstance(m, State)}
    arrays |= {name: p.numpy() for name, p in model.named_parameters()}
    for i, entries in enumerate(optimizer.state.values()):
        arrays |= {f"{what} of the optimizer's {i}": array for what, array in entries.items()}
    return {name: array for name, array in arrays.items() if array is not None}


class Before:
    """What the world is before a step, to be put back for the other one."""

    def __init__(self, model: Model, optimizer: optim.Optimizer) -> None:
        self.state = {name: array.copy() for name, array in state_of(model, optimizer).items()}
        self.own = [(part, part.own.bit_generator.state, part.draws.getstate()) for part in kept(model, Noise)]
        self.calls = [(part, part.calls) for part in kept(model, State)]
        self.drawn = random.getstate(), np.random.get_state()  # noqa: NPY002
        # NumPy computes with what is no state yet, in another rounding than the program.
        self.rounds = any("mean" not in part._buffers for part in kept(model, State))

    def again(self, model: Model, optimizer: optim.Optimizer) -> None:
        for name, array in state_of(model, optimizer).items():
            array[...] = self.state.get(name, 0)
        for part, numpys, pythons in self.own:
            part.own.bit_generator.state = copy.deepcopy(numpys)
            part.draws.setstate(pythons)
        for part, calls in self.calls:
            part.calls = calls
        random.setstate(self.drawn[0])
        np.random.set_state(self.drawn[1])  # noqa: NPY002


def alike(found: Any, expected: Any, rounds: bool) -> bool:
    """Whether they are the same, ``rounds``: within rounding."""
    rtol, atol = (1e-4, 1e-5) if rounds else (0.0, 0.0)
    return found is not None and np.allclose(found, expected, rtol, atol, equal_nan=True)


def kept(model: Model, kind: type[Any]) -> Iterator[Any]:
    return (part for part in model.parts if isinstance(part, kind))


def tried(seed: int, count: int) -> tuple[int, int, list[str]]:
    """Steps of one model: how many were compared, programs compiled for them, and what was wrong."""
    rng = np.random.default_rng(seed)
    ne.manual_seed(seed)
    drawn = parts(rng)
    model, loss = Model(drawn), Loss()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    step = ne.TrainStep(model, loss, optimizer, seed=seed)
    fresh = ne.TrainStep(model, loss, optimizer, seed=seed)
    x = rng.standard_normal((4, 2, 5, 5)).astype(np.float32)
    y = rng.integers(0, 3, 4)
    wrong: list[str] = []
    compiled = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return compile_graph(*args, **options)

    for index in range(count):
        for part in drawn:
            if rng.random() < 0.3:
                part.change(rng)
        if rng.random() < 0.3:
            loss.change(rng)
        before = Before(model, optimizer)
        with patch.object(steps, "compile_graph", counted):
            found = step(x, y)
        stored = {name: array.copy() for name, array in state_of(model, optimizer).items()}
        before.again(model, optimizer)
        # A step that has no more than programs: all that it reads it reads anew.
        fresh._last = fresh._watches = None
        fresh._steps[()] = index
        expected = fresh(x, y)
        anew = state_of(model, optimizer)
        differing = [name for name, array in anew.items() if not alike(array, stored.get(name), before.rounds)]
        if not alike(found, expected, before.rounds) or differing:
            names = ", ".join(type(part).__name__ for part in drawn)
            wrong.append(f"seed {seed}, step {index} ({names}): {found} in place of {expected}, {differing} differ")
            break
    # What forward assigns is an array at first and state of the program from then on, which is another structure.
    structures = len(fresh._compiled) + len(list(kept(model, State)))
    if compiled > structures:
        wrong.append(f"seed {seed}: {compiled} programs were compiled for {structures} structures")
    return index + 1, compiled, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="stop after as many (default: when the time is over)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--a-model", type=int, default=60, help="steps of one model (default: 60)")
    options = parser.parse_args()
    end, seed, done, programs = time.monotonic() + options.seconds, options.seed, 0, 0
    wrong: list[str] = []
    while time.monotonic() < end and (options.steps is None or done < options.steps):
        count, compiled, found = tried(seed, options.a_model)
        seed, done, programs = seed + 1, done + count, programs + compiled
        for line in found:
            print(line, flush=True)
        wrong += found
    print(f"{done} steps of {seed - options.seed} models, {programs} programs, {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
