"""Tracing: what the graph holds, under which names, and forward code as people write it for PyTorch."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import normengine as torch
import normengine.nn as nn
import normengine.nn.functional as F
from normengine.graph import Graph, Spec
from normengine.nn.trace import Trace, trace
from normengine.ops import OperatorError


def traced(model: nn.Module, *shapes: tuple[int, ...]) -> Trace:
    return trace(model, [(f"x{i}", Spec(s)) for i, s in enumerate(shapes)], [("", model)])


def graph_of(found: Trace) -> Graph:
    return found.builder.graph(found.outputs)


def ops(found: Trace) -> list[str]:
    return [node.op for node in graph_of(found).nodes]


class Block(nn.Module):
    """A residual block with squeeze and excitation, its settings decided by Python."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, drop: float = 0.0) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)])
        for _ in range(1):
            self.convs.append(nn.Conv2d(planes, planes, 3, padding=1, bias=False))
        self.norms = nn.ModuleList([nn.BatchNorm2d(planes) for _ in self.convs])
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
        self.fc = nn.Conv2d(planes, planes, 1)
        self.drop = drop

    def forward(self, x: Any) -> Any:
        identity = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = norm(conv(x))
            if i < len(self.convs) - 1:
                x = F.relu(x, inplace=True)
        gate = torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))
        x = x * gate
        if self.drop > 0:
            x = F.dropout(x, self.drop, self.training)
        if self.downsample is not None:
            identity = self.downsample(identity)
        x += identity
        return F.relu(x)


class Ported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding="same")
        self.blocks = nn.Sequential(Block(8, 8), Block(8, 12, stride=2, drop=0.1))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]))
        self.classifier = nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        n, c, h, w = x.shape
        assert c == 3
        assert h % 2 == 0
        x = self.stem(x - self.mean.view(1, -1, 1, 1))
        x = self.blocks(x * x.sigmoid())
        a, b = torch.chunk(x, 2, dim=1)
        x = torch.cat([a, b * self.alpha, a + b], dim=1).mean(dim=(2, 3))
        x = torch.cat((x, x[:, :6]), 1).view(x.size(0), -1)
        return self.classifier(x)


def test_ported_forward_runs_and_names_its_state() -> None:
    model = Ported()
    found = traced(model, (4, 3, 8, 8))
    assert [v.shape for v in found.outputs] == [(4, 5)]
    assert found.counter is not None
    names = set(dict(model.named_parameters())) | set(dict(model.named_buffers()))
    assert set(found.builder.state) == names
    assert set(found.parameters) == set(dict(model.named_parameters()))
    assert set(found.buffers) == set(dict(model.named_buffers()))
    state = model.state_dict()
    assert all(array is not None and np.shares_memory(array, state[key]) for key, array in found.state().items())
    layers = {node.layer for node in graph_of(found).nodes}
    assert {"stem", "blocks.1.convs.0", "blocks.1.norms.1", "blocks.0", "classifier"} <= layers
    assert traced(model.eval(), (4, 3, 8, 8)).counter is None


def test_ported_forward_runs_on_arrays(references: None) -> None:
    model = Ported().eval()
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    whole = model(x)
    assert whole.shape == (4, 5)
    np.testing.assert_allclose(model(x[:2]), whole[:2], rtol=1e-5, atol=1e-6)


def test_shared_modules_are_one_state_value_under_the_first_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    model.append(model[0])
    found = traced(model, (2, 3))
    assert list(found.builder.state) == ["0.weight", "0.bias"]
    assert ops(found) == ["linear", "relu", "linear"]
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert list(traced(tied, (2, 3)).builder.state) == ["0.weight", "0.bias", "1.bias"]


