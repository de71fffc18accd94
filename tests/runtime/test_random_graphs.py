"""Compiled programs against the references on random graphs: broadcasts of every kind, ranks 0 to 6, views as
operands, several outputs of one value, and updates of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder, evaluate
from normengine.runtime import compile_graph

SHAPES = ((2, 3, 4, 5), (1, 3, 1, 1), (2, 1, 4, 1), (1,), (), (5,), (2, 3, 1, 5), (1, 1, 1, 1), (4, 1), (3, 4, 5))
MOST_ELEMENTS = 20_000


def broadcasts(a: Value, b: Value) -> bool:
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False
    return True


def elementwise(b: Builder, rng: np.random.Generator, x: Value, y: Value) -> Value:
    if broadcasts(x, y) and rng.random() < 0.7:
        return b.add(str(rng.choice(["add", "sub", "mul"])), x, b.add("tanh", y))
    return b.add(str(rng.choice(["relu", "sigmoid"])), x)


def movement(b: Builder, rng: np.random.Generator, x: Value) -> Value:
    rank = x.spec.rank
    kind = int(rng.integers(5))
    if kind == 0:
        return b.add("permute", x, axes=tuple(int(a) for a in rng.permutation(rank)))
    if kind == 1:
        return b.add("reshape", x, shape=x.shape[::-1] if rng.random() < 0.5 else (-1,))
    if kind == 2:
        starts = tuple(int(rng.integers(0, n)) for n in x.shape)
        return b.add("slice", x, starts=starts, stops=x.shape, steps=tuple(int(s) for s in rng.integers(1, 3, rank)))
    if kind == 3:
        return b.add("concat", x, b.add("relu", x), axis=int(rng.integers(rank)))
    return b.add("expand", x, shape=(2, *x.shape)) if rank < 6 else x


def around_axes(b: Builder, rng: np.random.Generator, x: Value) -> Value:
    if rng.random() < 0.5:
        return b.add("softmax", x, axis=int(rng.integers(x.spec.rank)))
    axes = tuple(axis for axis in range(x.spec.rank) if rng.random() < 0.5)
    return b.add("reduce_sum", x, axes=axes or (0,), keepdims=bool(rng.random() < 0.7))


def random_graph(seed: int) -> Graph:
    rng, b = np.random.default_rng(seed), Builder()
    values = [b.input(f"x{i}", Spec(SHAPES[k])) for i, k in enumerate(rng.choice(len(SHAPES), 3, replace=False))]
    state = [b.state_value(f"s{i}", Spec(SHAPES[k])) for i, k in enumerate(rng.integers(0, len(SHAPES), 3))]
    values += state
    for _ in range(int(rng.integers(5, 40))):
        x, y = (values[i] for i in rng.integers(0, len(values), 2))
        made = elementwise(b, rng, x, y)
        if x.spec.rank and rng.random() < 0.6:
            made = movement(b, rng, x) if rng.random() < 0.6 else around_axes(b, rng, x)
        if made.spec.size <= MOST_ELEMENTS:
            values.append(made)
    for old in state:
        others = [v for v in values if v.spec == old.spec and v is not old]
        if others and rng.random() < 0.5:
            b.update(old, others[int(rng.integers(len(others)))])
        elif rng.random() < 0.7:
            b.update(old, b.add("mul", b.add("add", old, b.add("tanh", old)), b.add("sigmoid", old)))
    return b.graph([values[i] for i in rng.integers(0, len(values), int(rng.integers(1, 4)))])


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_programs_compute_what_the_references_do(first: int) -> None:
    for seed in range(first, first + 10):
        graph, rng = random_graph(seed), np.random.default_rng(seed)
        feeds = {v: rng.standard_normal(v.shape).astype(np.float32) for v in (*graph.inputs, *graph.state)}
        want, updates = evaluate(graph, feeds), dict(graph.updates)
        named = {v.name: array.copy() for v, array in feeds.items()}
        results = compile_graph(graph).run(named)
        for value, got in zip(graph.outputs, results, strict=True):
            assert got.shape == value.shape
            bound = 3e-5 * max(1.0, float(np.abs(want[value]).max(initial=0.0)))
            np.testing.assert_allclose(got, want[value], rtol=0, atol=bound, err_msg=f"seed {seed}: {value}")
        for value, array in feeds.items():
            expected = want[updates[value]] if value in updates else array
            np.testing.assert_allclose(named[value.name], expected, rtol=3e-5, atol=3e-5, err_msg=f"seed {seed}")
