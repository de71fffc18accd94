"""Models and functions called directly, run by compiled programs."""

from __future__ import annotations

import threading
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn
from normengine.nested import flattened
from normengine.nn.tensor import Tensor

X = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)


def network() -> nn.Sequential:
    ne.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )


def test_input_is_converted_and_left_alone() -> None:
    model = network().eval()
    expected = model(X)
    assert expected.dtype == np.float32
    wide = np.zeros((3, 2, 6, 12))
    wide[..., ::2] = X
    for x in (X.astype(np.float64), wide[..., ::2], np.asfortranarray(X)):
        kept = x.copy()
        np.testing.assert_allclose(model(x), expected, rtol=1e-6, atol=1e-6)
        assert np.array_equal(x, kept)


def test_training_mode_updates_statistics_and_draws_anew() -> None:
    model = network()
    mean = model[1].running_mean
    one, two = model(X), model(X)
    assert not np.array_equal(one, two)
    assert model[1].num_batches_tracked == 2
    assert model[1].running_mean is mean
    assert mean.any()
    repeated = network()
    assert np.array_equal(repeated(X), one)
    assert np.array_equal(repeated(X), two)


def test_changed_settings_count_at_once() -> None:
    model = nn.Sequential(nn.LeakyReLU(0.5), nn.Identity())
    x = np.array([[-2.0, 2.0]])
    assert model(x).tolist() == [[-1, 2]]
    model[0].negative_slope = 0.25
    assert model(x).tolist() == [[-0.5, 2]]
    model[1] = nn.ReLU()
    assert model(x).tolist() == [[0, 2]]


def test_results_belong_to_the_caller() -> None:
    model = nn.Identity()
    x = X.copy()
    y = model(x)
    y[...] = 0
    assert np.array_equal(x, X)
    relu = nn.ReLU()
    first = relu(x)
    kept = first.copy()
    relu(-x)
    assert np.array_equal(first, kept)


def test_an_error_changes_nothing() -> None:
    model = network()
    model(X)
    before = {k: v.copy() for k, v in model.state_dict().items()}
    one_value = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    for bad, message in [
        (X[:, :1], "Conv2d '0': input has 1 channels, weight expects 2"),
        (X[0], r"Conv2d '0': input must be \(N, C, H, W\), got shape \(2, 6, 6\)"),
        (X[:0], r"Sequential: input of shape \(0, 2, 6, 6\) is an empty batch"),
        ((X * 255).astype(np.uint8), r"convert images with x.astype\(np.float32\) / 255"),
        (X[..., :5], r"Linear '5': input has 120 features \(shape \(3, 120\)\), weight expects 144"),
        (X.astype(str), "Sequential: input must be float32, got <U32"),
    ]:
        with pytest.raises(ValueError, match=message):
            model(bad)
    with pytest.raises(ValueError, match="BatchNorm1d '0': expected more than 1 value per channel when training"):
        one_value(np.ones((1, 3)))
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())


def test_losses_on_arrays() -> None:
    logits, labels = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1], np.uint8)
    expected = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(-1.0))) / 2
    assert nn.CrossEntropyLoss()(logits, labels) == pytest.approx(expected, rel=1e-5)
    assert nn.NLLLoss()(F.log_softmax(logits, 1), labels) == pytest.approx(expected, rel=1e-5)
    assert nn.MSELoss()(logits, logits + 2) == pytest.approx(4)
    assert nn.BCEWithLogitsLoss(pos_weight=[1, 3])(logits, labels[:, None] == [0, 1]) > 0
    weighted = nn.CrossEntropyLoss(weight=[1.0, 0.0])
    assert list(weighted.state_dict()) == ["weight"]
    assert weighted(logits, labels) == pytest.approx(np.log1p(np.exp(-2.0)), rel=1e-5)
    with pytest.raises(ValueError, match="CrossEntropyLoss: labels must be in 0..1 for 2 classes, got 2 at index 1"):
        nn.CrossEntropyLoss()(logits, np.array([0, 2]))
    with pytest.raises(ValueError, match=r"got 7 at index \(0, 1\)"):
        nn.CrossEntropyLoss()(np.zeros((1, 3, 4)), np.array([[0, 7, 0, 0]]))


Heads = namedtuple("Heads", "a b")


@pytest.mark.parametrize(
    "wrapped", [lambda a, b: {"a": a, "b": b}, lambda a, b: Heads(a, b), lambda a, b: [{"a": a}, (b,)]]
)
def test_arrays_in_dicts_and_named_tuples_are_inputs(wrapped: Callable[..., Any]) -> None:
    """As those in tuples and lists are: other values of them need no other program."""
    seen: list[Any] = []

    class Sum(nn.Module):
        def forward(self, given: Any) -> Any:
            seen.append(flattened(given, Tensor)[0])
            return seen[-1][0] + 2 * seen[-1][1]

    module = Sum()
    rng = np.random.default_rng(0)
    for _ in range(2):
        a, b = rng.standard_normal((2, 3, 4))
        np.testing.assert_allclose(module(wrapped(a, b)), a + 2 * b, rtol=1e-5, atol=1e-6)
    assert [len(tensors) for tensors in seen] == [2, 2]


def test_functions_of_the_namespace() -> None:
    x = X[0, 0]
    assert np.array_equal(ne.cat([x, x], dim=1), np.concatenate([x, x], 1))
    assert np.array_equal(ne.stack([x, x], -1), np.stack([x, x], -1))
    assert [p.shape for p in ne.chunk(x, 4)] == [(2, 6), (2, 6), (2, 6)]
    assert [p.shape for p in ne.split(x, [1, 5])] == [(1, 6), (5, 6)]
    assert np.array_equal(ne.flatten(X, 1), X.reshape(3, -1))
    assert np.array_equal(ne.permute(X, (0, 2, 3, 1)), X.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(ne.mean(X, (2, 3)), X.mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ne.matmul(x, x), x @ x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ne.add(x, 1, alpha=2), x + 2, rtol=1e-6)


def test_threads_of_control_trace_by_themselves() -> None:
    model = network().eval()
    expected = model(X)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(model(X))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(r, expected) for r in results)
