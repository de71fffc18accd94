"""Fusion keeps the meaning, joins what it may, and puts updates last."""

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Builder, evaluate
from normengine.passes import decompose, fuse
from normengine.passes.fuse import MAX_OPERATIONS, MAX_RESULTS, update_only
from normengine.runtime import compile_graph


def ops(graph):
    return [n.op for n in graph.nodes]


def test_a_line_of_elementwise_nodes_is_one_chain():
    b = Builder()
    x = b.input("x", Spec((2, 3)))
    y = b.add("relu", b.add("add", x, b.add("sigmoid", x)))
    fused = fuse(b.graph([y]))
    assert ops(fused) == ["chain"]
    assert [n.op for n in fused.nodes[0].attrs["nodes"]] == ["sigmoid", "add", "relu"]
    assert fused.nodes[0].inputs == (x,) and fused.nodes[0].outputs == (y,)


def test_two_branches_meet_in_one_chain():
    b = Builder()
    x, z = b.input("x", Spec((2, 3))), b.input("z", Spec((2, 3)))
    fused = fuse(b.graph([b.add("add", b.add("relu", x), b.add("tanh", z))]))
    assert ops(fused) == ["chain"]


def test_a_value_read_outside_becomes_an_output():
    b = Builder()
    x = b.input("x", Spec((2, 3)))
    kept = b.add("relu", x)
    total = b.add("reduce_sum", kept, axes=(0, 1), keepdims=False)
    fused = fuse(b.graph([b.add("tanh", kept), total]))
    chain = next(n for n in fused.nodes if n.op == "chain")
    assert kept in chain.outputs and len(chain.outputs) == 2


def test_no_cycle_is_made_around_another_operator():
    b = Builder()
    x = b.input("x", Spec((2, 3)))
    first = b.add("relu", x)
    mean = b.add("reduce_sum", first, axes=(0, 1), keepdims=True)
    fused = fuse(b.graph([b.add("sub", first, mean)]))
    assert ops(fused) == ["chain", "reduce_sum", "chain"]


def test_a_sum_of_sums_stays_apart():
    """Those of images of one pixel have the shape of what the loop makes."""
    b = Builder()
    x = b.input("x", Spec((2, 3, 1, 1)))
    sums = b.add("reduce_sum", b.add("relu", x), axes=(2, 3), keepdims=True)
    graph = b.graph([b.add("reduce_sum", sums, axes=(0, 2, 3), keepdims=False)])
    assert ops(fuse(graph)) == ["chain", "reduce_sum"]
    (total,) = compile_graph(graph).run({"x": np.arange(-2, 4, dtype=np.float32).reshape(2, 3, 1, 1)})
    np.testing.assert_array_equal(total, [1, 2, 3])


def test_loops_over_one_array_are_one_where_they_wait_for_the_same():
    b = Builder()
    x, y = b.input("x", Spec((2, 3))), b.input("y", Spec((2, 3)))
    loss, grad = b.add("bce_with_logits", x, y), b.add("bce_with_logits_grad", b.add("sigmoid", y), x, y)
    graph = b.graph([b.add("reduce_sum", loss, axes=(0, 1), keepdims=False), grad])
    fused = fuse(graph)
    assert ops(fused) == ["chain", "reduce_sum"]
    assert fused.nodes[0].outputs == (loss, grad)
    feeds = {v: np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3) for v in (x, y)}
    want = evaluate(graph, feeds)
    for value, got in zip(graph.outputs, compile_graph(graph).run({v.name: a for v, a in feeds.items()}), strict=True):
        np.testing.assert_allclose(got, want[value], rtol=1e-6)


def test_loops_over_one_array_stay_apart_where_one_waits_longer():
    b = Builder()
    x, m = b.input("x", Spec((2, 3))), b.input("m", Spec((3, 3)))
    other = b.add("matmul", x, m, transpose_a=False, transpose_b=False)
    early, late = b.add("relu", x), b.add("mul", x, other)
    assert sorted(ops(fuse(b.graph([early, late])))) == ["chain", "chain", "matmul"]
    again = b.add("mul", early, b.add("reduce_sum", early, axes=(0, 1), keepdims=True))
    assert ops(fuse(b.graph([again, b.add("tanh", x)]))) == ["chain", "reduce_sum", "chain"]


def test_loops_over_other_arrays_stay_apart():
    b = Builder()
    x, z, c = b.input("x", Spec((2, 3))), b.input("z", Spec((2, 3))), b.input("c", Spec((1, 1)))
    first, second = b.add("mul", x, c), b.add("mul", z, c)
    assert ops(fuse(b.graph([first, second]))) == ["chain", "chain"]


def test_shapes_that_differ_stay_apart():
    b = Builder()
    x, c = b.input("x", Spec((2, 3))), b.input("c", Spec((3,)))
    fused = fuse(b.graph([b.add("mul", x, b.add("neg", c))]))
    assert ops(fused) == ["chain", "chain"]


