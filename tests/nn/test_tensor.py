"""What a traced tensor can do, held to NumPy; what it cannot, held to its message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normengine as ne
from normengine import nn
from normengine.graph import Spec
from normengine.nn.tensor import Tensor
from normengine.nn.trace import trace
from normengine.ops import OperatorError, evaluate

X = np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype(np.float32)
ROW = np.arange(5.0)


def compute(function: Callable[[Any], Any], x: np.ndarray = X) -> Any:
    """``function`` of a traced tensor, evaluated on ``x``."""
    traced = trace(function, [("x", Spec.of(x))], [])
    values = evaluate(traced.builder.graph(traced.outputs), dict.fromkeys(traced.builder.inputs, x))
    return traced.structure([values[v] for v in traced.outputs])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("ours", "numpys"),
    [
        (lambda x: x + 1 - x * 2, lambda x: x + 1 - x * 2),
        (lambda x: (3 - x) / (2 + x * x), lambda x: (3 - x) / (2 + x * x)),
        (lambda x: 1 / (x * x + 1) + -x, lambda x: 1 / (x * x + 1) - x),
        (lambda x: x * ROW, lambda x: x * ROW),
        (lambda x: ROW - x, lambda x: ROW - x),
        (lambda x: np.float32(2) * x + np.int64(1), lambda x: 2 * x + 1),
        (lambda x: np.arange(5) / (x * x + 1), lambda x: np.arange(5) / (x * x + 1)),
        (lambda x: x + True, lambda x: x + 1),
        (lambda x: (x * x + 1) ** 0.3 + (x * x + 1) ** -1.7, lambda x: (x * x + 1) ** 0.3 + (x * x + 1) ** -1.7),
        (lambda x: x**2 + x**3 - x.pow(5) + x**1 + x**0, lambda x: x**2 + x**3 - x**5 + x + 1),
        (lambda x: x.square() ** 0.5 + x.abs() + abs(x), lambda x: 3 * np.abs(x)),
        (lambda x: (x * x + 1) ** -2 + (x * x + 1) ** -0.5, lambda x: (x * x + 1) ** -2 + (x * x + 1) ** -0.5),
        (lambda x: x.exp() + (x * x + 1).log() + (x * x).sqrt(), lambda x: np.exp(x) + np.log(x * x + 1) + abs(x)),
        (lambda x: (x * x + 1).rsqrt() + x.neg() + (+x), lambda x: 1 / np.sqrt(x * x + 1)),
        (lambda x: x * x.sigmoid() + x.tanh() + x.relu(), lambda x: x * sigmoid(x) + np.tanh(x) + np.maximum(x, 0)),
        (lambda x: x.add(x, alpha=2).sub(1).mul(3).div(2), lambda x: (3 * x - 1) * 1.5),
        (lambda x: x.mean(), lambda x: x.mean()),
        (lambda x: x.mean((2, -1)), lambda x: x.mean((2, 3))),
        (lambda x: x.mean(dim=[1], keepdim=True), lambda x: x.mean(1, keepdims=True)),
        (lambda x: x.sum(-1) + x.sum(3), lambda x: 2 * x.sum(3)),
        (lambda x: x.softmax(1) + x.log_softmax(-1), None),
        (lambda x: x.view(x.size(0), -1), lambda x: x.reshape(2, -1)),
        (lambda x: x.reshape((4, -1, 5)), lambda x: x.reshape(4, -1, 5)),
        (lambda x: x.view_as(x.permute(3, 2, 1, 0)), lambda x: x.reshape(5, 6, 4, 2)),
        (lambda x: x.flatten(1), lambda x: x.reshape(2, -1)),
        (lambda x: x.flatten(), lambda x: x.reshape(-1)),
        (lambda x: x.mean().flatten(), lambda x: x.mean().reshape(1)),
        (lambda x: x.unflatten(1, (2, -1)), lambda x: x.reshape(2, 2, 2, 6, 5)),
        (lambda x: x.permute(0, -1, 1, 2).contiguous(), lambda x: x.transpose(0, 3, 1, 2)),
        (lambda x: x.permute([0, 1, 2, 3]), lambda x: x),
        (lambda x: x.transpose(1, -1), lambda x: x.swapaxes(1, 3)),
        (lambda x: x.flatten(1).t() @ x[:, 0, 0].T.T, lambda x: x.reshape(2, -1).T @ x[:, 0, 0]),
        (lambda x: x.matmul(np.ones((5, 3))), lambda x: x @ np.ones((5, 3))),
        (lambda x: np.ones((3, 2)) @ x.flatten(1), lambda x: np.ones((3, 2)) @ x.reshape(2, -1)),
        (lambda x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(), lambda x: x.mean((2, 3))),
        (lambda x: x.unsqueeze(0).unsqueeze(-1), lambda x: x[None, ..., None]),
        (lambda x: x[:, :1].expand(-1, 4, -1, -1) + x[:, :1].expand_as(x), lambda x: 2 * x[:, :1].repeat(4, 1)),
        (lambda x: x[1, :, None, ::2, 1:-1], lambda x: x[1, :, None, ::2, 1:-1]),
        (lambda x: x[..., -1], lambda x: x[..., -1]),
        (lambda x: x[None][0][:], lambda x: x),
        (lambda x: ne.cat(x.chunk(3, 1)[::-1], 1), lambda x: x[:, [2, 3, 0, 1]]),
        (lambda x: x.split([1, 3], dim=1)[1], lambda x: x[:, 1:]),
        (lambda x: x.split(4, dim=2)[1], lambda x: x[:, :, 4:]),
        (lambda x: x.unbind(1)[2], lambda x: x[:, 2]),
        (lambda x: sum(x), lambda x: x.sum(0)),
        (lambda x: x.float().to("cpu").clone().cpu().detach().type_as(x), lambda x: x),
    ],
)
def test_as_numpy(ours: Callable[[Any], Any], numpys: Callable[[Any], Any] | None) -> None:
    if numpys is None:
        e = np.exp(X - X.max(1, keepdims=True))
        expected = e / e.sum(1, keepdims=True) + X - np.log(np.exp(X).sum(-1, keepdims=True))
    else:
        expected = numpys(X.astype(np.float64))
    result = compute(ours)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_what_is_known_of_it() -> None:
    def look(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        assert (n, c, h, w) == x.size() == (2, 4, 6, 5)
        assert (x.size(0), x.size(-1), x.dim(), x.ndim, len(x), x.numel()) == (2, 5, 4, 4, 2, 240)
        assert x.dtype == ne.float32
        assert x.device == "cpu"
        assert repr(x) == "Tensor(shape=(2, 4, 6, 5), dtype=float32)"
        assert ne.is_tensor(x)
        assert ne.numel(x) == 240
        return x

    compute(look)


def test_in_place_arithmetic_is_seen_by_everyone_who_holds_the_tensor() -> None:
    def change(x: Tensor) -> Tensor:
        y = x * 1
        held = y
        y += x
        y *= 2
        y -= 1
        y /= 4
        y.relu_()
        return held

    np.testing.assert_allclose(compute(change), np.maximum((4 * X - 1) / 4, 0), rtol=1e-6)
    np.testing.assert_allclose(compute(lambda x: (x + 1).clone()), X + 1, rtol=1e-6)


def test_a_clone_is_not_changed_with_its_source() -> None:
    def change(x: Tensor) -> tuple[Tensor, Tensor]:
        y = x * 1
        twin = y.clone()
        y += 1
        return twin, y

    twin, y = compute(change)
    assert np.array_equal(twin, X)
    np.testing.assert_allclose(y, X + 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda x: 1 if x.mean() else 0, TypeError, r"no values: `if tensor` or bool\(tensor\) cannot work in forward"),
        (lambda x: x > 0, TypeError, "no values: a comparison cannot work"),
        (lambda x: x <= 0, TypeError, "no values: a comparison"),
        (lambda x: float(x.mean()), TypeError, r"no values: float\(tensor\)"),
        (lambda x: int(x.mean()), TypeError, r"no values: int\(tensor\)"),
        (lambda x: x.mean().item(), TypeError, r"no values: tensor.item\(\)"),
        (lambda x: x.tolist(), TypeError, r"no values: tensor.tolist\(\)"),
        (lambda x: x.numpy(), TypeError, r"no values: tensor.numpy\(\)"),
        (lambda x: np.asarray(x), TypeError, "no values: conversion to a NumPy array"),
        (lambda x: np.exp(x), TypeError, "Tensor"),
        (lambda x: x + "a", TypeError, "unsupported operand"),
        (lambda x: x + [1], TypeError, "unsupported operand"),
        (lambda x: len(x.mean()), TypeError, r"len\(\) of a 0-d tensor"),
        (lambda x: x.__setitem__(0, 1), TypeError, "cannot be assigned; put the parts together with torch.cat"),
        (lambda x: x[np.array([0])], IndexError, "not by arrays"),
        (lambda x: x[[0, 1]], IndexError, "not by arrays"),
        (lambda x: x[x], IndexError, "not by arrays"),
        (lambda x: x.mean(4), IndexError, "dim 4 is out of range for a tensor of 4 dimensions"),
        (lambda x: x.view(7, -1), ValueError, r"\(240 elements\) cannot be viewed as \(7, -1\)"),
        (lambda x: x.permute(0, 1), ValueError, r"permute needs each of the 4 dims of shape .* once, got \(0, 1\)"),
        (lambda x: x.t(), ValueError, "at most 2 dimensions"),
        (lambda x: x.chunk(0), ValueError, "positive number of chunks, got 0"),
        (lambda x: x**np.inf, OperatorError, "the exponent must be a finite number"),
        (lambda x: x**x, TypeError, "unsupported operand"),
        (lambda x: x @ x, OperatorError, "matmul: matrices .* differ in the summed extent: 5, 6"),
        (lambda x: x + np.ones(3), OperatorError, "do not broadcast"),
        (lambda x: x.mean(0).__iadd__(x), OperatorError, "an in-place operation cannot change shape"),
        (lambda x: object(), TypeError, r"forward\(\) returned a object"),
        (lambda x: x + np.array(["a"]), OperatorError, "an array of numbers is needed, got <U1"),
    ],
)
def test_errors(action: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compute(action)


def test_a_tensor_does_not_outlive_its_trace() -> None:
    kept: list[Tensor] = []
    compute(lambda x: kept.append(x) or x)
    with pytest.raises(RuntimeError, match="a tensor of an earlier trace was used"):
        compute(lambda x: x + kept[0])
    with pytest.raises(RuntimeError, match="a tensor of an earlier trace was used"):
        kept[0] + 1


def test_integers_are_converted_only_where_that_is_asked_for() -> None:
    images = np.arange(240).reshape(2, 4, 6, 5)
    np.testing.assert_allclose(compute(lambda x: x.float() / 255, images), images / 255)
    np.testing.assert_allclose(compute(lambda x: x.to(ne.float32) * 2, images), images * 2)
    assert compute(lambda x: x.flatten(1)[:, ::2], images).dtype == np.int64
    with pytest.raises(OperatorError, match=r"exp needs float32, got int64 of shape \(2, 4, 6, 5\); convert images"):
        compute(lambda x: x.exp(), images)


def test_arithmetic_of_integers_stays_whole_and_with_others_becomes_float32() -> None:
    whole = np.array([2**40 + 1, -3, 0])
    for function in (lambda x: x + 1, lambda x: 7 - x, lambda x: x * 3, lambda x: x + x, lambda x: x - np.int64(2)):
        found = compute(function, whole)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, function(whole))
    for function in (lambda x: x / 2, lambda x: x * 0.5, lambda x: 1.5 + x, lambda x: 2 / x):
        whole = np.array([4, -3, 1])
        np.testing.assert_allclose(compute(function, whole), function(whole), rtol=1e-6)


def test_floor_of_what_is_an_integer_or_no_number() -> None:
    x = np.array([np.inf, -np.inf, np.nan, -0.0, 0.0, 2**23 + 1, -(2**23) - 1, 3e38, -0.5, 0.5], np.float32)

    class Floor(nn.Module):
        def forward(self, x: ne.Tensor) -> ne.Tensor:
            return x.floor()

    found = Floor()(x)
    np.testing.assert_array_equal(found, np.floor(x))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(np.floor(x)))
