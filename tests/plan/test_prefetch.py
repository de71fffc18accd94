"""What a group of images prefetches on behalf of the next one."""

from __future__ import annotations

import pytest

from normengine.graph import Graph, Spec
from normengine.kernels.cpu import backend
from normengine.ops import Builder
from normengine.passes import prepare
from normengine.plan import Call, Memory, PerGroup, Pointer, ShareEnd, make_plan
from normengine.plan.prefetch import MOST_BYTES, prefetch_calls
from normengine.settings import compile_options

WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
PREFETCHER = Memory("local", 64)
IMAGE = 16 * 24 * 24 * 4
compiled = pytest.mark.skipif(backend() != "compiled", reason="only the compiled executor goes depth first")


def network(batch: int = 32) -> Graph:
    """A loop over two inputs before a convolution and a loop behind it."""
    b = Builder()
    x, other = (b.input(name, Spec((batch, 16, 24, 24))) for name in ("x", "other"))
    y = b.add("conv2d", b.add("mul", b.add("sigmoid", x), other), b.input("w", Spec((16, 16, 3, 3))), **WINDOW)
    return b.graph([b.add("tanh", y)])


def run_of(off: tuple[str, ...] = ()) -> Call:
    (run,) = [call for call in make_plan(prepare(network()), compile_options(off)).calls if call.op == "depth_first"]
    return run


@compiled
def test_a_group_begins_with_what_the_next_one_reads() -> None:
    run = run_of()
    first, *others = run.inner
    assert first.op == "prefetch" and not any(call.op == "prefetch" for call in others)
    prefetcher, group, end, rate, own, count, *arrays = first.arguments
    assert isinstance(prefetcher, Pointer) and prefetcher.memory.kind == "local"
    assert (group, end, own, count) == (PerGroup(0, 1), ShareEnd(), 0, 2) and rate > 0
    pointers, lines = arrays[::2], arrays[1::2]
    size = IMAGE * 32 // run.groups
    assert {(p.memory.name, p.offset, p.group_stride) for p in pointers} == {("x", size, size), ("other", size, size)}
    assert lines == [size // 64] * 2


@compiled
def test_a_convolution_asks_for_where_it_writes() -> None:
    b = Builder()
    x = b.input("x", Spec((32, 16, 24, 24)))
    y = b.add("conv2d", b.add("sigmoid", x), b.input("w", Spec((16, 16, 3, 3))), **WINDOW)
    (run,) = [call for call in make_plan(prepare(b.graph([y]))).calls if call.op == "depth_first"]
    first, size = run.inner[0], IMAGE * 32 // run.groups
    outputs = {memory for call in run.inner if call.op == "conv2d" for memory in call.writes}
    prefetcher, _, _, _, *counts = first.arguments[:6]
    asked = [a for a in first.arguments if isinstance(a, Pointer) and a != prefetcher]
    assert counts == [1, 2]
    assert [(p.memory in outputs, p.offset, p.group_stride) for p in asked] == [(True, 0, size), (False, size, size)]


@compiled
def test_every_kernel_of_a_group_is_given_the_same_prefetcher() -> None:
    """Whatever instruction set it is for: the address is an argument."""
    b = Builder()
    x = b.input("x", Spec((32, 16, 24, 24)))
    for layer in range(2):
        x = b.add("tanh", b.add("conv2d", x, b.input(f"w{layer}", Spec((16, 16, 3, 3))), **WINDOW))
    (run,) = [call for call in make_plan(prepare(b.graph([x]))).calls if call.op == "depth_first"]
    first, *others = run.inner
    given = [call.arguments[call.prefetches.slot] for call in others if call.prefetches is not None]
    assert len(given) == 2 and set(given) == {first.arguments[0]}


@compiled
def test_calls_ask_by_their_multiply_adds() -> None:
    run = run_of()
    (convolution,) = [call for call in run.inner if call.op == "conv2d"]
    assert convolution.prefetches is not None and 0 < convolution.prefetches.products <= convolution.work.flops / 2
    assert all(call.prefetches is None for call in run.inner if call.op != "conv2d")


@compiled
def test_nothing_is_asked_for_without_reason() -> None:
    run = run_of(("prefetch",))
    assert not any(call.op == "prefetch" for call in run.inner)
    assert len(prefetch_calls(run.inner, run.groups, PREFETCHER)) == 1
    assert prefetch_calls(run.inner, 1, PREFETCHER) == []
    assert prefetch_calls([call for call in run.inner if call.prefetches is None], run.groups, PREFETCHER) == []
    assert prefetch_calls([call for call in run.inner if call.prefetches is not None], run.groups, PREFETCHER) == []


@compiled
def test_no_more_than_a_share_of_the_cache_is_asked_for() -> None:
    run = run_of()
    large = [
        call._replace(arguments=tuple(
            a._replace(group_stride=MOST_BYTES // 2 + 64) if isinstance(a, Pointer) and a.group_stride else a
            for a in call.arguments
        ))
        for call in run.inner
    ]  # fmt: skip
    (first,) = prefetch_calls(large[1:], run.groups, PREFETCHER)
    *_, count, _, _ = first.arguments
    assert count == 1
