"""What goes depth first, in groups of how many images, and in which memory."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Graph, Node, Spec, Value
from normengine.kernels.cpu import backend, isas
from normengine.ops import Builder, evaluate
from normengine.passes import prepare
from normengine.plan import Pointer, group_size, make_plan
from normengine.plan.group_size import Joining, group_sizes
from normengine.runtime import compile_graph
from normengine.settings import compile_options

WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
compiled = pytest.mark.skipif(backend() != "compiled", reason="only the compiled executor goes depth first")


@pytest.mark.parametrize(
    "batch, sizes",
    [(1, ()), (7, ()), (8, (1,)), (12, (1,)), (16, (1,)), (37, (1,)), (32, (1, 2)), (100, (1, 2, 4, 5)), (0, ())],
)
def test_groups_are_equal_and_enough_for_many_threads(batch: int, sizes: tuple[int, ...]) -> None:
    assert group_sizes(batch) == sizes


def convolution(batch: int, channels: int, side: int) -> Node:
    x, w = Value("x", Spec((batch, channels, side, side))), Value("w", Spec((channels, channels, 3, 3)))
    return Node("conv2d", (x, w), (Value("y", x.spec),), WINDOW)


@pytest.mark.parametrize(
    "channels, side, joins",
    [(16, 32, True), (64, 14, True), (64, 4, False), (256, 8, False), (256, 24, True), (64, 96, False)],
)
def test_a_convolution_joins_where_its_weights_are_used_often_enough(channels: int, side: int, joins: bool) -> None:
    assert Joining(32, isas(), {})([], convolution(32, channels, side)) is joins


def test_the_largest_images_say_how_many_are_in_a_group() -> None:
    small, large = convolution(128, 16, 16), convolution(128, 16, 64)
    assert group_size.group_size([small], 128) == 8
    assert group_size.group_size([small, large], 128) == 1


def network(batch: int) -> Graph:
    """Two convolutions with a loop before each, whose last result and one in between are outputs."""
    b = Builder()
    x = b.input("x", Spec((batch, 16, 16, 16)))
    weights = [b.input(f"w{i}", Spec((16, 16, 3, 3))) for i in range(2)]
    first = b.add("conv2d", b.add("sigmoid", x), weights[0], **WINDOW)
    second = b.add("conv2d", b.add("silu", first), weights[1], **WINDOW)
    part = b.add("slice", second, starts=(0, 3, 0, 0), stops=(batch, 9, 16, 16), steps=(1, 1, 1, 1))
    return b.graph([b.add("tanh", second), part])


@compiled
def test_what_nobody_else_reads_is_memory_of_a_thread() -> None:
    plan = make_plan(prepare(network(32)))
    (run,) = [call for call in plan.calls if call.op == "depth_first"]
    assert (run.groups, run.chunks) == (16, 16)
    image = 16 * 16 * 16 * 4
    assert run.local < 1 << 20
    pointers = [a for call in run.inner for a in call.arguments if isinstance(a, Pointer)]
    assert {p.group_stride for p in pointers if p.memory.kind == "local"} == {0}
    moving = {p.memory.name or p.memory.kind: p.group_stride for p in pointers if p.group_stride}
    assert moving.pop("x") == 2 * image and moving.keys() <= {"arena", "output"}
    assert plan.arena_bytes < 3 * 32 * image


@compiled
@pytest.mark.parametrize("batch", [8, 9, 31, 32, 40])
def test_any_batch_gives_what_the_references_do(batch: int) -> None:
    graph, rng = network(batch), np.random.default_rng(batch)
    feeds = {v: rng.uniform(-0.3, 0.3, v.shape).astype(np.float32) for v in graph.inputs}
    program = compile_graph(graph)
    assert any(call.op == "depth_first" for call in program.plan.calls)
    want = evaluate(graph, feeds)
    for value, got in zip(graph.outputs, program.run({v.name: a for v, a in feeds.items()}), strict=True):
        np.testing.assert_allclose(got, want[value], atol=1e-5)
    apart = compile_graph(graph, compile_options(["depth_first"]))
    assert not any(call.op == "depth_first" for call in apart.plan.calls)


def checked(b: Builder, *outputs: Value) -> None:
    """Holds the program's outputs and updates, with calls depth first and without, to the references."""
    graph, rng = b.graph(list(outputs)), np.random.default_rng(0)
    drawn = {v: rng.uniform(-1, 1, v.shape) for v in (*graph.inputs, *graph.state)}
    given = {v: a > 0 if v.dtype == "bool" else a.astype(v.dtype) for v, a in drawn.items()}
    want = evaluate(graph, given)
    for off in ((), ("depth_first",)):
        arrays = {v.name: a.copy() for v, a in given.items()}
        results = compile_graph(graph, compile_options(off)).run(arrays)
        for value, got in zip(graph.outputs, results, strict=True):
            np.testing.assert_allclose(got, want[value], rtol=1e-4, atol=1e-3)
        for old, new in graph.updates:
            np.testing.assert_allclose(arrays[old.name], want[new], rtol=1e-4, atol=1e-3)


