"""Plans made by hand whose calls have calls inside: groups of images depth first, and several calls together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numba import cfunc

from normengine.graph import Graph, Node, Spec, Value
from normengine.kernels import REGISTRY, Problem
from normengine.kernels.abi import SIGNATURE, double_of, float32_at, int64_at
from normengine.kernels.blocks import blocked_shape
from normengine.kernels.cpu import backend, isas
from normengine.ops import Builder
from normengine.plan import Accumulate, Call, KernelCall, Memory, PerGroup, Plan, Pointer, ShareEnd, Work
from normengine.plan.access import Access
from normengine.plan.call import depth_first_call
from normengine.plan.emitter import block_width
from normengine.plan.loops import Loop, elementwise_call
from normengine.plan.merged_updates import merged
from normengine.runtime import Program, set_num_threads
from normengine.runtime.profile import profile_program
from normengine.runtime.tables import Inside

pytestmark = pytest.mark.skipif(backend() == "numba", reason="Numba's executor has no calls inside of calls")

F = 4  # bytes of a float32
CUTS = [(1, 1), (6, 1), (6, 2), (7, 3), (16, 16), (13, 8)]


@cfunc(SIGNATURE)
def multiply(args: Any, begin: int, end: int, thread: int) -> None:
    """args: target, source, elements a task, factor, where another factor is."""
    target, source, more = float32_at(args[0]), float32_at(args[1]), float32_at(args[4])
    for i in range(begin * args[2], end * args[2]):
        target[i] = source[i] * double_of(args[3]) * more[0]


@cfunc(SIGNATURE)
def add_up(args: Any, begin: int, end: int, thread: int) -> None:
    """args: sum, source, elements, whether to add to what is there."""
    total, source = float32_at(args[0]), float32_at(args[1])
    if args[3] == 0:
        total[0] = 0
    for i in range(args[2]):
        total[0] += source[i]


@cfunc(SIGNATURE)
def turn_around(args: Any, begin: int, end: int, thread: int) -> None:
    """args: target, source, elements, workspace, its stride. By way of the workspace."""
    target, source = float32_at(args[0]), float32_at(args[1])
    own = float32_at(args[3] + thread * args[4])
    for i in range(args[2]):
        own[i] = source[args[2] - 1 - i]
    for i in range(args[2]):
        target[i] = own[i]


@cfunc(SIGNATURE)
def count_tasks(args: Any, begin: int, end: int, thread: int) -> None:
    """args: one count a task."""
    counts = int64_at(args[0])
    for task in range(begin, end):
        counts[task] += 1


@cfunc(SIGNATURE)
def note_share(args: Any, begin: int, end: int, thread: int) -> None:
    """args: target, the number of the group, where the thread's end."""
    float32_at(args[0])[args[1]] = args[2]


def kernel_call(function: Any, tasks: int, *arguments: Any, flops: int = 0, nbytes: int = 0, **more: Any) -> KernelCall:
    return KernelCall(
        op="test",
        kernel=function.__name__,
        layer="",
        stages=((lambda: function.address, tasks),),
        arguments=arguments,
        work=Work(lambda: "", "others", flops, nbytes),
        **more,
    )


def program_of(
    graph: Graph, calls: Sequence[Call], setup: Sequence[Call] = (), offsets: dict[Memory, int] | None = None
) -> Program:
    offsets = offsets or {}
    arena = max((at + m.nbytes for m, at in offsets.items() if m.kind != "local"), default=0)
    return Program(Plan(graph, tuple(calls), tuple(setup), arena, offsets))


class Sums:
    """x, N images of ``size`` numbers, twice and turned around in local memory, thrice in y; the sum of y."""

    images, size = 3, 10

    def __init__(self, groups: int, chunks: int) -> None:
        self.shape = (groups * self.images, self.size)
        count = self.images * self.size
        b = Builder()
        x = b.input("x", Spec(self.shape))
        y = b.add("relu", x)
        graph = b.graph([y, b.add("reduce_sum", x, axes=(0, 1), keepdims=False)])
        given, result = Memory("feed", x.spec.nbytes, "x"), Memory("output", y.spec.nbytes, index=0)
        two, four = Memory("constant", F, array=np.full(1, 2, np.float32)), Memory("packed", F)
        one = Memory("constant", F, array=np.ones(1, np.float32))
        doubled, turned, own = (Memory("local", F * count) for _ in range(3))
        sums = Memory("scratch", 64 * chunks)
        offsets = {sums: 64, doubled: 0, turned: 128, own: 256}
        whole = F * count
        inner = (
            kernel_call(
                multiply,
                self.images,
                Pointer(doubled),
                Pointer(given, group_stride=whole),
                self.size,
                2.0,
                Pointer(one),
                flops=count,
                nbytes=2 * whole,
            ),
            kernel_call(
                turn_around,
                1,
                Pointer(turned),
                Pointer(doubled),
                count,
                Pointer(own),
                0,
                workspace=whole,
                workspace_slot=3,
            ),
            kernel_call(
                multiply,
                self.images,
                Pointer(result, group_stride=whole),
                Pointer(turned),
                self.size,
                0.75,
                Pointer(four),
            ),
            kernel_call(
                add_up, 1, Pointer(sums, 8, chunk_stride=64), Pointer(result, group_stride=whole), count, Accumulate()
            ),
        )
        spread = Memory("arena", F * chunks)
        offsets[spread] = 64 + 64 * chunks
        after = [
            kernel_call(multiply, 1, Pointer(spread, F * k), Pointer(sums, 8 + 64 * k), 1, 1.0, Pointer(one))
            for k in range(chunks)
        ]
        total = Pointer(Memory("output", F, index=1))
        after.append(kernel_call(add_up, 1, total, Pointer(spread), chunks, 0))
        setup = kernel_call(multiply, 1, Pointer(four), Pointer(two), 1, 2.0, Pointer(one))
        outer = depth_first_call(inner, self.images, groups, chunks, local=256 + whole)
        self.program = program_of(graph, (outer, *after), (setup,), offsets)

    def expected(self, x: np.ndarray) -> np.ndarray:
        return 6 * x.reshape(-1, self.images * self.size)[:, ::-1].reshape(self.shape)


