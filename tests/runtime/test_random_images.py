"""Compiled programs against the references on random graphs of images: convolutions and pooling of any number of
channels, whose results lie in blocks of channels, with everything that may come between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.kernels.cpu import backend
from normengine.ops import Builder, evaluate
from normengine.ops.resize import settings
from normengine.plan import group_size
from normengine.runtime import Program, compile_graph, set_num_threads

CHANNELS = (1, 3, 5, 8, 16, 20, 24)
Rng = np.random.Generator


def window(**more: Any) -> dict[str, Any]:
    return {"stride": (1, 1), "padding": (1, 1, 1, 1), **more}


class Images:
    """A graph in the making: ``values`` are images of one size and batch, of any number of channels."""

    def __init__(self, seed: int, batches: Sequence[int] = (1, 2, 5, 7)) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = Builder()
        self.height, self.width = (int(n) for n in self.rng.choice([1, 2, 5, 7], 2))
        self.batch = int(self.rng.choice(batches))
        self.values = [self.given(self.batch, self.channels(), self.height, self.width) for _ in range(2)]
        self.small: list[Value] = []

    def channels(self) -> int:
        return int(self.rng.choice(CHANNELS))

    def given(self, *shape: int) -> Value:
        return self.builder.input(f"x{len(self.builder.inputs)}", Spec(shape))

    def any(self) -> Value:
        return self.values[int(self.rng.integers(len(self.values)))]

    def add(self, op: str, *inputs: Value, **attrs: Any) -> Value:
        return self.builder.add(op, *inputs, **attrs)

    def convolution(self) -> Value:
        x, side = self.any(), int(self.rng.choice([1, 3]))
        weight = self.given(self.channels(), x.shape[1], side, side)
        bias = [self.given(weight.shape[0])] if self.rng.random() < 0.5 else []
        attrs = window(padding=(side // 2,) * 4, dilation=(1, 1), groups=1)
        return self.add("conv2d", x, weight, *bias, **attrs)

    def pool(self) -> Value:
        if self.rng.random() < 0.5:
            return self.add("max_pool2d", self.any(), **window(kernel_size=(3, 3), dilation=(1, 1), ceil_mode=False))
        return self.add("avg_pool2d", self.any(), **window(kernel_size=(3, 3), ceil_mode=False, count_include_pad=True))

    def there_and_back(self) -> Value:
        """Resized to another size, and from that to its own."""
        x = self.any()
        for size in ((2 * self.height, self.width + 3), (self.height, self.width)):
            mode = str(self.rng.choice(["nearest", "linear", "cubic"]))
            x = self.add("resize", x, **settings(x.shape, (2, 3), size, mode=mode))
        return x

    def elementwise(self) -> Value:
        x = self.any()
        same = [v for v in self.values if v.shape == x.shape]
        other = same[int(self.rng.integers(len(same)))]
        kind = int(self.rng.integers(6))
        if kind < 2:
            op = str(self.rng.choice(["relu", "relu6", "sigmoid", "neg"]))
            return self.add(op, self.add("add", x, other) if kind else x)
        if kind == 2:
            seeds = self.builder.constant(np.uint32(7)), self.builder.constant(np.uint32(3))
            return self.add("dropout", x, *seeds, p=0.4, layer=2, per_channel=bool(self.rng.random() < 0.5))
        shapes = [(x.shape[1], 1, 1), (x.shape[0], x.shape[1], 1, 1), (1, *x.shape[1:]), (x.shape[0], 1, *x.shape[2:])]
        shapes += [(x.shape[3],), (), (x.shape[2], 1), (1, x.shape[1], x.shape[2], 1)]
        factor = self.given(*shapes[int(self.rng.integers(len(shapes)))])
        return self.add(str(self.rng.choice(["mul", "add", "sub"])), x, factor)

    def movement(self) -> Value:
        x = self.any()
        kind = int(self.rng.integers(4))
        if kind == 0:
            return self.add("concat", x, self.any(), axis=1)
        start = int(self.rng.choice([0, 8])) if x.shape[1] > 8 else 0
        stops = (x.shape[0], int(self.rng.integers(start, x.shape[1])) + 1, *x.shape[2:])
        if kind == 1:
            return self.add("slice", x, starts=(0, start, 0, 0), stops=stops, steps=(1, 1, 1, 1))
        if kind == 2:
            more = int(self.rng.choice([0, 8, 3]))
            shape = (x.shape[0], x.shape[1] + more, *x.shape[2:])
            return self.add("unslice", x, starts=(0, more, 0, 0), steps=(1, 1, 1, 1), shape=shape)
        turned = self.add("permute", x, axes=(0, 1, 3, 2))
        return self.add("reshape", turned, shape=x.shape)

    def sums(self) -> Value:
        """Sums of all kinds, one of which goes back into an image of its channels."""
        x = self.any()
        axes = ((0, 2, 3), (2, 3), (1,), (0, 1, 2, 3))[int(self.rng.integers(4))]
        total = self.add("reduce_mean", x, axes=axes, keepdims=bool(self.rng.random() < 0.7))
        self.small.append(total)
        if len(total.shape) != 4:
            return self.add("relu", x)
        return self.add("sub", x, total)

    def graph(self) -> Graph:
        makers = [self.convolution, self.pool, self.elementwise, self.elementwise, self.movement, self.sums]
        makers.append(self.there_and_back)
        for _ in range(int(self.rng.integers(4, 16))):
            self.values.append(makers[int(self.rng.integers(len(makers)))]())
        outputs = [self.values[-1], self.any(), self.add("reshape", self.any(), shape=(0, -1)), *self.small]
        return self.builder.graph(outputs)


def assert_computes(seed: int, batches: Sequence[int] = (1, 2, 5, 7)) -> Program:
    """The program of a random graph, whose results are those of the references, the same for any number of threads."""
    graph, rng = Images(seed, batches).graph(), np.random.default_rng(seed)
    feeds = {v: rng.standard_normal(v.shape).astype(np.float32) for v in graph.inputs}
    want = evaluate(graph, feeds)
    named = {v.name: array for v, array in feeds.items()}
    program = compile_graph(graph)
    results = program.run(named)
    for value, got in zip(graph.outputs, results, strict=True):
        bound = 1e-4 * max(1.0, float(np.abs(want[value]).max(initial=0.0)))
        np.testing.assert_allclose(got, want[value], rtol=0, atol=bound, err_msg=f"seed {seed}: {value}")
    set_num_threads(3)
    again = program.run(named)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(results, again, strict=True)), f"seed {seed}"
    return program


@pytest.mark.parametrize("first", range(0, 160, 20))
def test_programs_compute_what_the_references_do(first: int) -> None:
    for seed in range(first, first + 20):
        assert_computes(seed)


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_so_do_those_that_go_depth_first(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_size, "NEAR_PIXELS", 0)
    monkeypatch.setattr(group_size, "FAR_PIXELS", 0)
    programs = [assert_computes(seed, (8, 9, 12, 64)) for seed in range(first, first + 20)]
    if backend() == "compiled":
        assert sum(any(call.op == "depth_first" for call in p.plan.calls) for p in programs) >= 5
