"""Updates are tried before the first of them is done, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder
from normengine.runtime import compile_graph
from normengine.settings import compile_options

LARGE = np.float32(3e38)


def plain(b: Builder, x: Value, s: Value) -> Value:
    return b.add("mul", s, x)


def moved(b: Builder, x: Value, s: Value) -> Value:
    """No loop makes the new value: it is copied."""
    return b.add("permute", b.add("mul", s, x), axes=(1, 0))


def read_too(b: Builder, x: Value, s: Value) -> Value:
    """Another update reads the new value, and so does an output."""
    new = b.add("mul", s, x)
    b.update(b.state_value("t", Spec((3, 3))), b.add("matmul", new, new, transpose_a=False, transpose_b=True))
    return new


def beside_a_copy(b: Builder, x: Value, s: Value) -> Value:
    """The same loop makes what is stored twice, and so is copied."""
    again = b.add("add", x, s)
    for name in "vw":
        b.update(b.state_value(name, Spec((3, 3))), again)
    return b.add("relu", s)  # is finite


def graph_of(new: Callable[[Builder, Value, Value], Value], output: bool) -> Graph:
    b = Builder()
    x, s = b.input("x", Spec((3, 3))), b.state_value("s", Spec((3, 3)))
    u = b.state_value("u", Spec((3, 3)))
    b.update(u, b.add("add", u, b.constant(1.0)))  # is finite, whatever the other one is
    value = new(b, x, s)
    b.update(s, value)
    return b.graph([b.add("reduce_sum", value if output else x, axes=(0, 1), keepdims=False)])


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("without", [(), ("fuse", "merged_updates")])
@pytest.mark.parametrize("output", [False, True])
@pytest.mark.parametrize("new", [plain, moved, read_too, beside_a_copy])
def test_what_is_not_finite_is_known_before_anything_is_stored(
    new: Callable[[Builder, Value, Value], Value], output: bool, without: tuple[str, ...]
) -> None:
    graph = graph_of(new, output)
    program = compile_graph(graph, compile_options(without), tried=True)
    arrays = {v.name: np.ones(v.shape, np.float32) for v in (*graph.inputs, *graph.state)}
    seen: list[bool] = []

    def check(loss: np.ndarray) -> None:
        seen.append(program.finite)
        assert all((arrays[v.name] == 1).all() for v in graph.state), "stored before it was checked"
        if not program.finite:
            raise ArithmeticError

    arrays["x"][2, 1] = np.inf
    with pytest.raises(ArithmeticError):
        program.run(arrays, check)
    for value in (np.inf, LARGE, 1):
        arrays["x"][2, 1] = value
        program.run(arrays, lambda loss: seen.append(program.finite))
        for v in graph.state:
            arrays[v.name][...] = 1
    program.run(arrays, check)
    assert seen == [False, False, new is not read_too, True, True]
    assert (arrays["u"] == 2).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, LARGE, -LARGE, 1e-45])
@pytest.mark.parametrize("place", [0, 1, 17_000, 49_999])
def test_no_value_is_overlooked(value: float, place: int) -> None:
    b = Builder()
    x, s = b.input("x", Spec((50_000,))), b.state_value("s", Spec((50_000,)))
    b.update(s, b.add("add", s, x))
    program = compile_graph(b.graph([b.add("reduce_sum", s, axes=(0,), keepdims=False)]), tried=True)
    x_, s_ = np.zeros(50_000, np.float32), np.zeros(50_000, np.float32)
    x_[place] = value
    program.run({"x": x_, "s": s_}, lambda loss: None)
    assert program.finite == np.isfinite(value)
    program.run({"x": np.zeros_like(x_), "s": np.zeros_like(s_)}, lambda loss: None)
    assert program.finite
