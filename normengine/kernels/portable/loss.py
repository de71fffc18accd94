"""Cross entropy of class labels over logits ``(A, C, B)``, labels ``(A, B)``, and its gradient; a task is 64 positions.

With ``logp = log_softmax(logits)`` a position's loss is ``-(1 - s) w[t] logp[t] - s / C sum_c w[c] logp[c]``: see the
operator. A label that is no class gives NaN, so that nothing outside the arrays is read.
"""

from __future__ import annotations

import math

import numpy as np

from ..base import REGISTRY, Launch, Problem
from ..chains.scalars import exp
from .build import Array, Indices, portable

POSITIONS = 64


def largest_logit(logits: Array, first: int, C: int, B: int) -> np.float32:
    """The maximum of a position's logits."""
    largest = np.float32(-np.inf)
    for c in range(C):
        value = logits[first + c * B]
        largest = value if value > largest else largest
    return largest


def log_sum(logits: Array, first: int, C: int, B: int) -> tuple[float, float]:
    """The maximum of a position's logits, and ``log(sum(exp(logits - max)))``."""
    largest = largest_logit(logits, first, C, B)
    total = 0.0
    for c in range(C):
        total += exp(logits[first + c * B] - largest)
    return np.float64(largest), math.log(total)


def exponentials(logits: Array, made: Array, first: int, C: int, B: int) -> tuple[float, float]:
    """The maximum of a position's logits, and the sum of ``exp(logits - max)``, which go to ``made``."""
    largest = largest_logit(logits, first, C, B)
    total = 0.0
    for c in range(C):
        value = exp(logits[first + c * B] - largest)
        made[first + c * B] = value
        total += value
    return np.float64(largest), total


def class_weight(weight: Array, has_weight: bool, c: int) -> float:
    return np.float64(weight[c]) if has_weight else 1.0


def position_loss(
    logits: Array, weight: Array, has_weight: bool, first: int, C: int, B: int,
    label: int, label_smoothing: float, largest: float, log_total: float,
) -> float:  # fmt: skip
    """``-(1 - s) w[t] logp[t] - s / C sum_c w[c] logp[c]`` of one position."""
    value = 0.0
    factor = (1.0 - label_smoothing) * class_weight(weight, has_weight, label)
    if factor != 0.0:
        value = -factor * ((logits[first + label * B] - largest) - log_total)
    if label_smoothing != 0.0:
        for c in range(C):
            factor = label_smoothing / C * class_weight(weight, has_weight, c)
            if factor != 0.0:
                value -= factor * ((logits[first + c * B] - largest) - log_total)
    return value


def position_grad(
    dlogits: Array, weight: Array, has_weight: bool, first: int, C: int, B: int,
    label: int, label_smoothing: float, weights: float, total: float, flow: float,
) -> None:  # fmt: skip
    """``flow * (softmax * sum_c f - f)`` of one position, over the exponentials in ``dlogits``, whose sum is
    ``total``; ``weights`` is the sum of all classes' weights."""
    smooth = label_smoothing / C
    sharp = (1.0 - label_smoothing) * class_weight(weight, has_weight, label)
    factors = (sharp + smooth * weights) / total
    for c in range(C):
        factor = smooth * class_weight(weight, has_weight, c) + (sharp if c == label else 0.0)
        at = first + c * B
        dlogits[at] = np.float32(flow * (dlogits[at] * factors - factor))


def sum_of_classes(weight: Array, has_weight: bool, C: int) -> float:
    """The sum of all classes' weights."""
    weights = 0.0
    for c in range(C):
        weights += class_weight(weight, has_weight, c)
    return weights


def position_losses(
    logits: Array, target: Indices, weight: Array, has_weight: bool, loss: Array, scratch: Array,
    A: int, C: int, B: int, label_smoothing: float, ignore_index: int, reduction: int, begin: int, end: int,
) -> None:  # fmt: skip
    """Each position's loss, to ``loss`` itself or to ``scratch`` with its label's weight behind all of them."""
    for p in range(begin * POSITIONS, min(end * POSITIONS, A * B)):
        label = target[p]
        value = 0.0
        share = 0.0
        if label != ignore_index and (label < 0 or label >= C):
            value = np.nan
        elif label != ignore_index:
            first = p // B * C * B + p % B
            largest, log_total = log_sum(logits, first, C, B)
            share = class_weight(weight, has_weight, label)
            value = position_loss(logits, weight, has_weight, first, C, B, label, label_smoothing, largest, log_total)
        if reduction == 0:
            loss[p] = value
        else:
            scratch[p] = value
            scratch[A * B + p] = share