def test_a_batch_norm_used_twice_remembers_both_batches(references: None) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: Any, y: Any) -> Any:
            return self.norm(x) + self.norm(y)

    model, reference = Twice(), nn.BatchNorm1d(2)
    x, y = np.random.default_rng(0).standard_normal((2, 6, 2))
    model(x, y)
    reference(x)
    reference(y)
    assert model.norm.num_batches_tracked == 2
    np.testing.assert_allclose(model.norm.running_var, reference.running_var, rtol=1e-6)
    np.testing.assert_allclose(model.norm.running_mean, reference.running_mean, rtol=1e-6)


def test_frozen_parameters_are_buffers_of_the_trace() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    found = traced(model, (1, 2))
    assert found.parameters == {}
    assert set(found.buffers) == {"weight", "bias"}
    assert found.state()["weight"] is model.weight.data


def test_what_no_module_registered_takes_part_too() -> None:
    hidden, free = nn.Linear(2, 2), nn.Parameter(np.ones(2))
    norm = nn.BatchNorm1d(2)

    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            return norm(hidden(x)) * free + norm(x) * free

    found = traced(Model(), (3, 2))
    assert len(found.parameters) == 5
    assert {id(p) for p in found.parameters.values()} == {
        id(p) for p in (*hidden.parameters(), *norm.parameters(), free)
    }
    assert len(found.buffers) == 3


def test_buffers_can_be_assigned_in_forward(references: None) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(2))

        def forward(self, x: Any) -> Any:
            self.seen = self.seen * 0.5 + x.mean(0)
            self.seen += 1
            return x + self.seen

    model = Counting()
    array = model.seen
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert model(x).tolist() == [[4, 6], [6, 8]]
    assert model.seen is array
    assert array.tolist() == [3, 4]
    model(x)
    assert array.tolist() == [4.5, 6]


def test_outputs_keep_their_structure(references: None) -> None:
    class Many(nn.Module):
        def forward(self, x: Any, scale: float = 2.0, others: tuple[Any, ...] = ()) -> Any:
            return {"a": x * scale, "b": [x, (x + 1, None, "text")], "c": sum(others, x)}

    x = np.ones((1, 2))
    result = Many()(x, scale=3.0, others=(x, x * 4))
    assert result["a"].tolist() == [[3, 3]]
    assert isinstance(result["b"], list)
    assert result["b"][0].tolist() == [[1, 1]]
    assert result["b"][1][0].tolist() == [[2, 2]]
    assert result["b"][1][1:] == (None, "text")
    assert result["c"].tolist() == [[6, 6]]


def test_gradients_stop_where_they_are_told_to() -> None:
    def count(function: Any) -> int:
        found = trace(function, [("x", Spec((2, 3)))], [])
        return [node.op for node in found.builder.nodes].count("detach")

    def inner(x: Any) -> Any:
        with torch.no_grad():
            y = x * 2
            with torch.no_grad():
                z = y + 1
            z = z.relu()
        return z * x

    assert count(lambda x: x.detach() * x) == 1
    assert count(inner) == 3
    assert count(torch.no_grad()(lambda x: x * 2)) == 1
    with torch.no_grad():
        assert count(lambda x: x * 2) == 0


