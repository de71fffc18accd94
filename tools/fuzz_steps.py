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
import dataclasses
import functools
import random
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import normengine as ne
from normengine import nn, optim
from normengine.nn import functional as F
from normengine.train import step as steps

Rng = np.random.Generator
SCALE = 1.0
SPACE = types.ModuleType("settings_of_a_random_model")


@dataclasses.dataclass
class Config:
    scale: float = 1.0
    flag: bool = True


class Slotted:
    __slots__ = ("scale",)


class Factor:
    shared = 1.0

    def __init__(self) -> None:
        self.own = 1.0

    def __call__(self, x: Any) -> Any:
        return x * self.own * self.shared


def number(rng: Rng) -> Any:
    """A number near 1 of some type."""
    drawn = float(rng.choice([0.5, 1.0, 1.5, 2.0, rng.uniform(0.5, 1.5)]))
    kinds: list[Callable[[float], Any]] = [
        float, float, float, np.float32, np.float64, lambda n: round(n), lambda n: np.int64(round(n)),
        lambda n: np.array(n, np.float32), lambda n: np.array(n), lambda n: np.array([n], np.float32),
    ]  # fmt: skip
    return kinds[int(rng.integers(len(kinds)))](drawn)


class Part(nn.Module):
    """Something between two layers that has settings: ``change`` gives them other values."""

    def change(self, rng: Rng) -> None:
        raise NotImplementedError


class Number(Part):
    def __init__(self) -> None:
        super().__init__()
        self.scale: Any = 1.0

    def forward(self, x: Any) -> Any:
        return x * self.scale

    def change(self, rng: Rng) -> None:
        self.scale = number(rng)


