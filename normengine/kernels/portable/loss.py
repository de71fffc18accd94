"""Cross entropy of class labels over logits ``(A, C, B)``, labels ``(A, B)``; a task is one position or its gradient.

With ``logp = log_softmax(logits)`` a position's loss is ``-(1 - s) w[t] logp[t] - s / C sum_c w[c] logp[c]``: see the
operator. A label that is no class gives NaN, so that nothing outside the arrays is read.
"""

from __future__ import annotations

import math

import numpy as np

from ..base import REGISTRY, Launch, Problem
from ..scalars import exp
from .build import Array, portable

POSITIONS = 64


def log_sum(logits: Array, first: int, C: int, B: int) -> tuple[float, float]:
    """The maximum of a position's logits, and ``log(sum(exp(logits - max)))``."""
    largest = np.float32(-np.inf)
    for c in range(C):
        value = logits[first + c * B]
        largest = value if value > largest else largest
    total = 0.0
    for c in range(C):
        total += exp(logits[first + c * B] - largest)
    return np.float64(largest), math.log(total)


def class_weight(weight: Array, has_weight: bool, c: int) -> float:
    return np.float64(weight[c]) if has_weight else 1.0


def position_losses(
    logits: Array, target: Array, weight: Array, has_weight: bool, loss: Array, scratch: Array,
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
            factor = (1.0 - label_smoothing) * share
            if factor != 0.0:
                value = -factor * ((logits[first + label * B] - largest) - log_total)
            if label_smoothing != 0.0:
                for c in range(C):
                    factor = label_smoothing / C * class_weight(weight, has_weight, c)
                    if factor != 0.0:
                        value -= factor * ((logits[first + c * B] - largest) - log_total)
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
    target: Array, weight: Array, has_weight: bool, scratch: Array,
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
    dloss: Array, logits: Array, target: Array, weight: Array, has_weight: bool, dlogits: Array, scratch: Array,
    A: int, C: int, B: int, label_smoothing: float, ignore_index: int, reduction: int, begin: int, end: int,
) -> None:  # fmt: skip
    """``dlogits = dloss / divisor * (softmax * sum_c f - f)`` with the factors ``f`` of ``-logp``; 0 where ignored."""
    weights = 0.0
    for c in range(C):
        weights += class_weight(weight, has_weight, c)
    for p in range(begin * POSITIONS, min(end * POSITIONS, A * B)):
        label = target[p]
        first = p // B * C * B + p % B
        if label == ignore_index or label < 0 or label >= C:
            for c in range(C):
                dlogits[first + c * B] = np.float32(0) if label == ignore_index else np.float32(np.nan)
        else:
            largest, log_total = log_sum(logits, first, C, B)
            flow = np.float64(dloss[p] if reduction == 0 else dloss[0]) / scratch[0]
            smooth = label_smoothing / C
            sharp = (1.0 - label_smoothing) * class_weight(weight, has_weight, label)
            factors = sharp + smooth * weights
            for c in range(C):
                factor = smooth * class_weight(weight, has_weight, c) + (sharp if c == label else 0.0)
                share = exp(np.float32((logits[first + c * B] - largest) - log_total))
                dlogits[first + c * B] = np.float32(flow * (share * factors - factor))


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


portable("cross_entropy", _loss, position_losses, total_loss)
portable("cross_entropy_grad", _grad, sum_of_weights, cross_entropy_grad)
