"""Cross entropy and its gradient become one node where that computes the same, and stay two where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder, evaluate
from normengine.passes import differentiate, fuse_loss_grad
from normengine.runtime import compile_graph, set_num_threads

SETTINGS: dict[str, Any] = {"label_smoothing": 0.1, "ignore_index": -100, "reduction": "mean"}
BOTH = ["cross_entropy_with_grad"]
PAIR = ["cross_entropy", "cross_entropy_grad"]


class Losses:
    """A graph of losses of the same logits, target and weight in the making, and what it is given."""

    def __init__(self, *shape: int) -> None:
        rng = np.random.default_rng(0)
        arrays = {
            "logits": rng.standard_normal(shape).astype(np.float32),
            "target": rng.integers(0, shape[1], (shape[0], *shape[2:])),
            "weight": rng.uniform(0.5, 2.0, shape[1]).astype(np.float32),
        }
        self.builder = Builder()
        self.feeds = {self.builder.input(name, Spec.of(array)): array for name, array in arrays.items()}
        self.logits, self.target, self.weight = self.feeds

    def loss(self, *weight: Value, **settings: Any) -> Value:
        return self.builder.add("cross_entropy", self.logits, self.target, *weight, **{**SETTINGS, **settings})

    def grad(self, dloss: Value, *weight: Value, **settings: Any) -> Value:
        settings = {**SETTINGS, **settings}
        return self.builder.add("cross_entropy_grad", dloss, self.logits, self.target, *weight, **settings)

    def checked(self, *outputs: Value) -> Graph:
        """The graph after the pass, which computes what the graph does."""
        graph = self.builder.graph(outputs)
        joined = fuse_loss_grad(graph)
        assert joined.outputs == graph.outputs
        before, after = evaluate(graph, self.feeds), evaluate(joined, self.feeds)
        for value in outputs:
            np.testing.assert_allclose(after[value], before[value], rtol=1e-6, atol=1e-7)
        return joined

    def differentiated(self, loss: Value) -> Graph:
        (dlogits,) = differentiate(self.builder, loss, [self.logits])
        assert dlogits is not None
        return self.checked(loss, dlogits)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3, 5)])
def test_a_loss_and_its_gradient_are_one_node(shape: tuple[int, ...], reduction: str, weighted: bool) -> None:
    losses = Losses(*shape)
    weight = [losses.weight] if weighted else []
    graph = losses.differentiated(losses.loss(*weight, reduction=reduction))
    assert ops(graph) == BOTH
    assert graph.nodes[0].outputs == graph.outputs
    assert not graph.constants


def test_losses_of_other_settings_keep_apart() -> None:
    losses = Losses(5, 3)
    first, second = losses.loss(), losses.loss(losses.weight, label_smoothing=0.0)
    graph = losses.differentiated(losses.builder.add("add", first, second))
    assert ops(graph) == [*BOTH, *BOTH, "add", "add"]


def test_the_same_loss_twice() -> None:
    losses = Losses(5, 3)
    graph = losses.differentiated(losses.builder.add("add", losses.loss(), losses.loss()))
    assert sorted(ops(graph)) == sorted([*PAIR, *BOTH, "add", "add"])


def test_a_gradient_before_its_loss() -> None:
    losses = Losses(5, 3)
    dlogits = losses.grad(losses.builder.constant(1.0))
    twice = losses.builder.add("add", dlogits, dlogits)
    assert ops(losses.checked(losses.loss(), twice)) == [*BOTH, "add"]


def test_a_scaled_loss_stays() -> None:
    losses = Losses(5, 3)
    loss = losses.builder.add("mul", losses.loss(), losses.builder.constant(0.5))
    assert set(PAIR) <= set(ops(losses.differentiated(loss)))


@pytest.mark.parametrize("constant", [True, False])
def test_another_gradient_of_the_loss_stays(constant: bool) -> None:
    losses = Losses(5, 3)
    if constant:
        dloss = losses.builder.constant(2.0)
    else:
        dloss = losses.builder.input("dloss", Spec(()))
        losses.feeds[dloss] = np.ones((), np.float32)
    assert ops(losses.checked(losses.loss(), losses.grad(dloss))) == PAIR


def test_losses_that_are_not_reduced_stay() -> None:
    losses = Losses(5, 3)
    ones = losses.builder.constant(np.ones(5, np.float32))
    graph = losses.checked(losses.loss(reduction="none"), losses.grad(ones, reduction="none"))
    assert ops(graph) == PAIR


@pytest.mark.parametrize("other", [{"label_smoothing": 0.2}, {"ignore_index": 1}, {"reduction": "sum"}])
def test_a_gradient_of_other_settings_stays(other: dict[str, Any]) -> None:
    losses = Losses(5, 3)
    assert ops(losses.checked(losses.loss(), losses.grad(losses.builder.constant(1.0), **other))) == PAIR


def test_a_gradient_of_other_weights_stays() -> None:
    losses = Losses(5, 3)
    assert ops(losses.checked(losses.loss(), losses.grad(losses.builder.constant(1.0), losses.weight))) == PAIR


def test_a_loss_alone_stays() -> None:
    losses = Losses(5, 3)
    assert ops(losses.checked(losses.loss())) == ["cross_entropy"]


def called(program: Any) -> list[str]:
    return [call.op for call in program.plan.calls if call.op.startswith("cross_entropy")]


def trained(without: tuple[str, ...] = (), **settings: Any) -> tuple[list[float], dict[str, np.ndarray], Any]:
    """The losses of some steps, the state after them, and the program."""
    ne.manual_seed(1)
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((300, 20)).astype(np.float32), rng.integers(0, 60, 300)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 60))
    loss = nn.CrossEntropyLoss(**settings)
    step = ne.TrainStep(model, loss, optim.SGD(model.parameters(), lr=0.1), without_passes=without)
    return [step(x, y) for _ in range(3)], model.state_dict(), step.program


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reduction": "sum", "ignore_index": 3},
        {"label_smoothing": 0.2, "weight": np.linspace(0.5, 2.0, 60, dtype=np.float32)},
    ],
)
def test_a_step_makes_both_in_one_call(settings: dict[str, Any]) -> None:
    losses, state, program = trained(**settings)
    expected, expected_state, apart = trained(("fuse_loss_grad",), **settings)
    assert called(program) == BOTH and called(apart) == PAIR
    assert "cross_entropy_with_grad_f32_numba" in str(program)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for name, array in state.items():
        np.testing.assert_allclose(array, expected_state[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_loss_is_known_before_anything_is_updated() -> None:
    _, _, program = trained()
    before = program.plan.calls[: program.plan.guard]
    assert BOTH[0] in [call.op for call in before]
    assert all(call.work.kind != "update" for call in before)


def test_threads_change_no_bit() -> None:
    results = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        losses, state, _ = trained(label_smoothing=0.1)
        results.append((losses, [array.tobytes() for array in state.values()]))
    assert results[0] == results[1] == results[2]


def test_both_can_leave_the_graph() -> None:
    losses = Losses(70, 3)
    graph = losses.builder
    loss = losses.loss()
    dlogits = losses.grad(graph.constant(1.0))
    whole = graph.graph([dlogits, loss])
    feeds = {value.name: array for value, array in losses.feeds.items()}
    program = compile_graph(whole)
    assert called(program) == BOTH
    values = evaluate(whole, losses.feeds)
    for result, value in zip(program.run(feeds), whole.outputs, strict=True):
        np.testing.assert_allclose(result, values[value], rtol=1e-5, atol=1e-7)