def integers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 9, shape).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("groups", "chunks"), CUTS)
def test_every_group_is_done_and_each_chunk_has_sums_of_its_own(groups: int, chunks: int, threads: int) -> None:
    set_num_threads(threads)
    sums = Sums(groups, chunks)
    for run in range(3):
        x = integers(sums.shape, run)
        y, total = sums.program.run({"x": x})
        np.testing.assert_array_equal(y, sums.expected(x))
        assert total == sums.expected(x).sum()


@pytest.mark.parametrize(("groups", "chunks"), CUTS)
def test_any_number_of_threads_gives_the_same_bits(groups: int, chunks: int) -> None:
    sums = Sums(groups, chunks)
    x = np.random.default_rng(0).standard_normal(sums.shape).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 2):
        set_num_threads(threads)
        results.append(sums.program.run({"x": x}))
    for y, total in results[1:]:
        assert np.array_equal(y, results[0][0])
        assert total == results[0][1]


def test_every_run_has_its_own_arrays() -> None:
    sums = Sums(4, 2)
    first, second = integers(sums.shape, 1), integers(sums.shape, 2)
    y, _ = sums.program.run({"x": first})
    other, _ = sums.program.run({"x": second})
    assert not np.shares_memory(y, other)
    np.testing.assert_array_equal(y, sums.expected(first))
    np.testing.assert_array_equal(other, sums.expected(second))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("groups", "chunks"), CUTS)
