"""Functions of normengine.nn.functional where they are more than a layer's forward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import normengine.nn.functional as F
from normengine import nn

RNG = np.random.default_rng(3)
X = RNG.standard_normal((5, 6)).astype(np.float32)
LABELS = np.array([0, 5, 2, -100, 1])
WEIGHT = RNG.uniform(0.5, 2.0, 6).astype(np.float32)
SOFT = RNG.dirichlet(np.ones(6), 5).astype(np.float32)

pytestmark = pytest.mark.usefixtures("references")


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def reduced(losses: np.ndarray, reduction: str, total: float | None = None) -> Any:
    if reduction == "none":
        return losses
    return losses.sum() / (1 if reduction == "sum" else losses.size if total is None else total)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
def test_classification_losses(reduction: str, weight: np.ndarray | None) -> None:
    w = np.ones(6) if weight is None else weight
    kept = LABELS >= 0
    labels = np.where(kept, LABELS, 0)
    picked = np.where(kept, w[labels], 0)
    row = np.arange(5)
    for smoothing in (0.0, 0.2):
        q = (1 - smoothing) * np.eye(6)[labels] + smoothing / 6
        losses = np.where(kept, -(q * w * log_softmax(X)).sum(1), 0)
        np.testing.assert_allclose(
            F.cross_entropy(X, LABELS, weight, reduction=reduction, label_smoothing=smoothing),
            reduced(losses, reduction, picked.sum()),
            rtol=1e-5,
        )
        soft = -((SOFT * (1 - smoothing) + smoothing / 6) * w * log_softmax(X)).sum(1)
        np.testing.assert_allclose(
            F.cross_entropy(X, SOFT, weight, reduction=reduction, label_smoothing=smoothing),
            reduced(soft, reduction, 5),
            rtol=1e-5,
        )
    for scores in (log_softmax(X).astype(np.float32), 3 * X):
        np.testing.assert_allclose(
            F.nll_loss(scores, LABELS, weight, reduction=reduction),
            reduced(-picked * scores[row, labels], reduction, picked.sum()),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_elementwise_losses(reduction: str) -> None:
    square = (X - SOFT).astype(np.float64) ** 2
    np.testing.assert_allclose(F.mse_loss(X, SOFT, reduction=reduction), reduced(square, reduction), rtol=1e-5)
    np.testing.assert_allclose(
        F.mse_loss(X, SOFT, reduction=reduction, weight=WEIGHT),
        reduced(square * WEIGHT, reduction, 5 * WEIGHT.sum()),
        rtol=1e-5,
    )
    p = 1 / (1 + np.exp(-X.astype(np.float64)))
    binary = -WEIGHT * (2 * SOFT * np.log(p) + (1 - SOFT) * np.log(1 - p))
    np.testing.assert_allclose(
        F.binary_cross_entropy_with_logits(X, SOFT, WEIGHT, reduction=reduction, pos_weight=np.full(6, 2.0)),
        reduced(binary, reduction),
        rtol=1e-5,
    )
    labels = (SOFT > 0.2).astype(np.int64)
    np.testing.assert_allclose(
        F.binary_cross_entropy_with_logits(X, labels), -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(),
        rtol=1e-5,
    )  # fmt: skip


def test_batch_norm_updates_the_arrays_that_it_is_given() -> None:
    mean, var = np.zeros(6, np.float32), np.ones(6, np.float32)
    y = F.batch_norm(X, mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(y, (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, 0.25 * X.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(var, 0.75 + 0.25 * X.var(0, ddof=1), rtol=1e-5)
    kept = mean.copy()
    np.testing.assert_allclose(F.batch_norm(X, mean, var), (X - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)
    assert np.array_equal(mean, kept)


@pytest.mark.parametrize("pad", [(1, 2), (0, 1, 2, 0), (-1, 2, 0, -3), (0, 0, 0, 0, 1, 2), (0, 0)])
def test_pad_is_numpys_with_cutting(pad: tuple[int, ...]) -> None:
    x = RNG.standard_normal((2, 3, 5, 6)).astype(np.float32)
    expected = x
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2])):
        widths = [(0, 0)] * 4
        widths[3 - axis] = (max(before, 0), max(after, 0))
        expected = np.pad(expected, widths)
        cut = [slice(None)] * 4
        cut[3 - axis] = slice(max(0, -before), expected.shape[3 - axis] - max(0, -after))
        expected = expected[tuple(cut)]
    assert np.array_equal(F.pad(x, pad), expected)


def test_hardsigmoid_is_the_gate_of_hardswish() -> None:
    x = np.linspace(-5, 5, 41, dtype=np.float32)
    assert np.allclose(F.hardsigmoid(x), np.clip(x + 3, 0, 6) / 6, atol=1e-6)
    assert np.allclose(x * nn.Hardsigmoid(inplace=True)(x), F.hardswish(x), atol=1e-6)


def test_softmax_along_pytorchs_usual_dim() -> None:
    for shape, dim in (((4,), 0), ((2, 4), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)):
        x = RNG.standard_normal(shape).astype(np.float32)
        assert np.array_equal(F.softmax(x), F.softmax(x, dim))
        assert np.array_equal(F.log_softmax(x), F.log_softmax(x, dim))


def test_dropout_outside_of_training_is_nothing() -> None:
    for function in (F.dropout, F.gaussian_dropout, F.uniform_dropout):
        assert np.array_equal(function(X, 0.5, training=False), X)
        assert np.array_equal(function(X, 0.0), X)
        assert not np.array_equal(function(X, 0.5), X)
    assert not F.dropout(X, 1.0).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.cross_entropy(X, np.array([0, 1, 2, 6, 4])),
         r"cross_entropy: labels must be in 0..5 for 6 classes, got 6 at index 3"),
        (lambda: F.nll_loss(X, np.array([0, 1, -1, 3, 4])), "labels must be in 0..5 for 6 classes, got -1 at index 2"),
        (lambda: F.cross_entropy(X, np.zeros(4, int)), r"cross_entropy: target must have shape \(5,\)"),
        (lambda: F.cross_entropy(X, np.zeros(5)), "give classes as integers, or probabilities of shape"),
        (lambda: F.cross_entropy(X[0], LABELS), r"logits must be \(N, C\) or \(N, C, ...\), got shape \(6,\)"),
        (lambda: F.cross_entropy(X, LABELS, reduce=True), "size_average and reduce are gone"),
        (lambda: F.cross_entropy(X, LABELS, label_smoothing=-1), r"label_smoothing must be in \[0, 1\], got -1"),
        (lambda: F.nll_loss(X[:, 0], LABELS), r"takes log-probabilities \(N, C, ...\) and classes \(N, ...\) as"),
        (lambda: F.nll_loss(X, X), r"and classes \(N, ...\) as integers, got shapes \(5, 6\) and \(5, 6\) of float32"),
        (lambda: F.mse_loss(X, X[:, :1]), r"input has shape \(5, 6\), target has shape \(5, 1\); they must be equal"),
        (lambda: F.binary_cross_entropy_with_logits(X, X[0]), "they must be equal"),
        (lambda: F.mse_loss(X, X, reduction="max"), "reduction must be 'mean', 'sum' or 'none', got 'max'"),
        (lambda: F.pad(X, (1, 2, 3)), r"pad takes \(before, after\) for up to 2 axes of shape \(5, 6\)"),
        (lambda: F.pad(X, (1, 1), mode="edge"), "pad: mode must be 'constant', 'reflect', 'replicate', 'circ"),
        (lambda: F.pad(X, (1, 1), mode="reflect", value=1.0), "pad: mode 'reflect' has no value, got 1.0; leave it"),
        (lambda: F.pad(X, (1, 1), value=np.inf), "pad: value must be a finite number"),
        (lambda: F.pad(X, (6, 1), mode="reflect"), r"adds fewer than the elements of an axis, got \(6, 1\) for axis 1"),
        (lambda: F.pad(X, (0, 7), mode="circular"), r"adds at most as many as the elements .* got \(0, 7\) for axis 1"),
        (lambda: F.prelu(X, np.ones(5)), r"weight must be \(1,\) or \(6,\) for input \(5, 6\), got shape \(5,\)"),
        (lambda: F.celu(X, 0.0), "celu: alpha must not be 0"),
        (lambda: F.elu(X, np.nan), "elu: alpha must be a finite number"),
        (lambda: F.softplus(X, 0.0), "softplus: beta must not be 0"),
        (lambda: F.hardtanh(X, 1.0, -1.0), "min_val must not be above max_val, got 1.0 and -1.0"),
        (lambda: F.softshrink(X, -0.5), "softshrink: lambd must be a finite number of 0 or more, got -0.5"),
        (lambda: F.glu(X, 0), r"glu halves dim 0, which must have an even extent, got shape \(5, 6\)"),
        (lambda: F.pixel_shuffle(np.ones((1, 6, 2, 2)), 2), "6 channels .* are no multiple of the 4 places of a block"),
        (lambda: F.pixel_shuffle(np.ones((4, 2)), 2), r"input must be images \(..., C, H, W\), got shape \(4, 2\)"),
        (lambda: F.pixel_unshuffle(np.ones((1, 1, 3, 4)), 2), "images of 3x4 .* are not made of blocks of 2x2"),
        (lambda: F.channel_shuffle(np.ones((1, 6, 2)), 4), "C a multiple of 4 groups"),
        (lambda: F.dropout(X, 1.5), r"dropout: p must be in \[0, 1\], got 1.5"),
        (lambda: F.gaussian_dropout(X, 1.0), r"gaussian_dropout: p must be in \[0, 1\), got 1.0"),
        (lambda: F.uniform_dropout(X, -1), "beta must be a finite number of 0 or more, got -1"),
        (lambda: F.gelu(X, "fast"), "approximate must be 'none' or 'tanh', got 'fast'"),
        (lambda: F.linear(X, np.ones((3, 4))), r"input has 6 features \(shape \(5, 6\)\), weight expects 4"),
        (lambda: F.linear(X, np.ones(6)), r"linear takes input \(..., I\) and weight \(O, I\)"),
        (lambda: F.conv2d(np.ones((1, 1, 4, 4)), np.ones((2, 2))), r"weight must be \(O, C / groups, kh, kw\)"),
        (lambda: F.max_pool3d(np.ones((1, 1, 4, 4, 4)), 2, return_indices=True), "cannot return indices"),
        (lambda: F.avg_pool2d(np.ones((1, 1, 4, 4)), 2, divisor_override=0), "divisor_override must not be 0"),
        (lambda: F.batch_norm(X, None, None), "needs running_mean and running_var unless it is training"),
        (lambda: F.batch_norm(X[0], None, None, training=True), r"input must be \(N, C\) or \(N, C, ...\)"),
        (lambda: F.relu(np.zeros((0, 3))), r"relu: input of shape \(0, 3\) is an empty batch; give at least one"),
        (lambda: F.relu(np.array(["a"])), "relu: input must be float32, got <U1"),
        (lambda: F.relu("text"), "a tensor or an array is needed, got str"),
    ],
)  # fmt: skip
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_nll_loss_reads_its_label_alone_and_takes_one_class():
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([[1, 0, 0], [0.5, 0.5, 0]], np.float32))
    assert float(F.nll_loss(logs, np.array([0, 0]))) == pytest.approx(np.log(2) / 2)
    np.testing.assert_array_equal(F.nll_loss(logs, np.array([0, 2]), reduction="none"), [0, np.inf])
    assert float(F.nll_loss(logs, np.array([2, 0]), ignore_index=2)) == pytest.approx(np.log(2))
    one = np.full((4, 1), -0.25, np.float32)
    assert float(F.nll_loss(one, np.zeros(4, np.int64))) == 0.25
    assert float(F.nll_loss(np.ones((2, 1, 3), np.float32), np.zeros((2, 3), np.int64))) == -1.0