class Decides(Part):
    """Numbers that branches, loops and shapes depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.times, self.name, self.flag, self.names = 0.5, 1, "relu", True, {"a"}

    def forward(self, x: Any) -> Any:
        for _ in range(self.times):
            x = x * self.rate if self.rate > 0.7 else x + self.rate
        x = F.relu(x) if self.name == "relu" else x.sigmoid()
        x = x if self.flag is True else -x
        return x * 0.5 if "b" in self.names else x

    def change(self, rng: Rng) -> None:
        match int(rng.integers(5)):
            case 0:
                self.rate = float(rng.uniform(0, 1))
            case 1:
                self.times = int(rng.integers(1, 3))
            case 2:
                self.name = str(rng.choice(["relu", "sigmoid"]))
            case 3:
                self.flag = [True, 1, False, 0][int(rng.integers(4))]  # type: ignore[assignment]
            case _:
                self.names ^= {"b"}


class Containers(Part):
    def __init__(self) -> None:
        super().__init__()
        self.items, self.table, self.pair = [1.0, [1.0]], {"a": 1.0, "b": {"c": 1.0}}, (1.0, [1.0])

    def forward(self, x: Any) -> Any:
        return x * self.items[0] * self.items[1][0] * self.table["a"] * self.table["b"]["c"] * self.pair[1][0]

    def change(self, rng: Rng) -> None:
        value = float(rng.uniform(0.5, 1.5))
        places: list[tuple[Any, Any]] = [
            (self.items, 0), (self.items[1], 0), (self.table, "a"), (self.table["b"], "c"), (self.pair[1], 0)
        ]  # fmt: skip
        holder, key = places[int(rng.integers(len(places)))]
        holder[key] = value


class Objects(Part):
    def __init__(self) -> None:
        super().__init__()
        self.args = types.SimpleNamespace(scale=1.0, inner=Config())
        self.config, self.slotted, self.factor = Config(), Slotted(), Factor()
        self.slotted.scale = 1.0

    def forward(self, x: Any) -> Any:
        x = x * self.args.scale * self.args.inner.scale * self.config.scale * self.slotted.scale
        return self.factor(x) if self.config.flag else x

    def change(self, rng: Rng) -> None:
        value = float(rng.uniform(0.8, 1.2))
        match int(rng.integers(8)):
            case 0:
                self.args.scale = value
            case 1:
                self.args.inner.scale = value
            case 2:
                self.config = Config(value)
            case 3:
                self.slotted.scale = value
            case 4:
                self.factor.own = value
            case 5:
                Factor.shared = value
            case 6:
                self.factor = Factor()
            case _:
                self.config.flag = not self.config.flag


class Globals(Part):
    def forward(self, x: Any) -> Any:
        return x * SCALE * SPACE.scale

    def change(self, rng: Rng) -> None:
        global SCALE
        if rng.random() < 0.5:
            SCALE = float(rng.uniform(0.8, 1.2))
        else:
            SPACE.scale = float(rng.uniform(0.8, 1.2))


class Functions(Part):
    def __init__(self) -> None:
        super().__init__()
        self.function: Any = F.relu
        self.partial = functools.partial(F.leaky_relu, negative_slope=0.1)
        self.layer: Any = nn.ReLU()
        self.default = self.closed(1.0)

    @staticmethod
    def closed(factor: float) -> Callable[..., Any]:
        def closure(x: Any, more: float = 1.0) -> Any:
            return x * factor * more

        return closure

    def forward(self, x: Any) -> Any:
        return self.default(self.layer(self.partial(self.function(x))))

    def change(self, rng: Rng) -> None:
        value = float(rng.uniform(0.5, 1.5))
        match int(rng.integers(6)):
            case 0:
                self.function = self.closed(value)
            case 1:
                self.function = lambda x: x + value
            case 2:
                self.partial = functools.partial(F.leaky_relu, negative_slope=value)
            case 3:
                self.layer = [nn.ReLU(), nn.Tanh(), nn.LeakyReLU(value)][int(rng.integers(3))]
            case 4:
                self.default.__closure__[0].cell_contents = value  # type: ignore[attr-defined]
            case _:
                self.default.__defaults__ = (value,)  # type: ignore[attr-defined]


class Arrays(Part):
    def __init__(self) -> None:
        super().__init__()
        self.mask = np.ones((1, 4, 1, 1), np.float32)
        self.double, self.whole = np.ones((4, 1, 1)), np.ones((4, 1, 1), np.int64)
        self.inside = {"a": np.ones(3)}
        self.register_buffer("shift", np.zeros((4, 1, 1), np.float32))

    def forward(self, x: Any) -> Any:
        x = x * self.mask * self.double * self.whole + self.shift
        return x * float(self.inside["a"].sum() / 3) if self.inside["a"][0] > 0.5 else x

    def change(self, rng: Rng) -> None:
        value = rng.uniform(0.5, 1.5, (4, 1, 1))
        match int(rng.integers(7)):
            case 0:
                self.mask[0] = value
            case 1:
                self.mask = value.astype(np.float32)[None]
            case 2:
                self.double[:] = value
            case 3:
                self.whole[int(rng.integers(4))] += 1
                self.whole %= 3
            case 4:
                self.inside["a"][int(rng.integers(3))] = rng.uniform(0, 1)
            case 5:
                self.shift = value.astype(np.float32)  # type: ignore[assignment]
            case _:
                self.get_buffer("shift")[:] = value


class Layers(Part):
    """Settings of this package's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.slope = nn.BatchNorm2d(4), nn.Dropout(0.3), nn.LeakyReLU(0.1)

    def forward(self, x: Any) -> Any:
        return self.slope(self.drop(self.norm(x)))

    def change(self, rng: Rng) -> None:
        match int(rng.integers(6)):
            case 0:
                self.norm.momentum = float(rng.uniform(0.05, 0.5))
            case 1:
                self.drop.p = float(rng.choice([0.0, 0.2, 0.5]))
            case 2:
                self.slope.negative_slope = float(rng.choice([0.1, 0.2]))
            case 3:
                self.norm.train(not self.norm.training)
            case 4:
                self.drop.train(not self.drop.training)
            case _:
                weight = self.norm.weight
                weight.requires_grad = not weight.requires_grad


class Noise(Part):
    """Random draws: of this package's counter, of Python's and NumPy's generators, of one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.kind, self.own, self.draws = 0, np.random.default_rng(1), random.Random(1)

    def forward(self, x: Any) -> Any:
        match self.kind:
            case 0:
                return x + 0.1 * ne.randn(*x.shape)
            case 1:
                return x * ne.bernoulli(0.5 * ne.ones(x.shape[0], 1, 1, 1)) * 2
            case 2:
                return x * 2 if ne.rand(1).item() < 0.5 else x
            case 3:
                return x * 2 if random.random() < 0.5 else x
            case 4:
                return x + np.random.standard_normal(x.shape).astype(np.float32) * 0.1
            case 5:
                return x * float(self.own.uniform(0.5, 1.5))
            case 6:
                return x * self.draws.choice([0.5, 1.0])
            case _:
                return x + 0.1 * ne.rand_like(x)

    def change(self, rng: Rng) -> None:
        self.kind = int(rng.integers(9))


class State(Part):
    """State that ``forward`` assigns."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.calls, self.last = ne.zeros(1, 4, 1, 1), 0, None
        self.register_buffer("count", np.array(0))

    def forward(self, x: Any) -> Any:
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        self.mean = 0.9 * self.mean + 0.1 * mean
        self.count += 1
        self.calls += 1
        self.last = x
        return x - self.mean + 0.01 * (self.calls % 3)

    def change(self, rng: Rng) -> None:
        self.mean = rng.standard_normal((1, 4, 1, 1)).astype(np.float32)


