"""Arrays with PyTorch's methods, as constructors of ported models use them."""

from __future__ import annotations

import json
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normengine as ne
from normengine import nn
from normengine.nn import functional as F


def test_view_takes_a_shape_or_what_numpy_takes() -> None:
    array = ne.arange(6)
    assert array.view(2, -1).tolist() == array.view((2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(array.view(3, 2), array)
    assert array.view(np.int32).shape == (12,)
    assert type(array.view(np.ndarray)) is np.ndarray
    with pytest.raises(ValueError, match="cannot reshape array of size 6"):
        array.view(4, 2)


def test_methods_of_tensors() -> None:
    array = ne.arange(6).view(2, 3)
    assert (array.numel(), array.dim()) == (6, 2)
    assert array.float().dtype == np.float32
    assert array.float().long().dtype == np.int64
    assert array.unsqueeze(0).shape == (1, 2, 3)
    assert array.unsqueeze(-1).shape == (2, 3, 1)
    assert array.permute(1, 0).shape == (3, 2)
    assert ne.ones(1, 3).expand(2, -1).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert array.detach().cpu().contiguous() is array
    assert not np.shares_memory(array.clone(), array)
    assert type(array.numpy()) is np.ndarray
    assert [x.item() for x in ne.linspace(0, 1, 3)] == [0, 0.5, 1]


def test_buffers_and_inputs_made_of_them() -> None:
    class Normalize(nn.Module):
        def __init__(self, mean: list[float], std: list[float]) -> None:
            super().__init__()
            self.register_buffer("mean", ne.tensor(mean).view(1, -1, 1, 1))
            self.register_buffer("std", ne.tensor(std).view(1, -1, 1, 1))

        def forward(self, x: ne.Tensor) -> ne.Tensor:
            return (x - self.mean) / self.std * ne.ones(1, 1, 1, 1)

    model = Normalize([1.0, 2.0], [0.5, 0.25])
    assert {key: type(array) for key, array in model.state_dict().items()} == {"mean": np.ndarray, "std": np.ndarray}
    y = model(ne.ones(1, 2, 1, 1))
    assert type(y) is type(model.mean) is type(ne.ones(1))
    assert y.ravel().tolist() == [0, -4]


X = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)


def made() -> Any:
    return ne.tensor(X)


SAME: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = {
    "sum": (lambda a: a.sum(dim=1, keepdim=True), lambda x: x.sum(1, keepdims=True)),
    "sum, two places": (lambda a: a.sum((0, 2), True), lambda x: x.sum((0, 2), keepdims=True)),
    "mean of a list": (lambda a: a.mean(dim=[0, 1]), lambda x: x.mean((0, 1))),
    "NumPy's mean": (lambda a: a.mean(axis=1), lambda x: x.mean(1)),
    "var": (lambda a: a.var(dim=1), lambda x: x.var(1, ddof=1)),
    "biased var": (lambda a: a.var(dim=1, unbiased=False), lambda x: x.var(1)),
    "var of a correction": (lambda a: a.var(dim=(0, 1), correction=2), lambda x: x.var((0, 1), ddof=2)),
    "NumPy's var": (lambda a: a.var(1), lambda x: x.var(1)),
    "std": (lambda a: a.std(dim=0, keepdim=True), lambda x: x.std(0, ddof=1, keepdims=True)),
    "argmax": (lambda a: a.argmax(dim=1, keepdim=True), lambda x: x.argmax(1, keepdims=True)),
    "argmax by place": (lambda a: a.argmax(1), lambda x: x.argmax(1)),
    "max's values": (lambda a: a.max(dim=2).values, lambda x: x.max(2)),
    "max's indices": (lambda a: a.max(dim=2)[1], lambda x: x.argmax(2)),
    "min": (lambda a: a.min(dim=2, keepdim=True)[0], lambda x: x.min(2, keepdims=True)),
    "NumPy's max": (lambda a: a.max(1), lambda x: x.max(1)),
    "topk": (lambda a: a.topk(2, dim=1)[0], lambda x: -np.sort(-x, 1)[:, :2]),
    "smallest": (lambda a: a.topk(2, largest=False).values, lambda x: np.sort(x, 2)[..., :2]),
    "gather": (lambda a: a.gather(1, ne.zeros(3, 1, 5).long()), lambda x: x[:, :1]),
    "index_select": (lambda a: a.index_select(1, ne.tensor([2, 0])), lambda x: x[:, [2, 0]]),
    "norm": (lambda a: a.norm(), lambda x: np.sqrt((x**2).sum())),
    "norm of order 1": (lambda a: a.norm(1, dim=1), lambda x: np.abs(x).sum(1)),
    "largest norm": (lambda a: a.norm(float("inf")), lambda x: np.abs(x).max()),
    "compared": (lambda a: a.gt(0).eq(a >= 0).all(), lambda x: True),
    "arithmetic": (lambda a: a.add(2, alpha=3).mul(2).sub(a).div(4).neg(), lambda x: -(((x + 6) * 2 - x) / 4)),
    "lerp": (lambda a: a.lerp(ne.ones(5), 0.25), lambda x: 0.75 * x + 0.25),
    "clamp": (lambda a: a.clamp(min=-1, max=0.5), lambda x: x.clip(-1, 0.5)),
    "functions": (lambda a: a.abs().sqrt().log().exp().rsqrt().pow(2), lambda x: 1 / np.sqrt(np.abs(x))),
    "shapes": (
        lambda a: a.view(3, -1).t().flatten(0).unsqueeze(0).squeeze(dim=0),
        lambda x: x.reshape(3, 20).T.ravel(),
    ),
    "flatten": (lambda a: a.flatten(1), lambda x: x.reshape(3, 20)),
    "repeat": (lambda a: a.repeat(1, 2, 1), lambda x: np.tile(x, (1, 2, 1))),
    "NumPy's repeat": (lambda a: a.repeat(2, 1), lambda x: x.repeat(2, 1)),
    "expand": (lambda a: a[:1].expand_as(a), lambda x: np.broadcast_to(x[:1], x.shape)),
    "masked": (lambda a: a.masked_fill(a > 0, -1), lambda x: np.where(x > 0, -1, x)),
    "data": (lambda a: a.data * 2, lambda x: x * 2),
}


@pytest.mark.parametrize("ours, numpys", SAME.values(), ids=SAME)
def test_methods_compute_what_pytorchs_do(ours: Callable[..., Any], numpys: Callable[..., Any]) -> None:
    found, want = ours(made()), numpys(X)
    assert np.shape(found) == np.shape(want)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


IN_PLACE: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = {
    "operators": (lambda p: operator.itruediv(operator.iadd(p, 1), 2), lambda x: (x + 1) / 2),
    "more operators": (lambda p: operator.imul(operator.isub(p, 1), 2), lambda x: (x - 1) * 2),
    "add_": (lambda p: p.add_(ne.ones(5), alpha=0.5), lambda x: x + 0.5),
    "sub_": (lambda p: p.sub_(1, alpha=2), lambda x: x - 2),
    "mul_": (lambda p: p.mul_(3), lambda x: 3 * x),
    "clamp_": (lambda p: p.clamp_(-0.5, 0.5), lambda x: x.clip(-0.5, 0.5)),
    "lerp_": (lambda p: p.lerp_(ne.zeros(5), 0.5), lambda x: x / 2),
    "zero_": (lambda p: p.zero_(), np.zeros_like),
    "fill_": (lambda p: p.fill_(2), lambda x: np.full_like(x, 2)),
    "copy_": (lambda p: p.copy_(X + 1), lambda x: x + 1),
    "addcmul_": (lambda p: p.addcmul_(X, X, value=2), lambda x: x + 2 * x * x),
    "a part": (lambda p: operator.setitem(p, 0, 7) or p, lambda x: np.concatenate([np.full((1, 4, 5), 7), x[1:]])),
    "a masked part": (lambda p: operator.setitem(p, X > 0, 0) or p, lambda x: np.minimum(x, 0)),
}


@pytest.mark.parametrize("change, numpys", IN_PLACE.values(), ids=IN_PLACE)
def test_what_is_changed_in_place_changes(change: Callable[..., Any], numpys: Callable[..., Any]) -> None:
    parameter, array = nn.Parameter(X), made()
    memory = parameter.data
    with ne.no_grad():
        assert change(parameter) is parameter
        assert change(array) is array
    assert parameter.data is memory
    for changed in (memory, array):
        np.testing.assert_allclose(changed, numpys(X), rtol=1e-6, atol=1e-6)


def test_a_parameter_is_not_changed_in_forward() -> None:
    changes: list[Callable[[Any], Any]] = [
        lambda w: w.mul_(2), lambda w: operator.imul(w, 2), lambda w: operator.setitem(w, 0, 1), lambda w: w.zero_()
    ]  # fmt: skip

    class Scaled(nn.Linear):
        change = changes[0]

        def forward(self, x: Any) -> Any:
            type(self).change(self.weight)
            return super().forward(x)

    model = Scaled(5, 2)
    before = model.weight.data.copy()
    for change in changes:
        Scaled.change = staticmethod(change)  # type: ignore[assignment]
        with pytest.raises(ValueError, match=r"Scaled: .*: forward\(\) changes no parameter; compute a new tensor"):
            model(X[0])
    np.testing.assert_array_equal(model.weight.data, before)


def test_sizes_and_numbers() -> None:
    array = made()
    assert array.size == 60 and array.size() == (3, 4, 5) and array.size(-1) == 5 and np.size(array) == 60
    labels = ne.tensor([1, 2])
    assert labels.size(0) == 2
    outputs = nn.Linear(5, 3)(X[0])
    assert (outputs.argmax(dim=1, keepdim=True).eq(ne.tensor([[0]] * 4))).sum().item() in range(5)
    assert not isinstance(outputs.data, memoryview)
    outputs.data = outputs * 0
    assert not outputs.any()
    assert array.to("cpu").to(np.int64).dtype == np.int64 and array.to(array.device) is array
    assert array.scatter_(1, ne.zeros(3, 1, 5).long(), 9.0)[:, 0].eq(9).all()
    assert set(np.unique(ne.zeros(50).bernoulli_(0.5))) == {0, 1}


def test_a_step_gives_a_number_with_the_methods_of_one() -> None:
    model = nn.Linear(5, 3)
    loss = ne.TrainStep(model, nn.CrossEntropyLoss(), ne.optim.SGD(model.parameters(), 0.1))(X[0], np.arange(4) % 3)
    assert isinstance(loss, float) and type(loss.item()) is float and loss.detach().cpu().item() == loss
    assert json.loads(json.dumps({"loss": loss})) == {"loss": float(loss)}
    assert f"{loss:.3f}" == f"{float(loss):.3f}" and type(pickle.loads(pickle.dumps(loss))) is type(loss)
    assert loss.numpy().shape == ()


def fused(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Any, Any]:
    """A convolution and its batch norm as one, as published folding code computes it."""
    std = (norm.running_var + norm.eps).sqrt()
    t = (norm.weight / std).reshape(-1, 1, 1, 1)
    return conv.weight * t, norm.bias - norm.running_mean * norm.weight / std


class RepBlock(nn.Module):
    """A 3x3 and a 1x1 branch and an identity, each with its batch norm, that become one convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense, self.point = (
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(3))

    def forward(self, x: Any) -> Any:
        dense, point, alone = self.norms
        return dense(self.dense(x)) + point(self.point(x)) + alone(x)

    def folded(self) -> nn.Conv2d:
        channels = self.dense.in_channels
        kernel, bias = fused(self.dense, self.norms[0])
        point, shift = fused(self.point, self.norms[1])
        kernel, bias = kernel + F.pad(point, [1, 1, 1, 1]), bias + shift
        alone = nn.Conv2d(channels, channels, 3, 1, 1)
        values = np.zeros((channels, channels, 3, 3), np.float32)
        for i in range(channels):
            values[i, i % channels, 1, 1] = 1
        alone.weight.data = ne.from_numpy(values).to(self.dense.weight.device)
        own, shift = fused(alone, self.norms[2])
        conv = nn.Conv2d(channels, channels, 3, 1, 1)
        conv.weight.data = kernel + own
        conv.bias.data = bias + shift
        for parameter in conv.parameters():
            parameter.detach_() if hasattr(parameter, "detach_") else parameter.detach()
        return conv


def test_published_folding_code_runs() -> None:
    rng = np.random.default_rng(1)
    block = RepBlock(4)
    for norm in block.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.normal_()
    x = rng.standard_normal((2, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(block.folded().eval()(x), block.eval()(x), rtol=1e-4, atol=1e-4)


def test_a_file_without_counts_of_batches_loads() -> None:
    model = nn.BatchNorm2d(3)
    state = {key: array + 1 for key, array in model.state_dict().items() if key != "num_batches_tracked"}
    model.load_state_dict(state)
    assert model.running_mean.tolist() == [1, 1, 1] and int(model.num_batches_tracked) == 0
    with pytest.raises(RuntimeError, match="missing keys: running_var"):
        model.load_state_dict({key: array for key, array in state.items() if key != "running_var"})
