"""Cross entropy and binary cross entropy against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from normengine.ops import OPS, OperatorError


def attrs(reduction: str = "mean", label_smoothing: float = 0.0, ignore_index: int = -100) -> dict[str, Any]:
    return {"reduction": reduction, "label_smoothing": label_smoothing, "ignore_index": ignore_index}


def entropy(*arrays: Any, **more: Any) -> np.ndarray:
    (loss,) = OPS["cross_entropy"].reference([np.asarray(a) for a in arrays], attrs(**more))
    return loss


def test_equal_logits_cost_the_logarithm_of_the_classes() -> None:
    logits, target = np.zeros((4, 10)), np.array([0, 3, 9, 5])
    assert entropy(logits, target) == pytest.approx(math.log(10))
    assert entropy(logits, target, label_smoothing=0.3) == pytest.approx(math.log(10))
    assert entropy(logits, target, reduction="sum") == pytest.approx(4 * math.log(10))
    np.testing.assert_allclose(entropy(logits, target, reduction="none"), math.log(10))


def test_two_classes_are_the_logistic_loss() -> None:
    assert entropy([[1.5, -0.5]], [1]) == pytest.approx(math.log1p(math.exp(2.0)))


def test_large_logits_neither_overflow_nor_vanish() -> None:
    assert entropy([[1e4, -1e4]], [1]) == pytest.approx(2e4)
    assert entropy([[1e4, -1e4]], [0]) == 0.0
    assert entropy([[np.inf, 0.0]], [1], ignore_index=1, reduction="sum") == 0.0


def test_smoothing_is_a_mixture_with_the_uniform_distribution() -> None:
    logits = np.log([[0.7, 0.2, 0.1]])
    expected = -(0.9 * math.log(0.7) + 0.1 / 3 * (math.log(0.7) + math.log(0.2) + math.log(0.1)))
    assert entropy(logits, [0], label_smoothing=0.1) == pytest.approx(expected)


def test_ignored_positions_count_neither_in_the_sum_nor_in_the_mean() -> None:
    logits = np.log([[0.5, 0.5], [0.9, 0.1], [0.25, 0.75]])
    target = [0, 1, 1]
    expected = -(math.log(0.5) + math.log(0.75)) / 2
    assert entropy(logits, [0, -7, 1], ignore_index=-7) == pytest.approx(expected)
    losses = entropy(logits, target, ignore_index=1, reduction="none")
    np.testing.assert_allclose(losses, [-math.log(0.5), 0, 0])
    assert np.isnan(entropy(logits, target[1:] + [1], ignore_index=1))


def test_class_weights_divide_the_mean() -> None:
    logits, target, weight = np.log([[0.5, 0.5], [0.1, 0.9]]), [0, 1], np.array([1.0, 3.0])
    assert entropy(logits, target, weight) == pytest.approx(-(math.log(0.5) + 3 * math.log(0.9)) / 4)
    assert entropy(logits, target, weight, reduction="sum") == pytest.approx(-(math.log(0.5) + 3 * math.log(0.9)))


def test_class_weights_with_smoothing() -> None:
    logits, weight = np.log([[0.6, 0.4]]), np.array([1.0, 3.0])
    smooth = -(1 * math.log(0.6) + 3 * math.log(0.4))
    expected = (0.8 * -3 * math.log(0.4) + 0.2 / 2 * smooth) / 3
    assert entropy(logits, [1], weight, label_smoothing=0.2) == pytest.approx(expected)


def test_images_have_classes_on_axis_one() -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.standard_normal((2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    rows = logits.transpose(0, 2, 3, 1).reshape(-1, 3)
    assert entropy(logits, target) == pytest.approx(float(entropy(rows, target.ravel())))


def test_gradient_is_softmax_minus_one_hot() -> None:
    logits = np.log([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    (dx,) = OPS["cross_entropy_grad"].reference([np.array(1.0), logits, np.array([0, -100])], attrs())
    np.testing.assert_allclose(dx, [[-0.3, 0.2, 0.1], [0, 0, 0]], atol=1e-12)


def test_gradient_is_zero_where_all_is_ignored() -> None:
    (dx,) = OPS["cross_entropy_grad"].reference([np.array(1.0), np.ones((2, 3)), np.array([-100, -100])], attrs())
    np.testing.assert_array_equal(dx, 0.0)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(label: int) -> None:
    with pytest.raises(OperatorError, match=rf"^target must hold class indices 0..2, got {label}$"):
        entropy(np.zeros((1, 3)), [label])


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.0, 1.0, math.log(2)),
        (2.0, 0.0, math.log1p(math.exp(2.0))),
        (-3.0, 0.25, math.log1p(math.exp(-3.0)) + 0.75),
        (1e4, 1.0, 0.0),
        (-1e4, 1.0, 1e4),
    ],
)
def test_binary_cross_entropy(x: float, y: float, expected: float) -> None:
    (loss,) = OPS["bce_with_logits"].reference([np.array(x), np.array(y)], {})
    assert loss == pytest.approx(expected)