class Looks(Part):
    """Values of parameters and buffers that Python looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(np.array([1.0], np.float32))
        self.register_buffer("level", np.zeros(1, np.float32))

    def forward(self, x: Any) -> Any:
        x = x * self.alpha if self.alpha.item() < 1.001 else x - self.alpha
        return x + 1 if float(self.level.sum()) > 0 else x

    def change(self, rng: Rng) -> None:
        self.level = rng.standard_normal(1).astype(np.float32)  # type: ignore[assignment]


PARTS: tuple[type[Part], ...] = (
    Number, Decides, Containers, Objects, Globals, Functions, Arrays, Layers, Noise, State, Looks
)  # fmt: skip


class Model(nn.Module):
    def __init__(self, parts: list[Part]) -> None:
        super().__init__()
        self.first, self.parts, self.head = nn.Conv2d(2, 4, 3), nn.ModuleList(parts), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        for part in self.parts:
            x = part(x)
        return self.head(x.mean((2, 3)))


class Loss:
    """A loss that can be called and reads an attribute, a closure, and targets that a batch brings."""

    def __init__(self) -> None:
        self.alpha, self.other, self.lam = 1.0, np.zeros(4, np.int64), 1.0

    def __call__(self, output: Any, target: Any) -> Any:
        mixed = self.lam * F.cross_entropy(output, target) + (1 - self.lam) * F.cross_entropy(output, self.other)
        return mixed * self.alpha

    def change(self, rng: Rng) -> None:
        self.lam, self.other = float(rng.beta(1, 1)), rng.integers(0, 3, 4)
        if rng.random() < 0.5:
            self.alpha = number(rng)


def state_of(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, np.ndarray]:
    """All that a step stores."""
    arrays = {f"{name} of {i}": a for i, m in enumerate(model.modules()) for name, a in m._buffers.items()}
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
        self.drawn = random.getstate(), np.random.get_state()
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
        np.random.set_state(self.drawn[1])


def alike(found: Any, expected: Any, rounds: bool) -> bool:
    """Whether they are the same, ``rounds``: within rounding."""
    return found is not None and np.allclose(found, expected, *((1e-4, 1e-5) if rounds else (0, 0)), equal_nan=True)


def kept(model: Model, kind: type[Any]) -> Iterator[Any]:
    return (part for part in model.parts if isinstance(part, kind))


def tried(seed: int, count: int) -> tuple[int, int, list[str]]:
    """Steps of one model: how many were compared, programs compiled for them, and what was wrong."""
    global SCALE
    rng = np.random.default_rng(seed)
    ne.manual_seed(seed)
    SCALE, SPACE.scale, Factor.shared = 1.0, 1.0, 1.0  # type: ignore[attr-defined]
    parts = [PARTS[int(k)]() for k in rng.integers(0, len(PARTS), int(rng.integers(1, 4)))]
    model, loss = Model(parts), Loss()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    step = ne.TrainStep(model, loss, optimizer, seed=seed)
    fresh = ne.TrainStep(model, loss, optimizer, seed=seed)
    x = rng.standard_normal((4, 2, 5, 5)).astype(np.float32)
    y = rng.integers(0, 3, 4)
    wrong: list[str] = []
    compiled = 0
    original = steps.compile_graph

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return original(*args, **options)

    for index in range(count):
        for part in (*parts, loss):
            if rng.random() < 0.3:
                part.change(rng)
        before = Before(model, optimizer)
        steps.compile_graph = counted
        found = step(x, y)
        steps.compile_graph = original
        stored = {name: array.copy() for name, array in state_of(model, optimizer).items()}
        before.again(model, optimizer)
        # A step that has no more than programs: all that it reads it reads anew.
        fresh._last, fresh._watch, fresh._bound = None, None, {}
        fresh._steps[()] = index
        expected = fresh(x, y)
        anew = state_of(model, optimizer)
        differing = [name for name, array in anew.items() if not alike(array, stored.get(name), before.rounds)]
        if not alike(found, expected, before.rounds) or differing:
            names = ", ".join(type(part).__name__ for part in parts)
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
