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
    "channels, side, joins", [(16, 32, True), (64, 14, True), (64, 4, False), (256, 8, False), (256, 24, True)]
)
def test_a_convolution_joins_where_its_weights_are_used_often_enough(channels: int, side: int, joins: bool) -> None:
    assert Joining(32, isas())([], convolution(32, channels, side)) is joins


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
    (run,) = [call for call in plan.calls if call.groups]
    assert (run.groups, run.chunks) == (16, 16)
    image = 16 * 16 * 16 * 4
    assert run.local < 1 << 20
    pointers = [a for call in run.inner for a in call.arguments if isinstance(a, Pointer)]
    assert {p.a_group for p in pointers if p.memory.kind == "local"} == {0}
    moving = {p.memory.name or p.memory.kind: p.a_group for p in pointers if p.a_group}
    assert moving.pop("x") == 2 * image and moving.keys() <= {"arena", "output"}
    assert plan.arena_bytes < 3 * 32 * image


@compiled
@pytest.mark.parametrize("batch", [8, 9, 31, 32, 40])
def test_any_batch_gives_what_the_references_do(batch: int) -> None:
    graph, rng = network(batch), np.random.default_rng(batch)
    feeds = {v: rng.uniform(-0.3, 0.3, v.shape).astype(np.float32) for v in graph.inputs}
    program = compile_graph(graph)
    assert any(call.groups for call in program.plan.calls)
    want = evaluate(graph, feeds)
    for value, got in zip(graph.outputs, program.run({v.name: a for v, a in feeds.items()}), strict=True):
        np.testing.assert_allclose(got, want[value], atol=1e-5)
    apart = compile_graph(graph, without=["depth_first"])
    assert not any(call.groups for call in apart.plan.calls)
