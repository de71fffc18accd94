"""Elementwise nodes between reshapes: which are lifted, and that results stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder, evaluate
from normengine.passes import decompose
from normengine.passes.lift_reshapes import lift_reshapes

WINDOW = {"stride": (1,), "padding": (1, 1), "dilation": (1,), "groups": 1}
POOL = {"kernel_size": (2,), "stride": (2,), "padding": (0, 0), "dilation": (1,), "ceil_mode": False}


def conv(builder: Builder, x: Value) -> Value:
    weight = np.random.default_rng(x.shape[1]).standard_normal((4, x.shape[1], 3)).astype(np.float32)
    return builder.add("conv1d", x, builder.constant(weight), **WINDOW)


def same(graph: Graph) -> Graph:
    """The lifted graph, which computes the same."""
    made = lift_reshapes(graph)
    rng = np.random.default_rng(0)
    feeds = {v: rng.standard_normal(v.shape) for v in graph.inputs}
    before, after = evaluate(graph, feeds), evaluate(made, feeds)
    for was, now in zip(graph.outputs, made.outputs, strict=True):
        np.testing.assert_array_equal(before[was], after[now])
    return made


def test_signals_stay_images_from_layer_to_layer() -> None:
    builder = Builder()
    x = builder.input("x", Spec((2, 3, 8)))
    y = builder.add("max_pool1d", builder.add("relu", conv(builder, x)), **POOL)
    scale = builder.constant(np.arange(1.0, 5.0, dtype=np.float32).reshape(4, 1))
    y = builder.add("add", conv(builder, builder.add("mul", y, scale)), y)
    y = builder.add("relu", builder.add("mul", y, builder.constant(2.0)))
    made = same(decompose(builder.graph([conv(builder, y)])))
    signals = [n for n in made.nodes if len(n.outputs[0].shape) == 3 and made.constants.keys().isdisjoint(n.inputs)]
    assert [n.op for n in signals] == ["reshape"] and signals[0].outputs == made.outputs
    assert [n.op for n in made.nodes if n.op in ("relu", "mul", "add")] == ["relu", "mul", "add", "mul", "relu"]


def test_what_is_read_as_a_signal_stays_one() -> None:
    builder = Builder()
    x = builder.input("x", Spec((2, 3, 8)))
    y = builder.add("relu", conv(builder, x))
    total = builder.add("reduce_sum", y, axes=(2,), keepdims=False)
    made = same(decompose(builder.graph([conv(builder, y), total])))
    assert next(n for n in made.nodes if n.op == "relu").outputs[0].shape == (2, 4, 8)
    builder = Builder()
    y = builder.add("relu", conv(builder, builder.input("x", Spec((2, 3, 8)))))
    assert same(decompose(builder.graph([y, conv(builder, y)]))).outputs[0].shape == (2, 4, 8)


def test_reshapes_that_undo_each_other_go() -> None:
    builder = Builder()
    x = builder.input("x", Spec((2, 1, 1, 5)))
    y = builder.add("reshape", builder.add("reshape", x, shape=(2, 1, 5)), shape=(2, 1, 1, 5))
    assert [n.op for n in same(builder.graph([builder.add("relu", y)])).nodes] == ["relu"]
    other = builder.add("reshape", builder.add("reshape", x, shape=(2, 5)), shape=(2, 1, 5))
    assert len(same(builder.graph([builder.add("relu", other)])).nodes) == 3


def test_a_graph_without_such_reshapes_is_left_alone() -> None:
    builder = Builder()
    x = builder.input("x", Spec((2, 3, 4)))
    graph = builder.graph([builder.add("relu", builder.add("reshape", x, shape=(6, 4)))])
    assert lift_reshapes(graph) is graph


@pytest.mark.parametrize("norm", [False, True])
def test_training_is_the_same_without_it(norm: bool) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((4, 3, 12)).astype(np.float32), np.arange(4) % 3
    found = []
    for without in ((), ("lift_reshapes",)):
        ne.manual_seed(0)
        layers = [nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.ReLU()]
        model = nn.Sequential(*layers, nn.MaxPool1d(2), nn.Conv1d(8, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(16, 3))
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), without_passes=without)
        losses = [step(x, y) for _ in range(3)]
        found.append((losses, model.state_dict()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for name, array in found[0][1].items():
        np.testing.assert_allclose(array, found[1][1][name], rtol=1e-4, atol=1e-5, err_msg=name)
