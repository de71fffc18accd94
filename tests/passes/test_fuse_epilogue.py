"""Convolutions take in what follows them, where nobody else reads it, and compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder, evaluate
from normengine.passes.fuse_epilogue import fuse_epilogue

WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}


class Net:
    """A graph in the making, with weights and images drawn as they are asked for."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.feeds: dict[Value, np.ndarray] = {}
        self._rng = np.random.default_rng(0)

    def given(self, *shape: int) -> Value:
        array = self._rng.standard_normal(shape).astype(np.float32)
        value = self.builder.input(f"x{len(self.feeds)}", Spec.of(array))
        self.feeds[value] = array
        return value

    def conv(self, x: Value, bias: bool = False) -> Value:
        parts = [x, self.given(4, x.shape[1], 3, 3), *([self.given(4)] if bias else [])]
        return self.builder.add("conv2d", *parts, **WINDOW)

    def add(self, op: str, *values: Value) -> Value:
        return self.builder.add(op, *values)

    def checked(self, *outputs: Value) -> Graph:
        """The extended graph, which computes what the graph does."""
        graph = self.builder.graph(list(outputs))
        extended = fuse_epilogue(graph)
        before, after = evaluate(graph, self.feeds), evaluate(extended, self.feeds)
        for value in graph.outputs:
            np.testing.assert_allclose(after[value], before[value], atol=1e-6)
        return extended


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_residual_block_ends_in_its_last_convolution(bias: bool, activation: str | None, turned: bool) -> None:
    net = Net()
    x = net.given(2, 4, 5, 6)
    inner = net.add("relu", net.conv(x, bias))
    y = net.conv(inner, bias)
    y = net.add("add", x, y) if turned else net.add("add", y, x)
    graph = net.checked(net.add(activation, y) if activation else y)
    assert [n.op for n in graph.nodes] == ["conv2d", "conv2d"]
    assert graph.nodes[1].attrs["residual"] and ("clamp" in graph.nodes[1].attrs) == bool(activation)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_a_linear_layer_ends_in_its_activation_and_takes_no_residual(activation: str) -> None:
    net = Net()
    x = net.given(5, 6)
    hidden = net.add(activation, net.add("linear", x, net.given(7, 6), net.given(7)))
    graph = net.checked(net.add("add", net.add("linear", hidden, net.given(6, 7)), x))
    assert [n.op for n in graph.nodes] == ["linear", "linear", "add"]
    assert "clamp" in graph.nodes[0].attrs and not graph.nodes[1].attrs.get("residual")


def test_of_two_convolutions_that_are_added_one_takes_the_other() -> None:
    net = Net()
    x = net.given(2, 4, 5, 6)
    graph = net.checked(net.add("relu", net.add("add", net.conv(x), net.conv(x))))
    assert [n.op for n in graph.nodes] == ["conv2d", "conv2d"]
    assert graph.nodes[1].inputs[-1] is graph.nodes[0].outputs[0]


def test_what_others_read_stays() -> None:
    net = Net()
    x = net.given(2, 4, 5, 6)
    y = net.conv(x)
    graph = net.checked(net.add("relu", y), net.add("neg", y))
    assert [n.op for n in graph.nodes] == ["conv2d", "relu", "neg"]
    net = Net()
    y = net.conv(net.given(2, 4, 5, 6))
    assert len(net.checked(y, net.add("relu", y)).nodes) == 2


def test_nothing_follows_a_clamp_and_no_sum_is_broadcast() -> None:
    net = Net()
    x = net.given(2, 4, 5, 6)
    y = net.add("add", net.add("relu", net.conv(x)), x)
    assert [n.op for n in net.checked(y).nodes] == ["conv2d", "add"]
    net = Net()
    y = net.conv(net.given(2, 4, 5, 6))
    assert [n.op for n in net.checked(net.add("add", y, net.given(4, 1, 1))).nodes] == ["conv2d", "add"]
    net = Net()
    y = net.conv(net.given(2, 4, 5, 6))
    assert [n.op for n in net.checked(net.add("add", y, y)).nodes] == ["conv2d", "add"]
