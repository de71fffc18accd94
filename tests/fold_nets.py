"""Small networks with batch norms, and what folding made of them."""

from __future__ import annotations

import numpy as np

from normengine.graph import Graph, Spec
from normengine.ops import Builder, evaluate
from normengine.passes.fold_batchnorm import Folding, fold_batchnorm

RNG = np.random.default_rng(0)
WINDOW = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def statistics(channels):
    """weight, bias, running_mean, running_var."""
    return [draw(channels), draw(channels), draw(channels), RNG.uniform(0.1, 2.0, channels).astype(np.float32)]


class Net:
    """A graph in the making: each method adds a layer on the last value, or on ``x``."""

    def __init__(self, *shape):
        self.builder = Builder()
        self.x = self.value = self.builder.input("x", Spec(shape))

    def layer(self, op, name, *arrays, x=None, **attrs):
        parts = ("weight", "bias") if len(arrays) < 4 else ("weight", "bias", "running_mean", "running_var")
        constants = [self.builder.constant(a, f"{name}.{part}") for a, part in zip(arrays, parts)]
        with self.builder.at(name):
            self.value = self.builder.add(op, x or self.value, *constants, **attrs)
        return self

    def conv(self, name, weight, *bias, x=None, **attrs):
        return self.layer("conv2d", name, weight, *bias, x=x, **{**WINDOW, **attrs})

    def linear(self, name, weight, *bias):
        return self.layer("linear", name, weight, *bias)

    def norm(self, name, arrays=None, eps=1e-5, x=None):
        channels = (x or self.value).shape[1]
        return self.layer("batch_norm", name, *(arrays or statistics(channels)), x=x, eps=eps)

    def graph(self, *outputs):
        return self.builder.graph(outputs or (self.value,))


def folded(graph: Graph, tolerance=1e-5) -> tuple[Graph, tuple[Folding, ...]]:
    """The folded graph, after it gave the same outputs."""
    result, found = fold_batchnorm(graph)
    x = draw(*graph.inputs[0].shape)
    before, after = evaluate(graph, {graph.inputs[0]: x}), evaluate(result, {result.inputs[0]: x})
    for a, b in zip(graph.outputs, result.outputs, strict=True):
        assert np.abs(before[a] - after[b]).max() <= tolerance * max(1.0, np.abs(before[a]).max())
    return result, found


def operators(graph):
    return [node.op for node in graph.nodes]


def constants(graph):
    return {value.name: array for value, array in graph.constants.items()}