def test_a_group_knows_where_those_of_its_thread_end(groups: int, chunks: int, threads: int) -> None:
    set_num_threads(threads)
    b = Builder()
    y = b.add("relu", b.input("x", Spec((groups,))))
    inner = kernel_call(note_share, 1, Pointer(Memory("output", F * groups, index=0)), PerGroup(0, 1), ShareEnd())
    program = program_of(b.graph([y]), [depth_first_call((inner,), 1, groups, chunks, local=0)])
    (ends,) = program.run({"x": np.zeros(groups, np.float32)})
    team = 1 if chunks == 1 else threads
    bounds = [groups * (chunks * (thread + 1) // team) // chunks for thread in range(team)]
    assert ends.tolist() == [min(end for end in bounds if end > group) for group in range(groups)]


def test_every_chunk_has_a_group() -> None:
    with pytest.raises(AssertionError, match="every chunk must have a group"):
        depth_first_call((), 1, 2, 3, 0)


def registered(problem: Problem, *pointers: Pointer) -> KernelCall:
    """A call of the kernel that is best for ``problem``; it has to need no memory."""
    kernel = REGISTRY.choose(problem, isas())
    launch = kernel.launch(problem)
    assert not launch.scratch and not launch.workspace
    values = REGISTRY.signatures[problem.op].values(problem)
    stages = tuple(zip(kernel.stages, launch.tasks, strict=True))
    arguments = (*pointers, None, None, 0, *values, *launch.numbers)
    return KernelCall(problem.op, kernel.name, "", stages, arguments, Work(lambda: "", "others"))


@pytest.mark.parametrize("shape", [(1, 5, 3, 4), (2, 16, 1, 1), (3, 33, 5, 2)], ids=str)
def test_chains_and_kernels_of_the_registry(shape: tuple[int, ...]) -> None:
    """ReLU in blocks of channels, for one group of images after the other."""
    width, groups, chunks = block_width(isas()), 5, 2
    if not width:
        pytest.skip("no kernel of this processor's takes blocks of channels")
    n, *image = shape
    b = Builder()
    x = b.input("x", Spec((groups * n, *image)))
    graph = b.graph([b.add("relu", x)])
    nbytes = F * int(np.prod(shape))
    blocked = Spec(blocked_shape(shape, width))
    before, after = Value("before", blocked), Value("after", blocked)
    memory = {before: Memory("local", blocked.nbytes), after: Memory("local", blocked.nbytes)}
    offsets = {memory[before]: 0, memory[after]: -(-blocked.nbytes // 64) * 64}
    given, made = Memory("feed", groups * nbytes, "x"), Memory("output", groups * nbytes, index=0)

    def pointer(access: Access) -> Pointer:
        return Pointer(memory[access.base])

    node = Node("relu", (before,), (after,), {})
    inner = (
        registered(
            Problem("to_blocked", (shape,), (shape,), {}), Pointer(given, group_stride=nbytes), Pointer(memory[before])
        ),
        elementwise_call(
            [node], {before: Access.whole(before)}, {after: Access.whole(after)}, {}, pointer, "", Loop(blocked.shape)
        ),
        registered(
            Problem("from_blocked", (shape,), (shape,), {}), Pointer(memory[after]), Pointer(made, group_stride=nbytes)
        ),
    )
    local = sum(offsets.values()) + blocked.nbytes
    program = program_of(graph, [depth_first_call(inner, n, groups, chunks, local)], offsets=offsets)
    array = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    for threads in (1, 2):
        set_num_threads(threads)
        np.testing.assert_array_equal(program.run({"x": array})[0], np.maximum(array, 0))


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_all_tasks_of_calls_together_are_done_once(threads: int, small: bool) -> None:
    set_num_threads(threads)
    tasks = [1, 0, 1000, 7, 1, 300]
    counts = [np.zeros(n, np.int64) for n in tasks]
    calls = [
        kernel_call(count_tasks, n, Pointer(Memory("constant", a.nbytes, array=a)), nbytes=0 if small else 1 << 20)
        for n, a in zip(tasks, counts, strict=True)
    ]
    joined = merged(calls)
    assert joined.small == small
    program = program_of(Builder().graph([]), [joined, joined])
    for run in range(1, 4):
        program.run({})
        for array in counts:
            np.testing.assert_array_equal(array, 2 * run)


def test_calls_together_have_feeds_outputs_and_a_workspace() -> None:
    b = Builder()
    names = ("first", "second")
    values = [b.input(name, Spec((6,))) for name in names]
    graph = b.graph([b.add("relu", value) for value in values])
    calls = [
        kernel_call(
            turn_around,
            1,
            Pointer(Memory("output", 24, index=i)),
            Pointer(Memory("feed", 24, name)),
            6,
            None,
            24,
            workspace=24,
            workspace_slot=3,
        )
        for i, name in enumerate(names)
    ]
    program = program_of(graph, [merged(calls)])
    for threads, seed in ((1, 0), (2, 1)):
        set_num_threads(threads)
        feeds = {name: integers((6,), seed + i) for i, name in enumerate(names)}
        for name, result in zip(names, program.run(feeds), strict=True):
            np.testing.assert_array_equal(result, feeds[name][::-1])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_profile_has_the_calls_inside(threads: int) -> None:
    set_num_threads(threads)
    sums = Sums(7, 3)
    x = integers(sums.shape)
    timed = sums.program.profile({"x": x})
    kernels = [call.kernel for call, _ in timed]
    assert kernels == ["multiply", "turn_around", "multiply", "add_up"] + ["multiply"] * 3 + ["add_up"]
    assert all(seconds > 0 for _, seconds in timed)
    count = sums.images * sums.size
    assert (timed[0][0].work.flops, timed[0][0].work.nbytes) == (7 * count, 7 * 2 * F * count)
    profile = profile_program(sums.program, {"x": x}, "sums", 1)
    assert len(profile.timings) == len(timed)
    assert (
        sum(t.flops for t in profile.timings) == sum(call.work.flops for call in sums.program.plan.calls) == 7 * count
    )
    np.testing.assert_array_equal(sums.program.run({"x": x})[0], sums.expected(x))


def test_the_time_of_the_whole_is_divided_by_what_threads_spent() -> None:
    inside = Inside(calls=3, stages=(0, 1, 1), seconds=0)
    assert inside.shares(np.array([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]])) == [0.25, 0.75, 0.0]
    assert inside.shares(np.zeros((2, 3))) == [1 / 3] * 3


def test_calls_inside_are_printed_below() -> None:
    plan = Sums(7, 3).program.plan
    head, outer, *inner, first, _, _, _, total = str(plan).splitlines()
    assert head.split() == ["kernel", "shapes", "MiB", "MFLOP", "layer"]
    assert outer.split()[:9] == ["depth", "first", "7", "groups", "of", "3", "images", "in", "3"]
    assert [line[:4] for line in inner] == ["  mu", "  tu", "  mu", "  ad"]
    assert first.startswith("multiply")
    assert total.startswith("5 calls with 4 inside, ")
    explained = plan.explain().splitlines()
    assert explained[0].split()[:4] == ["depth", "first", "7", "groups"]
    assert explained[2].startswith("  multiply ")
    assert explained[3].startswith("      ")


def test_numbas_executor_has_no_calls_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMENGINE_BACKEND", "numba")
    with pytest.raises(RuntimeError, match="depth_first: the plan has inner calls, which need the compiled executor"):
        Sums(2, 1)
