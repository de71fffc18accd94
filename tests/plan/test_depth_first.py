"""Segments of nodes that treat images one by one: long ones, in an order in which all can run, with nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from normengine.graph import Graph, Node, Spec, Value
from normengine.ops import Builder
from normengine.passes import decompose, differentiate, expand_norm_grad_sums, fuse, rematerialize
from normengine.plan.depth_first import Segment, image_outputs, in_segments, sums_images
from normengine.plan.group_size import Joining, group_size

BATCH = 4
WINDOW = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}


def always(segment: Sequence[Node], node: Node) -> bool:
    return True


def prepared(b: Builder, *outputs: Value) -> Graph:
    return rematerialize(fuse(expand_norm_grad_sums(decompose(b.graph(list(outputs))))))


def conv_norm_relu(b: Builder, x: Value, channels: int) -> Value:
    weight = b.input("weight", Spec((channels, x.shape[1], 3, 3)))
    scale, shift = (b.input(name, Spec((channels,))) for name in ("scale", "shift"))
    y = b.add("conv2d", x, weight, **WINDOW)
    return b.add("relu", b.add_multi("batch_norm_train", y, scale, shift, eps=1e-5)[0])


def training(layers: int) -> Graph:
    """A step of a network of convolutions, each with a batch norm and a ReLU: the loss and the weights' gradients."""
    b = Builder()
    y = b.input("x", Spec((BATCH, 3, 6, 6)))
    for _ in range(layers):
        y = conv_norm_relu(b, y, 5)
    loss = b.add("reduce_sum", b.add("mul", y, y), axes=(0, 1, 2, 3), keepdims=False)
    gradients = differentiate(b, loss, [v for v in b.inputs if v.name == "weight"])
    return prepared(b, loss, *(g for g in gradients if g is not None))


def ops(segment: Segment) -> list[str]:
    return [n.op for n in segment.nodes]


def image_segments(segments: Sequence[Segment]) -> list[list[str]]:
    return [ops(segment) for segment in segments if segment.images and len(segment.nodes) > 1]


def assert_in_order(graph: Graph, segments: Sequence[Segment]) -> None:
    """Everything is made before it is read, sums over the batch in a segment before; no result is missing."""
    known = {*graph.inputs, *graph.state, *graph.constants}
    for segment in segments:
        sums: set[Value] = set()
        for node in segment.nodes:
            assert known.issuperset(node.inputs), node
            images = image_outputs(node) if segment.images else node.outputs
            known.update(images)
            sums.update(set(node.outputs) - set(images))
        known |= sums
    assert known.issuperset(graph.results())


def test_a_layers_normalization_goes_with_the_next_convolution_and_its_statistics() -> None:
    graph = training(3)
    segments = in_segments(graph, BATCH, always)
    assert_in_order(graph, segments)
    assert image_segments(segments)[:3] == [["conv2d", "batch_stats"]] + [["chain", "conv2d", "batch_stats"]] * 2


def test_a_layers_gradients_go_together_and_read_no_normalized_values() -> None:
    graph = training(3)
    segments = in_segments(graph, BATCH, always)
    backward = [
        segment
        for segment in segments
        if segment.images and "conv2d_weight_grad" in ops(segment) and len(segment.nodes) > 1
    ]
    assert len(backward) == 3
    convolved = {v for n in graph.nodes if n.op == "conv2d" for v in n.outputs} | set(graph.inputs)
    for segment in backward[:2]:
        made = {v for n in segment.nodes for v in n.outputs}
        weight_grad = next(n for n in segment.nodes if n.op == "conv2d_weight_grad")
        assert made.issuperset(weight_grad.inputs)
        read = {v for n in segment.nodes for v in n.inputs if len(v.shape) == 4 and v.shape[0] == BATCH} - made
        gradients = {v for v in read if v not in convolved}
        assert len(gradients) == 1 and len(read) == 3


def test_every_node_is_in_one_run() -> None:
    graph = training(2)
    nodes = [node for segment in in_segments(graph, BATCH, always) for node in segment.nodes]
    made = [v for node in nodes for v in node.outputs]
    assert len(made) == len(set(made)) and set(made) >= {v for node in graph.nodes for v in node.outputs}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_joins_the_order_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = training(4)
    segments = in_segments(graph, BATCH, lambda segment, node: bool(rng.random() < 0.8))
    assert_in_order(graph, segments)


def test_another_batch_has_no_runs() -> None:
    graph = training(1)
    assert not any(segment.images for segment in in_segments(graph, BATCH + 1, always))


def test_statistics_end_a_run_for_those_who_read_them() -> None:
    graph = training(2)
    for segment in in_segments(graph, BATCH, always):
        sums = {v for n in segment.nodes if sums_images(n) for v in n.outputs}
        assert segment.images or not sums or len(segment.nodes) == 1
        assert not any(v in sums for n in segment.nodes for v in n.inputs)


def normalizing(groups: int, images: int, batch: int = BATCH) -> Graph:
    """A step of two convolutions, each with a normalization by the moments of groups of channels and images."""
    b = Builder()
    y = b.input("x", Spec((batch, 3, 6, 6)))
    for _ in range(2):
        y = b.add("conv2d", y, b.input("weight", Spec((4, y.shape[1], 3, 3))), **WINDOW)
        mean, var = b.add_multi("merge_moments", *b.add_multi("moments", y), groups=groups, images=images)
        y = b.add("relu", b.add("normalize", y, mean, var, eps=1e-5))
    loss = b.add("reduce_sum", b.add("mul", y, y), axes=(0, 1, 2, 3), keepdims=False)
    gradients = differentiate(b, loss, [v for v in b.inputs if v.name == "weight"])
    return prepared(b, loss, *(g for g in gradients if g is not None))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_what_normalizes_each_image_alone_goes_in_one_run(groups: int) -> None:
    graph = normalizing(groups, 1)
    segments = in_segments(graph, BATCH, always)
    assert_in_order(graph, segments)
    (run,) = image_segments(segments)
    assert run.count("moments") == 2 and run.count("conv2d_weight_grad") == 2


def test_images_that_are_normalized_together_are_in_one_group() -> None:
    batch, choice = 64, (["numba"], {})
    for images, together in ((1, True), (2, True), (4, True), (8, False), (64, False)):
        graph = normalizing(4, images, batch)
        joins = Joining(batch, *choice)
        means = [n for n in graph.nodes if n.op == "group_mean"]
        assert [joins((), n) for n in means] == [together] * len(means), images
    node = Node("group_mean", means[0].inputs, means[0].outputs, {"groups": 4, "images": 2}, "")
    assert group_size([node], batch) == 4, "a group may have several parts"