def test_updates_run_last_and_alone():
    b = Builder()
    x = b.input("x", Spec((2, 3)))
    s = b.state_value("s", Spec((2, 3)))
    fresh = b.add("relu", x)
    b.update(s, b.add("add", s, fresh))
    out = b.add("reduce_sum", b.add("tanh", fresh), axes=(0, 1), keepdims=False)
    graph = b.graph([out])
    assert [n.op for n in graph.nodes if n in update_only(graph)] == ["add"]
    assert ops(fuse(graph)) == ["chain", "reduce_sum", "chain"]


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_order_and_pieces(seed):
    """Every node of the graph is in exactly one unit, after all that it reads."""
    rng = np.random.default_rng(seed)
    b = Builder()
    values = [b.input(f"x{i}", Spec((2, 3))) for i in range(3)]
    for _ in range(40):
        one, two = (values[i] for i in rng.integers(0, len(values), 2))
        pick = rng.integers(0, 4)
        if pick == 0:
            total = b.add("reduce_sum", one, axes=(1,), keepdims=True)
            values.append(b.add("mul", two, total))
        elif pick == 1:
            values.append(b.add("tanh", one))
        else:
            values.append(b.add("add" if pick == 2 else "mul", one, two))
    graph = b.graph(values[-3:])
    fused = fuse(decompose(graph))
    pieces = [p for n in fused.nodes for p in n.attrs.get("nodes", (n,))]
    assert sorted(map(id, pieces)) == sorted(map(id, graph.nodes))
    made = set(graph.inputs) | set(graph.constants)
    for node in pieces:
        assert all(v in made for v in node.inputs)
        made.update(node.outputs)


def test_decompose_keeps_the_meaning():
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.input("x", Spec((4, 3, 5, 5)))
    w, bias = b.input("w", Spec((3,))), b.input("b", Spec((3,)))
    y, mean, var = b.add_multi("batch_norm_train", x, w, bias, eps=1e-5)
    graph = b.graph([b.add("reduce_mean", b.add("relu", y), axes=(2, 3), keepdims=False), mean, var])
    written = decompose(graph)
    assert not {"batch_norm_train", "reduce_mean"} & set(ops(written))
    feeds = {x: rng.standard_normal(x.shape), w: rng.standard_normal(3), bias: rng.standard_normal(3)}
    want, got = evaluate(graph, feeds), evaluate(written, feeds)
    for old, new in zip(graph.outputs, written.outputs):
        assert np.allclose(want[old], got[new], rtol=1e-6, atol=1e-6)


def chains_of(graph):
    return [n for n in graph.nodes if n.op == "chain"]


def operations(chain):
    return sum(1 + OPS[n.op].scalar.operations for n in chain.attrs["nodes"])


@pytest.mark.parametrize("op, most", [("relu", 85), ("tanh", 4), ("mul", 128)])
def test_a_long_line_becomes_chains_of_bounded_length(op, most):
    b = Builder()
    x = y = b.input("x", Spec((2, 3)))
    for _ in range(3 * most + 1):
        y = b.add(op, *((y, x) if op == "mul" else (y,)))
    chains = chains_of(fuse(b.graph([y])))
    assert [len(n.attrs["nodes"]) for n in chains] == [most, most, most, 1]
    assert all(len(n.outputs) == 1 and operations(n) <= MAX_OPERATIONS for n in chains)


def test_chains_have_a_bounded_number_of_results():
    b = Builder()
    x = b.input("x", Spec((2, 3)))
    made = [b.add("relu", x) for _ in range(40)]
    chains = chains_of(fuse(b.graph(made)))
    assert [len(n.outputs) for n in chains] == [MAX_RESULTS, MAX_RESULTS, 40 - 2 * MAX_RESULTS]
    total = made[0]
    for value in made[1:]:
        total = b.add("add", total, value)
    assert all(len(n.outputs) <= MAX_RESULTS and operations(n) <= MAX_OPERATIONS for n in fuse(b.graph([total])).nodes)


@pytest.mark.parametrize("seed", range(2))
def test_long_lines_with_branches_compute_what_the_references_do(seed):
    rng = np.random.default_rng(seed)
    b = Builder()
    values = [b.input(f"x{i}", Spec((2, 3))) for i in range(3)]
    for _ in range(150):
        one, two = (values[-1 - i] for i in rng.integers(0, min(len(values), 30), 2))
        op = str(rng.choice(["sub", "sub", "relu"]))
        values.append(b.add(op, one, two) if op == "sub" else b.add(op, one))
    graph = b.graph(values[-20:])
    assert len(chains_of(fuse(graph))) > 1
    feeds = {v: rng.standard_normal(v.shape).astype(np.float32) for v in graph.inputs}
    want = evaluate(graph, feeds)
    for value, got in zip(graph.outputs, compile_graph(graph).run({v.name: a for v, a in feeds.items()}), strict=True):
        np.testing.assert_allclose(got, want[value], rtol=1e-4, atol=1e-4)
