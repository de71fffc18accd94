"""Compiled programs against the references: views, fusion, updates in place, memory used again."""

import weakref

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import Builder, evaluate
from normengine.passes import decompose, fuse
from normengine.plan import make_plan
from normengine.runtime import Counters, Program, ProgramCache, compile_graph, set_num_threads
from normengine.runtime.cache import structure


def check_against_references(graph, seed=0, tolerance=2e-5):
    rng = np.random.default_rng(seed)
    feeds = {v: rng.standard_normal(v.shape).astype(np.float32) for v in (*graph.inputs, *graph.state)}
    want = evaluate(graph, feeds)
    named = {v.name: a.copy() for v, a in feeds.items()}
    results = compile_graph(graph).run(named)
    for value, got in zip(graph.outputs, results):
        assert got.shape == value.shape and got.dtype == value.dtype
        scale = max(1.0, float(np.abs(want[value]).max(initial=0)))
        assert np.abs(got - want[value]).max(initial=0) <= tolerance * scale, value
    for old, new in graph.updates:
        assert np.allclose(named[old.name], want[new], rtol=tolerance, atol=tolerance), old
    return named


def test_movements_are_views_and_copies_where_needed():
    b = Builder()
    x = b.input("x", Spec((2, 4, 6, 5)))
    turned = b.add("permute", x, axes=(0, 2, 3, 1))
    cut = b.add("slice", turned, starts=(0, 1, 0, 0), stops=(2, 6, 5, 4), steps=(1, 2, 2, 1))
    flat = b.add("reshape", cut, shape=(0, -1))
    joined = b.add("concat", flat, b.add("relu", flat), flat, axis=1)
    back = b.add("unslice", cut, starts=(0, 1, 0, 0), steps=(1, 2, 2, 1), shape=(2, 6, 5, 4))
    check_against_references(b.graph([joined, back, turned, x, b.add("reshape", x, shape=(8, -1))]))


def test_the_same_value_twice_and_an_input_as_output():
    b = Builder()
    x = b.input("x", Spec((3, 4)))
    y = b.add("relu", x)
    first, second, third = compile_graph(b.graph([y, y, x])).run({"x": np.ones((3, 4), np.float32)})
    assert np.array_equal(first, second) and first is not second
    assert not np.shares_memory(first, second)
    assert np.array_equal(third, np.ones((3, 4)))


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (1, 3), (0, 1, 2, 3), (0, 2, 3), (0, 2, 4)])
def test_sums_over_any_axes(axes):
    shape = (3, 4, 5, 2, 3)[: max(4, max(axes) + 1)]
    b = Builder()
    x = b.input("x", Spec(shape))
    check_against_references(b.graph([b.add("reduce_sum", x, axes=axes, keepdims=False),
                                      b.add("reduce_mean", x, axes=axes, keepdims=True)]))  # fmt: skip


def test_updates_are_stored_and_read_before_they_change():
    b = Builder()
    x = b.input("x", Spec((4, 3)))
    s, t = b.state_value("s", Spec((4, 3))), b.state_value("t", Spec((4, 3)))
    b.update(s, b.add("add", s, x))
    b.update(t, s)
    out = b.add("mul", s, t)
    named = check_against_references(b.graph([out]))
    assert named["s"].shape == (4, 3)


def test_an_update_waits_for_later_readers():
    """The new value is made early in the list of nodes, the old one is read after."""
    b = Builder()
    x = b.input("x", Spec((4, 4)))
    s = b.state_value("s", Spec((4, 4)))
    new = b.add("mul", s, x)
    b.update(s, new)
    late = b.add("matmul", x, s, transpose_a=False, transpose_b=True)
    check_against_references(b.graph([late, b.add("relu", new)]))


def test_one_new_value_is_stored_over_two_old_ones():
    b = Builder()
    x = b.input("x", Spec((4, 3)))
    s, t = b.state_value("s", Spec((4, 3))), b.state_value("t", Spec((4, 3)))
    new = b.add("mul", s, x)
    b.update(s, new)
    b.update(t, new)
    check_against_references(b.graph([b.add("relu", x)]))


