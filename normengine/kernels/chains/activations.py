"""Activation functions beside those of :mod:`.scalars`, one element each and written as those are, and derivatives."""

from __future__ import annotations

from .circular import expm1
from .scalars import Number, exp, fabs, select


def prelu(x: Number, slope: Number) -> Number:
    return select(x > 0.0, x, slope * x)


def prelu_grad(dy: Number, x: Number, slope: Number) -> Number:
    return select(x > 0.0, dy, slope * dy)


def elu(x: Number, alpha: Number) -> Number:
    return select(x > 0.0, x, alpha * expm1(x))


def elu_grad(dy: Number, x: Number, alpha: Number) -> Number:
    return select(x > 0.0, dy, dy * alpha * exp(x))


def selu(x: Number, alpha: Number, gamma: Number) -> Number:
    return gamma * elu(x, alpha)


def selu_grad(dy: Number, x: Number, alpha: Number, gamma: Number) -> Number:
    return gamma * elu_grad(dy, x, alpha)


def celu(x: Number, alpha: Number) -> Number:
    return select(x > 0.0, x, alpha * expm1(x / alpha))


def celu_grad(dy: Number, x: Number, alpha: Number) -> Number:
    return select(x > 0.0, dy, dy * exp(x / alpha))


def softsign(x: Number) -> Number:
    return x / (1.0 + fabs(x))


def softsign_grad(dy: Number, x: Number) -> Number:
    d = 1.0 + fabs(x)
    return dy / (d * d)


def hard_sigmoid(x: Number, alpha: Number, beta: Number) -> Number:
    line = alpha * x + beta
    low = select(line < 0.0, 0.0, line)
    return select(low > 1.0, 1.0, low)


def hard_sigmoid_grad(dy: Number, y: Number, alpha: Number, beta: Number) -> Number:
    inside = select(y < 1.0, dy * alpha, 0.0)
    return select(y > 0.0, inside, 0.0)


def hardtanh(x: Number, min_val: Number, max_val: Number) -> Number:
    low = select(x < min_val, min_val, x)
    return select(low > max_val, max_val, low)


def hardtanh_grad(dy: Number, y: Number, min_val: Number, max_val: Number) -> Number:
    inside = select(y < max_val, dy, 0.0)
    return select(y > min_val, inside, 0.0)


def threshold(x: Number, threshold: Number, value: Number) -> Number:
    return select(x <= threshold, value, x)


def threshold_grad(dy: Number, x: Number, threshold: Number, value: Number) -> Number:
    return select(x <= threshold, 0.0, dy)


def shrink(x: Number, lambd: Number, bias: Number) -> Number:
    above = select(x <= lambd, 0.0, x - bias)
    return select(x < -lambd, x + bias, above)


def shrink_grad(dy: Number, x: Number, lambd: Number, bias: Number) -> Number:
    above = select(x <= lambd, 0.0, dy)
    return select(x < -lambd, dy, above)