def images(b: Builder, name: str) -> Value:
    return b.input(name, Spec((16, 16, 16, 16)))


@pytest.mark.parametrize("joined", [False, True])
def test_weights_that_are_made_beside_as_many_images(joined: bool) -> None:
    b = Builder()
    x, w = images(b, "x"), b.input("w", Spec((16, 16, 3, 3)))
    made = b.add("concat", *(b.input(f"v{i}", Spec((16, 8, 3, 3))) for i in range(2)), axis=1)
    weight = b.add("mul", w, made) if joined else b.add("mul", w, w)
    checked(b, b.add("conv2d", b.add("sigmoid", x), weight, **WINDOW), b.add("relu", weight))


def test_an_array_that_is_images_for_one_and_weights_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_size, "NEAR_PIXELS", 0)
    b = Builder()
    x, v = images(b, "x"), b.input("v", Spec((16, 16, 3, 3)))
    w = b.add("sigmoid", b.add("conv2d", v, b.input("u", Spec((16, 16, 3, 3))), **WINDOW))
    checked(b, b.add("conv2d", b.add("tanh", x), w, **WINDOW), b.add("conv2d", b.add("tanh", w), v, **WINDOW))


def test_sums_of_loops_that_read_masks() -> None:
    b = Builder()
    x, w = images(b, "x"), b.input("w", Spec((16, 16, 3, 3)))
    y = b.add("conv2d", x, w, **WINDOW)
    mask = b.input("mask", Spec(x.shape, "bool"))
    kept = b.add("where", mask, y, b.constant(0.0))
    total = b.add("reduce_sum", kept, axes=(0, 2, 3), keepdims=False)
    checked(b, total, b.add("conv2d", kept, w, **WINDOW))


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_state_of_the_shape_of_images_is_updated(read: bool, in_blocks: bool) -> None:
    b = Builder()
    x, w, state = images(b, "x"), b.input("w", Spec((16, 16, 3, 3))), b.state_value("s", Spec((16, 16, 16, 16)))
    step = b.add("conv2d", x, w, **WINDOW) if in_blocks else b.add("sigmoid", x)
    new = b.add("add", b.add("mul", state, b.constant(0.9)), step)
    b.update(state, new)
    checked(b, b.add("conv2d", new if read else b.add("tanh", step), w, **WINDOW))


def test_no_state_changes_before_the_first_output_is_known() -> None:
    b = Builder()
    x, w = images(b, "x"), b.input("w", Spec((16, 16, 3, 3)))
    state = b.state_value("s", Spec((16, 4, 3, 3)))
    y = b.add("conv2d", b.add("sigmoid", x), w, **WINDOW)
    b.update(state, b.add("mul", state, b.constant(0.5)))
    graph = b.graph([b.add("reduce_sum", y, axes=(0, 1, 2, 3), keepdims=False)])
    arrays = {v.name: np.ones(v.shape, np.float32) for v in (*graph.inputs, *graph.state)}

    def refuse(loss: np.ndarray) -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        compile_graph(graph).run(arrays, refuse)
    assert (arrays["s"] == 1.0).all()