def test_a_check_that_raises_leaves_state_alone():
    b = Builder()
    x = b.input("x", Spec((4,)))
    s = b.state_value("s", Spec((4,)))
    loss = b.add("reduce_sum", b.add("mul", x, s), axes=(0,), keepdims=False)
    b.update(s, b.add("add", s, x))
    state = np.arange(4, dtype=np.float32)

    def refuse(value):
        assert value == 6.0
        raise FloatingPointError("no")

    program = compile_graph(b.graph([loss]))
    with pytest.raises(FloatingPointError, match="no"):
        program.run({"x": np.ones(4, np.float32), "s": state}, refuse)
    assert np.array_equal(state, np.arange(4))
    program.run({"x": np.ones(4, np.float32), "s": state}, lambda value: None)
    assert np.array_equal(state, np.arange(4) + 1)


def test_the_check_sees_an_output_that_is_a_view():
    b = Builder()
    x = b.input("x", Spec((4, 3)))
    s = b.state_value("s", Spec((4, 3)))
    row = b.add("slice", b.add("add", x, s), starts=(2, 1), stops=(3, 2), steps=(1, 1))
    loss = b.add("reshape", row, shape=())
    b.update(s, b.add("mul", s, x))
    seen = []
    state = np.full((4, 3), 5, np.float32)
    compile_graph(b.graph([loss])).run({"x": np.full((4, 3), 2, np.float32), "s": state}, seen.append)
    assert seen == [7.0]
    assert np.array_equal(state, np.full((4, 3), 10))


def test_a_missing_or_wrong_feed_is_named():
    b = Builder()
    x = b.input("x", Spec((4,)))
    program = compile_graph(b.graph([b.add("relu", x)]))
    with pytest.raises(ValueError, match="'x' .* was not given"):
        program.run({})
    with pytest.raises(ValueError, match=r"'x' must be a C-contiguous, aligned float32\[4\], got float32\[5\]$"):
        program.run({"x": np.zeros(5, np.float32)})


@pytest.mark.parametrize(
    "array, what",
    [
        (np.zeros(4, np.float32).astype(">f4" if np.little_endian else "<f4"), "in the other byte order"),
        (np.zeros(8, np.float32)[::2], "not contiguous"),
        (np.zeros(17, np.uint8)[1:].view(np.float32), "not aligned"),
    ],
)
def test_memory_that_kernels_cannot_read_is_refused(array, what):
    b = Builder()
    program = compile_graph(b.graph([b.add("relu", b.input("x", Spec((4,))))]))
    with pytest.raises(ValueError, match=f"got float32\\[4\\], {what}$"):
        program.run({"x": array})


def test_state_that_is_read_only_is_not_written_over():
    b = Builder()
    s = b.state_value("s", Spec((4,)))
    b.update(s, b.add("add", s, s))
    program = compile_graph(b.graph([]))
    state = np.ones(4, np.float32)
    state.flags.writeable = False
    with pytest.raises(ValueError, match="'s' is updated, but its array is read-only"):
        program.run({"s": state})
    assert np.array_equal(state, np.ones(4))


def test_state_that_becomes_read_only_after_a_run_is_not_written_over(backend):
    b = Builder()
    s = b.state_value("s", Spec((4,)))
    b.update(s, b.add("add", s, s))
    program = compile_graph(b.graph([]))
    feeds = {"s": np.ones(4, np.float32)}
    program.run(feeds)
    feeds["s"].flags.writeable = False
    with pytest.raises(ValueError, match="'s' is updated, but its array is read-only"):
        program.run(feeds)
    assert (feeds["s"] == 2).all()
    feeds["s"].flags.writeable = True
    program.run(feeds)
    assert (feeds["s"] == 4).all()


def test_a_run_within_a_run_of_the_same_thread_is_one_of_its_own(backend):
    b = Builder()
    x, s = b.input("x", Spec((4,))), b.state_value("s", Spec(()))
    y = b.add("add", x, s)
    b.update(s, b.add("add", s, s))
    program = compile_graph(b.graph([y]))
    state, inner = np.ones((), np.float32), []

    def come_back(result):
        if not inner:
            inner.append(None)
            inner[0] = program.run({"x": np.full(4, 5, np.float32), "s": state}, come_back)[0]

    (outer,) = program.run({"x": np.zeros(4, np.float32), "s": state}, come_back)
    assert (inner[0] == 6).all() and (outer == 1).all() and state == 4


