"""Loops take the sums of what they make, and compute again what they need not read; the numbers stay."""

from __future__ import annotations

import numpy as np

from normengine.graph import Graph, Node, Spec, Value
from normengine.ops import Builder, evaluate
from normengine.passes import decompose, expand_norm_grad_sums, fuse, rematerialize
from normengine.runtime import compile_graph

IMAGE = (2, 5, 6, 7)


def chains(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op == "chain"]


def names(chain: Node) -> list[str]:
    return [n.op for n in chain.attrs["nodes"]]


def large(chain: Node) -> list[Value]:
    return [v for v in chain.inputs if v.shape == IMAGE]


def checked(b: Builder, *outputs: Value) -> Graph:
    """The graph as it is lowered, and its results held to the references."""
    graph = b.graph(list(outputs))
    rng = np.random.default_rng(0)
    feeds = {v: np.abs(rng.standard_normal(v.shape)).astype(np.float32) for v in graph.inputs}
    want = evaluate(graph, feeds)
    for value, got in zip(graph.outputs, compile_graph(graph).run({v.name: a for v, a in feeds.items()}), strict=True):
        np.testing.assert_allclose(got, want[value], rtol=1e-4, atol=1e-4)
    return rematerialize(fuse(expand_norm_grad_sums(decompose(graph))))


def norm_backward(b: Builder, residual: bool) -> list[Value]:
    """The gradient of relu(batch_norm(x) [+ residual]), whose mask is read off the result."""
    x, dy = b.input("x", Spec(IMAGE)), b.input("dy", Spec(IMAGE))
    weight, bias, mean, var = (b.input(name, Spec(IMAGE[1:2])) for name in ("weight", "bias", "mean", "var"))
    y = b.add("batch_norm", x, weight, bias, mean, var, eps=1e-5)
    if residual:
        y = b.add("add", y, b.input("residual", Spec(IMAGE)))
    masked = b.add("relu_grad", dy, b.add("relu", y))
    given = b.add_multi("batch_norm_train_grad", masked, x, weight, mean, var, eps=1e-5)
    return [*given, masked] if residual else list(given)


def test_the_sums_of_a_gradient_join_its_loop_and_nothing_in_between_is_stored() -> None:
    b = Builder()
    graph = checked(b, *norm_backward(b, residual=False))
    sums, result = [c for c in chains(graph) if large(c)]
    assert [n.op for n in sums.attrs["sums"]] == ["reduce_sum", "reduce_sum"]
    assert not any(v.shape == IMAGE for v in sums.outputs)
    assert [v.name for v in large(sums)] == [v.name for v in large(result)] == ["x", "dy"]
    assert names(result).count("relu_grad") == names(sums).count("relu_grad") == 1


def test_what_others_read_is_stored_once() -> None:
    b = Builder()
    graph = checked(b, *norm_backward(b, residual=True))
    sums, result = [c for c in chains(graph) if large(c)]
    assert [v.shape for v in sums.outputs].count(IMAGE) == 1
    assert names(result).count("relu_grad") == 0 and len(large(result)) == 2


def test_nothing_that_reads_a_sum_is_in_the_loop_that_takes_it() -> None:
    b = Builder()
    x = b.input("x", Spec(IMAGE))
    y = b.add("relu", x)
    total = b.add("reduce_sum", y, axes=(0, 2, 3), keepdims=True)
    graph = checked(b, b.add("sub", y, total), b.add("relu", total))
    first, *others = chains(graph)
    assert [n.op for n in first.attrs["sums"]] == ["reduce_sum"] and names(first) == ["relu"]
    assert any("sub" in names(c) and "relu" in names(c) for c in others)


def test_dear_functions_are_not_computed_twice() -> None:
    b = Builder()
    x = b.input("x", Spec(IMAGE))
    y = b.add("exp", x)
    total = b.add("reduce_sum", y, axes=(0, 2, 3), keepdims=True)
    graph = checked(b, b.add("div", y, total))
    assert sum(names(c).count("exp") for c in chains(graph)) == 1


def test_sums_of_what_a_kernel_makes_are_left_to_a_kernel() -> None:
    b = Builder()
    x, weight = b.input("x", Spec(IMAGE)), b.input("w", Spec((4, 5, 3, 3)))
    window = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    y = b.add("conv2d", x, weight, **window)
    vectors = [b.input(name, Spec((4,))) for name in ("mean", "var")]
    graph = checked(b, *b.add_multi("batch_norm_grad_sums", y, y, *vectors, eps=1e-5))
    assert [n.op for n in graph.nodes] == ["conv2d", "batch_norm_grad_sums"]


def test_large_images_are_summed_row_by_row() -> None:
    b = Builder()
    x = b.input("x", Spec((1, 3, 60, 70)))
    weight = b.input("w", Spec((11, 3, 3, 3)))
    window = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    y = b.add("sigmoid", b.add("conv2d", x, weight, **window))
    scaled = b.add("mul", y, b.input("rows", Spec((60, 1))))
    checked(b, b.add("reduce_sum", scaled, axes=(0, 2, 3), keepdims=False), scaled)