def total_loss(loss: Array, scratch: Array, A: int, B: int, reduction: int, begin: int, end: int) -> None:
    """The sum of all losses, for the mean divided by the sum of the labels' weights."""
    if reduction != 0:
        total = 0.0
        shares = 0.0
        for p in range(A * B):
            total += scratch[p]
            shares += scratch[A * B + p]
        loss[0] = total / shares if reduction == 1 else total


def sum_of_weights(
    target: Indices, weight: Array, has_weight: bool, scratch: Array,
    A: int, C: int, B: int, ignore_index: int, reduction: int, begin: int, end: int,
) -> None:  # fmt: skip
    """What the mean divides by, to ``scratch``; 1 for the other reductions."""
    shares = 0.0
    if reduction == 1:
        for p in range(A * B):
            label = target[p]
            if label != ignore_index and label >= 0 and label < C:
                shares += class_weight(weight, has_weight, label)
    scratch[0] = shares if reduction == 1 else 1.0


def cross_entropy_grad(
    dloss: Array, logits: Array, target: Indices, weight: Array, has_weight: bool, dlogits: Array, scratch: Array,
    A: int, C: int, B: int, label_smoothing: float, ignore_index: int, reduction: int, begin: int, end: int,
) -> None:  # fmt: skip
    """``dlogits = dloss / divisor * (softmax * sum_c f - f)`` with the factors ``f`` of ``-logp``; 0 where ignored."""
    weights = sum_of_classes(weight, has_weight, C)
    for p in range(begin * POSITIONS, min(end * POSITIONS, A * B)):
        label = target[p]
        first = p // B * C * B + p % B
        if label == ignore_index or label < 0 or label >= C:
            for c in range(C):
                dlogits[first + c * B] = np.float32(0) if label == ignore_index else np.float32(np.nan)
        else:
            _, total = exponentials(logits, dlogits, first, C, B)
            flow = np.float64(dloss[p] if reduction == 0 else dloss[0]) / scratch[0]
            position_grad(dlogits, weight, has_weight, first, C, B, label, label_smoothing, weights, total, flow)


def losses_with_grad(
    logits: Array, target: Indices, weight: Array, has_weight: bool, dlogits: Array, scratch: Array,
    A: int, C: int, B: int, label_smoothing: float, ignore_index: int, begin: int, end: int,
) -> None:  # fmt: skip
    """Each position's loss, to ``scratch`` behind what the sum of all is divided by, and its gradient."""
    weights = sum_of_classes(weight, has_weight, C)
    for p in range(begin * POSITIONS, min(end * POSITIONS, A * B)):
        label = target[p]
        first = p // B * C * B + p % B
        if label == ignore_index or label < 0 or label >= C:
            value = 0.0 if label == ignore_index else np.nan
            for c in range(C):
                dlogits[first + c * B] = np.float32(value)
        else:
            largest, total = exponentials(logits, dlogits, first, C, B)
            value = position_loss(
                logits, weight, has_weight, first, C, B, label, label_smoothing, largest, math.log(total)
            )
            position_grad(
                dlogits, weight, has_weight, first, C, B, label, label_smoothing, weights, total, 1.0 / scratch[0]
            )
        scratch[1 + p] = value


def sum_of_losses(loss: Array, scratch: Array, A: int, B: int, begin: int, end: int) -> None:
    """The sum of the positions' losses, divided by what lies before them."""
    total = 0.0
    for p in range(A * B):
        total += scratch[1 + p]
    loss[0] = total / scratch[0]


def _positions(problem: Problem, logits: int) -> int:
    shape = problem.inputs[logits]
    assert shape is not None
    return shape[0] * math.prod(shape[2:])


def _loss(problem: Problem) -> Launch:
    positions = _positions(problem, 0)
    reduced = REGISTRY.signatures[problem.op].values(problem)[-1] != 0
    return Launch((-(-positions // POSITIONS), 1), scratch=16 * positions if reduced else 0)


def _grad(problem: Problem) -> Launch:
    return Launch((1, -(-_positions(problem, 1) // POSITIONS)), scratch=8)


def _both(problem: Problem) -> Launch:
    positions = _positions(problem, 0)
    return Launch((1, -(-positions // POSITIONS), 1), scratch=8 + 8 * positions)


portable("cross_entropy", _loss, position_losses, total_loss)
portable("cross_entropy_grad", _grad, sum_of_weights, cross_entropy_grad)
portable("cross_entropy_with_grad", _both, sum_of_weights, losses_with_grad, sum_of_losses)
