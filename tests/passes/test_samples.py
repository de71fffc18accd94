"""Which graphs treat the samples of a batch one by one, and that cutting a batch changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder
from normengine.passes.samples import largest_sample, samples_apart
from normengine.runtime import compile_graph, microbatches

WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1)}
Make = Callable[[Builder, Value], Value]


def graph_of(make: Make, batch: int = 4) -> Graph:
    b = Builder()
    return b.graph([make(b, b.input("x", Spec((batch, 6, 5, 5))))])


def weight(b: Builder, *shape: int) -> Value:
    return b.constant(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


APART: dict[str, Make] = {
    "conv": lambda b, x: b.add("conv2d", x, weight(b, 8, 6, 3, 3), **WINDOW, dilation=(1, 1), groups=1),
    "linear": lambda b, x: b.add("linear", b.add("reshape", x, shape=(0, -1)), weight(b, 3, 150)),
    "broadcast": lambda b, x: b.add("mul", x, weight(b, 6, 1, 1)),
    "one for all": lambda b, x: b.add("mul", x, weight(b, 1, 6, 1, 1)),
    "mean": lambda b, x: b.add("sub", x, b.add("reduce_mean", x, axes=(1, 2), keepdims=True)),
    "turned": lambda b, x: b.add("softmax", b.add("permute", x, axes=(0, 3, 1, 2)), axis=3),
    "joined": lambda b, x: b.add("concat", x, b.add("relu", x), axis=1),
    "padded": lambda b, x: b.add("unslice", x, starts=(0, 0, 1, 2), steps=(1, 1, 1, 1), shape=(x.shape[0], 6, 7, 9)),
    "cut": lambda b, x: b.add("slice", x, starts=(0, 1, 0, 0), stops=(x.shape[0], 3, 5, 5), steps=(1, 1, 2, 1)),
}
MIXED: dict[str, Make] = {
    "mean of the batch": lambda b, x: b.add("sub", x, b.add("reduce_mean", x, axes=(0,), keepdims=True)),
    "softmax over samples": lambda b, x: b.add("softmax", x, axis=0),
    "a weight for each sample": lambda b, x: b.add("mul", x, weight(b, x.shape[0], 1, 1, 1)),
    "turned to the back": lambda b, x: b.add("permute", x, axes=(1, 0, 2, 3)),
    "reversed roles": lambda b, x: b.add("reshape", b.add("reshape", x, shape=(-1,)), shape=x.shape),
    "batch against batch": lambda b, x: b.add(
        "matmul", *[b.add("reshape", x, shape=(0, -1))] * 2, transpose_a=False, transpose_b=True
    ),
    "places between samples": lambda b, x: b.add(
        "relu",
        b.add(
            "unslice",
            b.add("slice", x, starts=(0,) * 4, stops=(2, 6, 5, 5), steps=(1,) * 4),
            starts=(0,) * 4,
            steps=(3, 1, 1, 1),
            shape=x.shape,
        ),
    ),
    "samples next to each other": lambda b, x: b.add("concat", x, x, axis=0),
}


@pytest.mark.parametrize("name", APART)
def test_samples_stay_apart(name: str) -> None:
    assert samples_apart(graph_of(APART[name]))


@pytest.mark.parametrize("name", MIXED)
def test_samples_are_mixed(name: str) -> None:
    assert not samples_apart(graph_of(MIXED[name]))


@pytest.mark.parametrize("name", APART)
def test_parts_make_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(APART[name], 7)
    x = np.random.default_rng(1).standard_normal((7, 6, 5, 5)).astype(np.float32)
    whole = compile_graph(graph).run({"x": x})
    assert microbatches.microbatch_sizes(graph) == [7]
    monkeypatch.setattr(microbatches, "PART_BYTES", 3 * largest_sample(graph))
    sizes = microbatches.microbatch_sizes(graph)
    assert sizes == [2, 2, 3]
    program = microbatches.MicrobatchedProgram(sizes, lambda size: compile_graph(graph_of(APART[name], size)))
    for a, b in zip(whole, program.run({"x": x}), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
