"""Chains that would be too much code are taken apart; the others, and what the graph computes, stay."""

from importlib import import_module

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import Builder, evaluate
from normengine.passes import fuse, prepare
from normengine.passes.fuse import operations
from normengine.passes.limit_code import MAX_CODE, limit_code
from normengine.runtime import compile_graph


def lines(count, seed=0, length=12):
    """Lines of random operators, each behind a convolution-like boundary, so that every one is a chain of its own."""
    rng = np.random.default_rng(seed)
    b = Builder()
    y = b.input("x", Spec((2, 3, 4, 4)))
    for _ in range(count):
        y = b.add("permute", y, axes=(0, 1, 3, 2))
        first = y
        for op in rng.choice(["relu", "sub", "mul", "hardswish"], length):
            y = b.add(op, y, first) if op in ("sub", "mul") else b.add(op, y)
        y = b.add("sub", y, b.add("reduce_sum", y, axes=(0, 2, 3), keepdims=True))
    return b.graph([y])


def chains(graph):
    return [n for n in graph.nodes if n.op == "chain"]


def pieces(graph):
    """The nodes that the graph's nodes stand for."""
    return {n for node in graph.nodes for n in (*node.attrs.get("nodes", (node,)), *node.attrs.get("sums", ()))}


def test_chains_of_the_same_code_count_once():
    b = Builder()
    y = b.input("x", Spec((2, 3, 4, 4)))
    for _ in range(400):
        y = b.add("permute", b.add("tanh", b.add("tanh", y)), axes=(0, 1, 3, 2))
    graph = prepare(b.graph([y]))
    assert sum(operations(n.attrs["nodes"]) for n in chains(graph)) > MAX_CODE
    assert [len(n.attrs["nodes"]) for n in chains(graph)] == [2] * 400


def test_what_is_too_much_is_taken_apart():
    whole = fuse(lines(300))
    limited = limit_code(whole)
    kept = [n for n in chains(limited) if len(n.attrs["nodes"]) > 1]
    assert 0 < len(kept) < len(chains(whole))
    assert set(kept) <= set(chains(whole))
    assert sum(operations(n.attrs["nodes"]) for n in kept) <= MAX_CODE
    assert pieces(limited) == pieces(whole)


def test_chains_taken_apart_compute_the_same(monkeypatch):
    monkeypatch.setattr(import_module("normengine.passes.limit_code"), "MAX_CODE", 60)
    b = Builder()
    x, s = b.input("x", Spec((8, 3, 4, 4))), b.state_value("s", Spec((8, 3, 4, 4)))
    w = b.input("w", Spec((3, 3, 1, 1)))
    y = b.add("conv2d", x, w, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
    z = b.add("tanh", b.add("mul", y, b.add("hardswish", y)))
    total = b.add("reduce_sum", z, axes=(0, 2, 3), keepdims=False)
    b.update(s, b.add("add", b.add("mul", s, z), z))
    graph = b.graph([z, total])
    assert [[n.op for n in chain.attrs["nodes"]] for chain in chains(prepare(graph))] == [
        ["hardswish"], ["mul"], ["tanh"], ["mul", "add"]
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    feeds = {v: rng.standard_normal(v.shape).astype(np.float32) for v in (*graph.inputs, *graph.state)}
    want = evaluate(graph, feeds)
    named = {v.name: a.copy() for v, a in feeds.items()}
    for value, got in zip(graph.outputs, compile_graph(graph).run(named), strict=True):
        np.testing.assert_allclose(got, want[value], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(named["s"], want[graph.updates[0][1]], rtol=1e-4, atol=1e-4)


def test_more_functions_than_are_compiled_are_refused(monkeypatch):
    graph = fuse(lines(5))
    assert len(chains(graph)) == 10
    monkeypatch.setattr(import_module("normengine.passes.limit_code"), "MAX_FUNCTIONS", 10)
    limit_code(graph)
    monkeypatch.setattr(import_module("normengine.passes.limit_code"), "MAX_FUNCTIONS", 5)
    with pytest.raises(ValueError, match="differ in operators, axes or strides, more than the 5 that are compiled"):
        limit_code(graph)
