"""Results of groups of images take the place of what was read before, where nobody reads that again."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.kernels.cpu import backend
from normengine.ops import Builder, evaluate
from normengine.passes import prepare
from normengine.plan import Call, DepthFirstCall, KernelCall, Memory, Plan, Pointer, Work, make_plan
from normengine.plan.call import depth_first_call
from normengine.plan.in_place import in_place, spans_of
from normengine.runtime import compile_graph
from normengine.settings import compile_options

WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
IMAGE = 16 * 12 * 12 * 4
compiled = pytest.mark.skipif(backend() != "compiled", reason="only the compiled executor goes depth first")


def chain_of_normalizations(batch: int = 32, keep: bool = False) -> Graph:
    """Convolutions with a batch normalization behind each, which ends the run: what one makes dies in the next."""
    b = Builder()
    x = b.input("x", Spec((batch, 16, 12, 12)))
    made: list[Value] = []
    for i in range(4):
        x = b.add("conv2d", b.add("sigmoid", x), b.input(f"w{i}", Spec((16, 16, 3, 3))), **WINDOW)
        mean, _ = b.add_multi("batch_stats", x)
        x = b.add("sub", x, b.add("reshape", mean, shape=(1, 16, 1, 1)))
        made.append(x)
    return b.graph([b.add("tanh", x), *(made[:-1] if keep else [])])


def plans(graph: Graph) -> tuple[Plan, Plan]:
    graph = prepare(graph)
    return make_plan(graph), make_plan(graph, compile_options(["in_place"]))


def arena_of_images(plan: Plan) -> dict[Memory, int]:
    """Where the arrays are that the groups of depth-first calls have their parts of."""
    arguments = (a for call in plan.calls for inner in call.inner for a in inner.arguments)
    return {
        a.memory: plan.offsets[a.memory]
        for a in arguments
        if isinstance(a, Pointer) and a.group_stride and a.memory.kind == "arena" and a.memory.nbytes == 32 * IMAGE
    }


@compiled
def test_what_is_read_for_the_last_time_makes_room() -> None:
    plan, apart = plans(chain_of_normalizations())
    assert len(set(arena_of_images(plan).values())) == 1 < len(set(arena_of_images(apart).values()))
    assert 32 * IMAGE < plan.arena_bytes < apart.arena_bytes


@compiled
def test_what_is_read_again_stays() -> None:
    plan, apart = plans(chain_of_normalizations(keep=True))
    graph, rng = chain_of_normalizations(keep=True), np.random.default_rng(0)
    feeds = {v: rng.uniform(-0.3, 0.3, v.shape).astype(np.float32) for v in graph.inputs}
    want = evaluate(graph, feeds)
    for value, got in zip(graph.outputs, compile_graph(graph).run({v.name: a for v, a in feeds.items()}), strict=True):
        np.testing.assert_allclose(got, want[value], atol=2e-5)
    assert plan.arena_bytes <= apart.arena_bytes


@compiled
@pytest.mark.parametrize("batch", [8, 24, 32])
def test_results_are_the_same_bits(batch: int) -> None:
    graph, rng = chain_of_normalizations(batch), np.random.default_rng(batch)
    feeds = {v.name: rng.uniform(-0.3, 0.3, v.shape).astype(np.float32) for v in graph.inputs}
    (got,), (want,) = (compile_graph(graph, compile_options(off)).run(feeds) for off in ((), ("in_place",)))
    assert np.array_equal(got, want)


def call_of(*arguments: Pointer) -> KernelCall:
    return KernelCall("op", "kernel", "", (), arguments, Work(lambda: "", "others"))


def depth_first(*inner: KernelCall, groups: int = 4) -> DepthFirstCall:
    return depth_first_call(inner, 1, groups, groups, 0)


def of_groups(memory: Memory, offset: int = 0, group_stride: int = 64) -> Pointer:
    return Pointer(memory, offset, group_stride=group_stride)


OLD, OTHER, NEW = (Memory("arena", 256) for _ in range(3))
MADE = call_of(Pointer(OLD), Pointer(OTHER))
USED = call_of(Pointer(NEW))


def test_the_memory_read_last_is_taken() -> None:
    run = depth_first(call_of(of_groups(OLD)), call_of(of_groups(OTHER)), call_of(of_groups(NEW)))
    assert in_place([MADE, run, USED]) == {NEW: OTHER}


@pytest.mark.parametrize(
    "run",
    [
        depth_first(call_of(of_groups(OLD), of_groups(NEW))),
        depth_first(call_of(of_groups(NEW)), call_of(of_groups(OLD))),
        depth_first(call_of(Pointer(OLD)), call_of(of_groups(NEW))),
        depth_first(call_of(of_groups(OLD, offset=64)), call_of(of_groups(NEW))),
        depth_first(call_of(of_groups(OLD), of_groups(OLD, group_stride=32)), call_of(of_groups(NEW))),
        depth_first(call_of(of_groups(OLD)), call_of(of_groups(NEW), Pointer(NEW))),
        depth_first(call_of(of_groups(OLD)), call_of(of_groups(NEW)), groups=3),
    ],
    ids=["one call", "before", "whole", "shifted", "other parts", "results read whole", "more than the groups'"],
)
def test_groups_that_would_meet_keep_their_own(run: Call) -> None:
    assert in_place([MADE, run, USED]) == {}


def test_memory_has_to_be_free_and_of_one_size() -> None:
    run = depth_first(call_of(of_groups(OLD)), call_of(of_groups(NEW)))
    assert in_place([MADE, run, USED]) == {NEW: OLD}
    assert in_place([MADE, run, call_of(Pointer(OLD), Pointer(NEW))]) == {}
    assert in_place([run, USED]) == {}
    assert in_place([MADE, USED, run, USED]) == {}
    assert in_place([MADE, run]) == {}
    small = Memory("arena", 128)
    assert (
        in_place([MADE, depth_first(call_of(of_groups(OLD)), call_of(of_groups(small, group_stride=32))), USED]) == {}
    )
    given = Memory("feed", 256, "x")
    assert (
        in_place([call_of(Pointer(given)), depth_first(call_of(of_groups(given)), call_of(of_groups(NEW))), USED]) == {}
    )


def test_each_memory_is_taken_once_and_asks_do_not_count() -> None:
    second = Memory("arena", 256)
    ask = call_of(of_groups(OLD, offset=64), of_groups(NEW))._replace(op="prefetch")
    both = depth_first(ask, call_of(of_groups(OLD)), call_of(of_groups(NEW), of_groups(second)))
    assert in_place([MADE, both, call_of(Pointer(NEW), Pointer(second))]) == {NEW: OLD}
    assert spans_of(both)[OLD].parted
