"""Models with settings of every kind that Python has, and how they change: what ``fuzz_steps.py`` trains."""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np

import normengine as ne
from normengine import nn
from normengine.nn import functional as F

Rng = np.random.Generator
SCALE = 1.0
STORED = 1.0
SPACE: Any = types.ModuleType("settings_of_a_random_model")


@dataclasses.dataclass
class Config:
    scale: float = 1.0
    flag: bool = True


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 1.0


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
        self.rate, self.times, self.name, self.names = 0.5, 1, "relu", {"a"}
        self.flag: Any = True

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
                self.flag = [True, 1, False, 0][int(rng.integers(4))]
            case _:
                self.names ^= {"b"}


class Containers(Part):
    def __init__(self) -> None:
        super().__init__()
        self.items: Any = [1.0, [1.0]]
        self.table: Any = {"a": 1.0, "b": {"c": 1.0}}
        self.pair = 1.0, [1.0]

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
        self.default: Any = self.closed(1.0)

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
                self.default.__closure__[0].cell_contents = value
            case _:
                self.default.__defaults__ = (value,)


class Arrays(Part):
    def __init__(self) -> None:
        super().__init__()
        self.mask = np.ones((1, 4, 1, 1), np.float32)
        self.doubles, self.whole = np.ones((4, 1, 1)), np.ones((4, 1, 1), np.int64)
        self.inside = {"a": np.ones(3)}
        self.register_buffer("shift", np.zeros((4, 1, 1), np.float32))

    def forward(self, x: Any) -> Any:
        x = x * self.mask * self.doubles * self.whole + self.shift
        return x * float(self.inside["a"].sum() / 3) if self.inside["a"][0] > 0.5 else x

    def change(self, rng: Rng) -> None:
        value = rng.uniform(0.5, 1.5, (4, 1, 1))
        match int(rng.integers(7)):
            case 0:
                self.mask[0] = value
            case 1:
                self.mask = value.astype(np.float32)[None]
            case 2:
                self.doubles[:] = value
            case 3:
                self.whole[int(rng.integers(4))] += 1
                self.whole %= 3
            case 4:
                self.inside["a"][int(rng.integers(3))] = rng.uniform(0, 1)
            case 5:
                self.shift = value.astype(np.float32)
            case _:
                self.get_buffer("shift")[:] = value


class Hidden(Part):
    """What stands under no name in this code: attributes of standard objects, buffers in a walk, stored globals."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.polynomial = collections.UserDict(scale=1.0), np.poly1d([0.5, 0.0])
        self.vector = np.vectorize(lambda x: x * SPACE.scale)
        self.register_buffer("level", np.zeros(2, np.float32))

    def forward(self, x: Any) -> Any:
        global STORED
        STORED = self.table["scale"]
        x = x * STORED * self.polynomial(2.0) * float(self.vector(1.0))
        return x * 2 if sum(float(array.sum()) for array in self.buffers()) > 0 else x

    def change(self, rng: Rng) -> None:
        global STORED
        value = float(rng.uniform(0.8, 1.2))
        match int(rng.integers(4)):
            case 0:
                self.table["scale"] = value
            case 1:
                self.polynomial[1] = value
            case 2:
                self.get_buffer("level")[:] = value - 1
            case _:
                STORED = value


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
                weight = self.norm.get_parameter("weight")
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
                return x + np.random.standard_normal(x.shape).astype(np.float32) * 0.1  # noqa: NPY002
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
        self.mean: Any = ne.zeros(1, 4, 1, 1)
        self.calls, self.last = 0, None
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
        self.level = rng.standard_normal(1).astype(np.float32)


PARTS: tuple[type[Part], ...] = (
    Number, Decides, Containers, Objects, Globals, Functions, Arrays, Hidden, Layers, Noise, State, Looks
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
        self.alpha: Any = 1.0
        self.other, self.lam = np.zeros(4, np.int64), 1.0

    def __call__(self, output: Any, target: Any) -> Any:
        mixed = self.lam * F.cross_entropy(output, target) + (1 - self.lam) * F.cross_entropy(output, self.other)
        return mixed * self.alpha

    def change(self, rng: Rng) -> None:
        self.lam, self.other = float(rng.beta(1, 1)), rng.integers(0, 3, 4)
        if rng.random() < 0.5:
            self.alpha = number(rng)


def parts(rng: Rng) -> list[Part]:
    """Some parts drawn at random, all settings that several share as they are at first."""
    global SCALE
    SCALE, SPACE.scale, Factor.shared = 1.0, 1.0, 1.0
    return [PARTS[int(k)]() for k in rng.integers(0, len(PARTS), int(rng.integers(1, 4)))]