def test_counters_count_what_changed_state(backend):
    b = Builder()
    s = b.state_value("s", Spec(()))
    y = b.add("relu", b.input("x", Spec(())))
    b.update(s, b.add("add", s, y))
    program = compile_graph(b.graph([y]))
    counters = Counters([np.zeros((), np.int64), np.array(5)])
    feeds = {"x": np.ones((), np.float32), "s": np.zeros((), np.float32)}

    def refuse(result):
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        program.run(feeds, refuse, counters)
    assert counters.arrays == (0, 5)
    program.run(feeds, lambda result: None, counters)
    program.run(feeds, counters=counters)
    assert counters.arrays == (2, 7) and feeds["s"] == 2


def test_inputs_are_not_kept_alive():
    b = Builder()
    program = compile_graph(b.graph([b.add("relu", b.input("x", Spec((4,))))]))
    x = np.ones(4, np.float32)
    gone = weakref.ref(x)
    program.run({"x": x})
    del x
    assert gone() is None


def random_graph(seed):
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.input("x", Spec((2, 4, 6, 6)))
    c = b.state_value("c", Spec((1, 4, 1, 1)))
    values = [x]
    for _ in range(24):
        one, two = (values[i] for i in rng.integers(0, len(values), 2))
        pick = int(rng.integers(0, 8))
        if pick == 0:
            w = b.state_value(f"w{len(b.nodes)}", Spec((4, 4, 3, 3)))
            values.append(b.add("tanh", b.add("conv2d", one, w, stride=(1, 1), padding=(1, 1, 1, 1),
                                              dilation=(1, 1), groups=1)))  # fmt: skip
        elif pick == 1:
            values.append(b.add("mul", one, b.add("tanh", b.add("reduce_mean", two, axes=(2, 3), keepdims=True))))
        elif pick == 2:
            values.append(b.add("mul", b.add("sigmoid", one), c))
        elif pick == 3:
            values.append(b.add("max_pool2d", one, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1),
                                dilation=(1, 1), ceil_mode=False))  # fmt: skip
        elif pick == 4:
            half = b.add("slice", one, starts=(0, 0, 0, 0), stops=(2, 2, 6, 6), steps=(1, 1, 1, 1))
            values.append(b.add("concat", half, b.add("relu", half), axis=1))
        elif pick == 5:
            values.append(b.add("permute", one, axes=(0, 1, 3, 2)))
        else:
            values.append(b.add("add" if pick == 6 else "sub", one, b.add("tanh", two)))
    b.update(c, b.add("add", c, b.add("reduce_mean", values[-1], axes=(0, 2, 3), keepdims=True)))
    return b.graph(values[-2:])


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_compute_what_the_references_do(seed):
    check_against_references(random_graph(seed), seed)


@pytest.mark.parametrize("seed", range(6))
def test_no_two_live_buffers_overlap(seed):
    plan = make_plan(fuse(decompose(random_graph(seed))))
    alive = {}
    for i, call in enumerate(plan.calls):
        for memory in call.memories():
            if memory.kind in ("arena", "scratch"):
                alive[memory] = (min(alive.get(memory, (i, i))[0], i), i)
    pairs = list(alive.items())
    for n, (a, (a_first, a_last)) in enumerate(pairs):
        assert plan.offsets[a] + a.nbytes <= plan.arena_bytes
        for b, (b_first, b_last) in pairs[:n]:
            if a_first <= b_last and b_first <= a_last:
                assert plan.offsets[a] + a.nbytes <= plan.offsets[b] or plan.offsets[b] + b.nbytes <= plan.offsets[a]


def test_one_and_two_threads_give_the_same_bits():
    graph = random_graph(3)
    rng = np.random.default_rng(0)
    feeds = {v.name: rng.standard_normal(v.shape).astype(np.float32) for v in (*graph.inputs, *graph.state)}
    runs = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        runs.append(compile_graph(graph).run({k: a.copy() for k, a in feeds.items()}))
    set_num_threads(2)
    for other in runs[1:]:
        for a, b in zip(runs[0], other):
            assert np.array_equal(a, b)