def test_dropouts_count_themselves() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0), nn.Dropout2d(0.5), nn.GaussianDropout(0.5))
    nodes = list(graph_of(traced(model, (2, 3, 4, 4))).nodes)
    assert [n.attrs["layer"] for n in nodes] == [0, 1, 2]
    assert [n.attrs["per_channel"] for n in nodes] == [False, True, False]


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (nn.Sequential(nn.Conv2d(32, 64, 3)), (2, 24, 8, 8),
         r"Conv2d '0': input has 24 channels, weight expects 32 \(weight shape \(64, 32, 3, 3\)\)"),
        (nn.Conv2d(3, 4, 3), (3, 8, 8), r"Conv2d: input must be \(N, C, H, W\), got shape \(3, 8, 8\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), (2, 3, 4),
         r"Linear '1': input has 12 features \(shape \(2, 12\)\), weight expects 7 \(weight shape \(2, 7\)\)"),
        (nn.Sequential(nn.BatchNorm2d(4)), (2, 3, 4, 4),
         r"BatchNorm2d '0': input has 3 channels \(shape \(2, 3, 4, 4\)\), num_features is 4"),
        (nn.BatchNorm2d(4), (2, 4), r"BatchNorm2d: input must be \(N, C, H, W\), got shape \(2, 4\)"),
        (nn.BatchNorm1d(4), (2, 4, 1, 1), r"BatchNorm1d: input must be \(N, C\) or \(N, C, L\), got shape"),
        (nn.Sequential(nn.BatchNorm1d(4)), (1, 4),
         r"BatchNorm1d '0': expected more than 1 value per channel when training, got input shape \(1, 4\)"),
        (nn.Sequential(nn.Dropout2d(0.5)), (2, 4), r"Dropout2d '0': input must be \(N, C, H, W\), got shape \(2, 4\)"),
        (nn.AdaptiveAvgPool2d(1), (2, 4), r"AdaptiveAvgPool2d: input must be \(N, C, H, W\)"),
        (nn.Sequential(nn.MaxPool2d(2, padding=2)), (2, 3, 8, 8),
         r"MaxPool2d '0': padding \(2, 2\) must be at most half of kernel_size \(2, 2\)"),
    ],
)  # fmt: skip
def test_errors_name_layer_and_shapes(model: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        traced(model, shape)


class Viewed(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.view(3, 5)


class Refusing(nn.Module):
    def forward(self, x: Any) -> Any:
        raise LookupError("as it was raised")


def test_other_errors_in_forward_name_the_layer_too() -> None:
    with pytest.raises(OperatorError, match=r"Viewed '1.0': a tensor of shape \(2, 4\) \(8 elements\) cannot"):
        traced(nn.Sequential(nn.ReLU(), nn.Sequential(Viewed())), (2, 4))
    with pytest.raises(OperatorError, match="Viewed: a tensor of shape"):
        traced(Viewed(), (2, 4))
    with pytest.raises(LookupError, match="^'?as it was raised'?$"):
        traced(nn.Sequential(Refusing()), (2, 4))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_integer_images_are_refused_with_the_fix(dtype: str) -> None:
    images = np.zeros((2, 1, 8, 8), dtype)
    with pytest.raises(
        OperatorError,
        match=rf"Conv2d '0': conv2d needs float32, got {dtype} of shape \(2, 1, 8, 8\); convert images with x.astype",
    ):
        nn.Sequential(nn.Conv2d(1, 2, 3))(images)
    with pytest.raises(OperatorError, match=rf"Linear '1': linear needs float32, got {dtype} of shape \(2, 64\)"):
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2))(images)


def test_what_forward_assigns_is_as_before_when_the_trace_fails_or_nothing_will_run() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", np.zeros(2, np.float32))
            self.register_buffer("empty", None)
            self.plain, self.number = np.zeros((4, 2), np.float32), 3

        def forward(self, x: Any) -> Any:
            self.seen = self.empty = self.plain = self.number = self.new = x
            assert self.seen.shape == self.new.shape == (4, 2)
            return x @ x if self.fails else x

    module = Keeps()
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
    for module.fails in (True, False):
        with pytest.raises(ValueError) if module.fails else contextlib.nullcontext():
            trace(module, [("x", Spec((4, 2)))], [("", module)], live=module.fails)
        now = {key: value for key, value in vars(module).items() if key != "fails"}
        assert now == before and now["plain"] is before["plain"] and now["_buffers"] == before["_buffers"]
        assert module.state_dict().keys() == {"seen"}


def test_updates_go_to_buffers_only() -> None:
    with pytest.raises(OperatorError, match="only a buffer that was registered with register_buffer can be updated"):
        trace(lambda x: F.batch_norm(x, x.mean(0), x.mean(0), training=True), [("x", Spec((4, 2)))], [])
