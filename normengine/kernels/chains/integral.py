"""Comparison, truth, rounding and what division leaves, one element each, as :mod:`.scalars` are written."""

from __future__ import annotations

import numpy as np

from .scalars import Number, bits_of, fabs, float_of, floor, select


def equal(a: Number, b: Number) -> Number:
    return a == b


def greater_equal(a: Number, b: Number) -> Number:
    return a >= b


def both(a: Number, b: Number) -> Number:
    return a & b


def either(a: Number, b: Number) -> Number:
    return a | b


def differ(a: Number, b: Number) -> Number:
    return a ^ b


def opposite(a: Number) -> Number:
    return select(a, False, True)


def sign(x: Number) -> Number:
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, x))


def ceil(x: Number) -> Number:
    return -floor(-x)


def round_even(x: Number) -> Number:
    """The nearest integer, of two the even one: adding 2^23 leaves no place for a fraction."""
    whole = (fabs(x) + 8388608.0) - 8388608.0
    signed = float_of(bits_of(whole) | (bits_of(x) & np.int32(-0x80000000)))
    return select(fabs(x) < 8388608.0, signed, x)


def wide_floor(x: Number) -> Number:
    """The largest integer that is not above x, a float64 below 2^51."""
    near = (x + np.float64(6755399441055744.0)) - np.float64(6755399441055744.0)
    return select(near > x, near - np.float64(1.0), near)


def fmod(x: Number, y: Number) -> Number:
    """What is left of |x| by |y|, with the sign of x: exact for quotients below 2^29, 0 for those beyond 2^51."""
    a = np.float64(fabs(x))
    b = np.float64(fabs(y))
    quotient = a / b
    rest = select(quotient < np.float64(2251799813685248.0), a - wide_floor(quotient) * b, quotient - quotient)
    low = select(rest < np.float64(0.0), rest + b, rest)
    inside = np.float32(select(low >= b, low - b, low))
    left = float_of(bits_of(inside) | (bits_of(x) & np.int32(-0x80000000)))
    return select(fabs(x) < fabs(y), x, select(inside == inside, left, inside))


def divisor(b: Number) -> Number:
    """``b``, or 1 where the machine's division may stop: for 0, and for -1, by which the smallest number has none."""
    return select(b == np.int64(0), np.int64(1), select(b == np.int64(-1), np.int64(1), b))


def integer_div(a: Number, b: Number) -> Number:
    """The quotient towards 0, as C has it; 0 by 0."""
    d = divisor(b)
    below = a // d
    rest = a - below * d
    quotient = below + select(below < np.int64(0), select(rest == np.int64(0), np.int64(0), np.int64(1)), np.int64(0))
    signed = select(b == np.int64(-1), -a, quotient)
    return select(b == np.int64(0), np.int64(0), signed)


def integer_remainder(a: Number, b: Number) -> Number:
    """What is left of a by b, with the sign of b; 0 by 0."""
    d = divisor(b)
    return a - (a // d) * d