def test_a_plan_prints_its_calls_and_profiles():
    b = Builder()
    x = b.input("x", Spec((2, 3, 8, 8)))
    with b.at("stem"):
        y = b.add("relu", b.add("reduce_sum", x, axes=(2, 3), keepdims=True))
    program = compile_graph(b.graph([y]))
    assert isinstance(program, Program)
    assert "stem" in str(program) and "reduce_sum" in str(program) and "2 calls" in str(program)
    explained = program.plan.explain()
    assert f"{program.plan.calls[0].kernel} costs least" in explained and "compiled by Numba" in explained
    rows = program.profile({"x": np.zeros((2, 3, 8, 8), np.float32)})
    assert len(rows) == 2 and all(seconds >= 0 for _, seconds in rows)


def test_the_structure_of_a_graph_compares_without_bytecode():
    """Else a signal handler could raise in the midst of the cache's bookkeeping."""

    def builtin(part):
        if type(part) is tuple:
            return all(map(builtin, part))
        return type(part) in (int, float, str, bytes, bool, type(None))

    b = Builder()
    x, w = b.input("x", Spec((2, 3, 5, 5))), b.constant(np.ones((4, 3, 3, 3), np.float32))
    window = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    assert builtin(structure(b.graph([b.add("relu", b.add("conv2d", x, w, **window))])))


def test_the_cache_knows_a_structure_again():
    def graph(slope):
        b = Builder()
        return b.graph([b.add("leaky_relu", b.input("x", Spec((4,))), negative_slope=slope)])

    cache = ProgramCache(size=2)
    first = cache.get(graph(0.1))
    assert cache.get(graph(0.1)) is first
    assert cache.get(graph(0.2)) is not first
    cache.get(graph(0.3))
    assert cache.get(graph(0.1)) is not first


def test_the_cache_lets_go_of_programs_that_own_much_memory():
    def graph(n):
        b = Builder()
        x = b.input("x", Spec((n, 64)))
        return b.graph([b.add("softmax", b.add("softmax", x, axis=1), axis=0)])

    cache = ProgramCache(size=8, nbytes=3 * 256 * 100)
    first, second = cache.get(graph(100)), cache.get(graph(101))
    assert 256 * 100 <= first.nbytes < second.nbytes < 256 * 110
    assert cache.get(graph(100)) is first
    cache.get(graph(102))
    assert cache.get(graph(100)) is first and cache.get(graph(101)) is not second
    large = cache.get(graph(1000))
    assert large.nbytes > cache.nbytes and cache.get(graph(1000)) is large


def test_a_program_runs_on_arrays_like_those_it_takes():
    b = Builder()
    x, y = b.input("x", Spec((2, 3))), b.input("y", Spec((3,)))
    program = compile_graph(b.graph([b.add("mul", x, y)]))
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array([1, 2, 3], np.float32)}
    (want,) = program.run(feeds)
    (got,) = program.run_alike(feeds)
    assert np.array_equal(got, want) and got is not want
    locked = feeds["y"].copy()
    locked.flags.writeable = False
    (got,) = program.run_alike({**feeds, "y": locked})
    assert np.array_equal(got, want)
    others = {
        "another shape": {**feeds, "x": np.zeros((3, 2), np.float32)},
        "another dtype": {**feeds, "x": np.zeros((2, 3))},
        "not contiguous": {**feeds, "x": np.zeros((2, 6), np.float32)[:, ::2]},
        "a list": {**feeds, "y": [1.0, 2.0, 3.0]},
        "missing": {"x": feeds["x"]},
        "another name": {"x": feeds["x"], "z": feeds["y"]},
        "one more": {**feeds, "z": feeds["y"]},
        "no dict": [("x", feeds["x"])],
    }
    for why, given in others.items():
        assert program.run_alike(given) is None, why


def test_a_program_with_state_wants_all_that_it_takes():
    b = Builder()
    x, s = b.input("x", Spec((4,))), b.state_value("s", Spec((4,)))
    b.update(s, b.add("add", s, x))
    program = compile_graph(b.graph([b.add("mul", x, x)]))
    assert program.run_alike({"x": np.ones(4, np.float32)}) is None
