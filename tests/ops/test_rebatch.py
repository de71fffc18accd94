"""Graphs at other batch sizes, and the merging of traces at batch 2 and 3."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder, OperatorError, evaluate, is_same_at, merge_batches, with_batch
from normengine.ops.shape import TO_END

Forward = Callable[[Builder, Value], Value]


def trace(forward: Forward, n: int, shape: tuple[int, ...] = (3, 4)) -> Graph:
    builder = Builder()
    x = builder.input("x", Spec((n, *shape)))
    with builder.at("head", "Head"):
        return builder.graph([forward(builder, x)])


def merged(forward: Forward, shape: tuple[int, ...] = (3, 4)) -> Graph:
    return merge_batches(trace(forward, 2, shape), trace(forward, 3, shape))


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    return evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]


def flatten(b: Builder, x: Value) -> Value:
    return b.add("reshape", x, shape=(x.shape[0], 12))


def rows(b: Builder, x: Value) -> Value:
    return b.add("reshape", x, shape=(x.shape[0] * 3, 4))


def split_rows(b: Builder, x: Value) -> Value:
    return b.add("reshape", rows(b, x), shape=(x.shape[0], 3, 4))


def repeat(b: Builder, x: Value) -> Value:
    column = b.add("reduce_sum", x, axes=(2,), keepdims=True)
    return b.add("expand", column, shape=x.shape)


def first_channels(b: Builder, x: Value) -> Value:
    return b.add("slice", x, starts=(0, 0, 0), stops=(x.shape[0], 2, 4), steps=(1, 1, 1))


def framed(b: Builder, x: Value) -> Value:
    return b.add("unslice", x, starts=(0, 1, 0), steps=(1, 1, 1), shape=(x.shape[0], 5, 4))


@pytest.mark.parametrize(
    ("forward", "attrs"),
    [
        (flatten, {"shape": (0, 12)}),
        (rows, {"shape": (-1, 4)}),
        (split_rows, {"shape": (-1, 3, 4)}),
        (repeat, {"shape": (-1, 3, 4)}),
        (first_channels, {"starts": (0, 0, 0), "stops": (TO_END, 2, 4), "steps": (1, 1, 1)}),
        (framed, {"starts": (0, 1, 0), "steps": (1, 1, 1), "shape": (-1, 5, 4)}),
    ],
)
def test_merged_trace_holds_for_every_batch_size(forward: Forward, attrs: dict[str, tuple[int, ...]]) -> None:
    graph = merged(forward)
    assert dict(graph.nodes[-1].attrs) == attrs
    for n in (1, 5):
        x = np.random.default_rng(0).standard_normal((n, 3, 4))
        at_n = with_batch(graph, n)
        assert at_n.inputs[0].shape == (n, 3, 4)
        np.testing.assert_array_equal(run(at_n, x), run(trace(forward, n), x))


def test_attributes_that_agree_stay_as_they_were_written() -> None:
    graph = merged(lambda b, x: b.add("reshape", x, shape=(0, -1)))
    assert graph.nodes[0].attrs["shape"] == (0, -1)


def test_state_constants_updates_and_layers_are_kept() -> None:
    def build(n: int) -> Graph:
        b = Builder()
        x = b.input("x", Spec((n, 4)))
        scale = b.state_value("scale", Spec((4,)))
        with b.at("norm"):
            y = b.add("mul", b.add("mul", x, scale), b.constant(3.0))
        b.update(scale, b.add("neg", scale))
        return b.graph([y])

    graph = with_batch(merge_batches(build(2), build(3)), 7)
    assert [v.name for v in graph.state] == ["scale"]
    assert [n.layer for n in graph.nodes] == ["norm", "norm", ""]
    (old, new), y = graph.updates[0], graph.outputs[0]
    values = evaluate(graph, {graph.inputs[0]: np.ones((7, 4)), old: np.arange(4.0)})
    np.testing.assert_array_equal(values[y], np.tile(3.0 * np.arange(4.0), (7, 1)))
    np.testing.assert_array_equal(values[new], -np.arange(4.0))


def test_scalar_inputs_have_no_batch() -> None:
    b = Builder()
    x, factor = b.input("x", Spec((2, 3))), b.input("factor", Spec(()))
    graph = with_batch(b.graph([b.add("mul", x, factor)]), 9)
    assert [v.shape for v in graph.inputs] == [(9, 3), ()]


def branching(b: Builder, x: Value) -> Value:
    return b.add("relu" if x.shape[0] == 2 else "neg", x)


def crossed(b: Builder, x: Value) -> Value:
    y, z = b.add("neg", x), b.add("relu", x)
    return b.add("sub", *((y, z) if x.shape[0] == 2 else (z, y)))


def by_hand_mean(b: Builder, x: Value) -> Value:
    return b.add("mul", x, b.constant(1.0 / x.shape[0]))


def two_unknown(b: Builder, x: Value) -> Value:
    return b.add("reshape", x, shape=(1, x.shape[0], 3, 4) if x.shape[0] == 2 else (3, 1, 3, 4))


def half(b: Builder, x: Value) -> Value:
    return b.add("slice", x, starts=(0, 0, 0), stops=(x.shape[0] - 1, 3, 4), steps=(1, 1, 1))


def last(b: Builder, x: Value) -> Value:
    n = x.shape[0]
    return b.add("slice", x, starts=(n - 1, 0, 0), stops=(n, 3, 4), steps=(1, 1, 1))


def copies(b: Builder, x: Value) -> Value:
    total = b.add("reduce_sum", x, axes=(0,), keepdims=True)
    return b.add("expand", total, shape=x.shape)


def longer(b: Builder, x: Value) -> Value:
    return b.add("unslice", x, starts=(1, 0, 0), steps=(1, 1, 1), shape=(x.shape[0] + 2, 3, 4))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (longer, "unslice 'head' depends on the batch size: axis 0, which holds it, is padded"),
        (branching, "the network does different things at batch 2 and 3; its forward must not branch on it"),
        (crossed, "sub 'head' reads different values at batch 2 and 3"),
        (by_hand_mean, "mul 'head' uses a number computed from the batch size; use an operator such as mean"),
        (
            two_unknown,
            "reshape 'head' depends on the batch size: shape (1, 2, 3, 4) and (3, 1, 3, 4) at batch 2 and 3 "
            "for inputs (2, 3, 4) and (3, 3, 4); let -1 stand for what varies",
        ),
        (
            half,
            "slice 'head' depends on the batch size: stops (1, 3, 4) and (2, 3, 4) at batch 2 and 3 "
            "for inputs (2, 3, 4) and (3, 3, 4); let -1 stand for what varies",
        ),
        (
            last,
            "slice 'head' depends on the batch size: starts (1, 0, 0) and (2, 0, 0), "
            "stops (2, 3, 4) and (3, 3, 4) at batch 2 and 3",
        ),
        (
            copies,
            "expand 'head' depends on the batch size: shape (2, 3, 4) and (3, 3, 4) at batch 2 and 3 "
            "for inputs (1, 3, 4) and (1, 3, 4); let -1 stand for what varies",
        ),
    ],
)
def test_other_dependence_on_the_batch_size_is_refused(forward: Forward, message: str) -> None:
    with pytest.raises(OperatorError) as caught:
        merged(forward)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("forward", "same"), [(flatten, True), (framed, True), (by_hand_mean, False), (branching, False), (half, False)]
)
def test_graphs_of_one_network_are_told_from_those_that_know_the_batch(forward: Forward, same: bool) -> None:
    assert is_same_at(trace(forward, 2), trace(forward, 5)) == same


def test_a_fixed_batch_is_named_by_its_layer() -> None:
    with pytest.raises(OperatorError, match=r"^reshape 'head': cannot reshape \(5, 3, 4\) to \(2, 12\)"):
        with_batch(trace(flatten, 2), 5)
