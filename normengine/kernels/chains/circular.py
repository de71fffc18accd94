"""Circular and hyperbolic functions, their inverses, and powers, one element each, as :mod:`.scalars` are written.

The polynomials are those of S. L. Moshier's Cephes library, single precision (netlib.org/cephes). Angles are brought
into one eighth of a turn in float64 with pi / 2 in two parts, of which the first has 25 bits (Cody and Waite, 1980):
beyond 2^30 they lose digits.
"""

from __future__ import annotations

import numpy as np

from .scalars import Number, bits_of, exp, fabs, float_of, floor, log, log1p, select, sqrt


def with_sign(magnitude: Number, x: Number) -> Number:
    """``magnitude``, which is not negative, with the sign of x."""
    return float_of(bits_of(magnitude) | (bits_of(x) & np.int32(-0x80000000)))


def quarters(x: Number) -> Number:
    """The whole number of quarter turns nearest to x; adding 1.5 * 2^52 rounds to it."""
    shifted = np.float64(x) * np.float64(0.6366197723675814) + np.float64(6755399441055744.0)
    return shifted - np.float64(6755399441055744.0)


def within_quarter(x: Number, n: Number) -> Number:
    """What n quarter turns leave of x, from -pi / 4 to pi / 4; NaN for what is not finite, 0 where digits are gone."""
    rest = (np.float64(x) - n * np.float64(1.5707963109016418)) - n * np.float64(1.5893254773528196e-08)
    return np.float32(select(fabs(rest) > np.float64(0.8), np.float64(0.0), rest))


def quarter_of_turn(n: Number) -> Number:
    """n modulo 4, from -2 to 2, as an int32."""
    turns = (n * np.float64(0.25) + np.float64(6755399441055744.0)) - np.float64(6755399441055744.0)
    rest = n - turns * np.float64(4.0)
    return np.int32(select(fabs(rest) <= np.float64(2.0), rest, np.float64(0.0)))


def sine_near(r: Number) -> Number:
    """sin(r) for |r| <= pi / 4."""
    z = r * r
    return ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r


def cosine_near(r: Number) -> Number:
    """cos(r) for |r| <= pi / 4."""
    z = r * r
    p = (2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2
    return p * z * z - 0.5 * z + 1.0


def sine_from(quarter: Number, r: Number) -> Number:
    """sin(r + quarter pi / 2)."""
    magnitude = select((quarter & np.int32(1)) == np.int32(1), cosine_near(r), sine_near(r))
    return select((quarter & np.int32(2)) == np.int32(2), -magnitude, magnitude)


def sin(x: Number) -> Number:
    n = quarters(x)
    return sine_from(quarter_of_turn(n), within_quarter(x, n))


def cos(x: Number) -> Number:
    n = quarters(x)
    return sine_from(np.int32(quarter_of_turn(n) + np.int32(1)), within_quarter(x, n))


def tan(x: Number) -> Number:
    n = quarters(x)
    r = within_quarter(x, n)
    sine = sine_near(r)
    cosine = cosine_near(r)
    return select((quarter_of_turn(n) & np.int32(1)) == np.int32(1), -cosine / sine, sine / cosine)


def arc_near(x: Number) -> Number:
    """asin(x) for |x| <= 1 / 2."""
    z = x * x
    p = ((4.2163199048e-2 * z + 2.4181311049e-2) * z + 4.5470025998e-2) * z + 7.4953002686e-2
    return (p * z + 1.6666752422e-1) * z * x + x


def asin(x: Number) -> Number:
    """pi / 2 - 2 asin(sqrt((1 - x) / 2)) beyond 1 / 2; NaN beyond 1."""
    a = fabs(x)
    far = 1.5707963267948966 - 2.0 * arc_near(sqrt(0.5 * (1.0 - a)))
    return select(a <= 0.5, arc_near(x), select(x < 0.0, -far, far))


def acos(x: Number) -> Number:
    a = fabs(x)
    far = 2.0 * arc_near(sqrt(0.5 * (1.0 - a)))
    return select(a <= 0.5, 1.5707963267948966 - arc_near(x), select(x < 0.0, 3.141592653589793 - far, far))


def atan(x: Number) -> Number:
    """pi / 2 - atan(1 / x) beyond tan(3 pi / 8), pi / 4 + atan((x - 1) / (x + 1)) beyond tan(pi / 8)."""
    a = fabs(x)
    middle = select(a > 0.414213562373095, (a - 1.0) / (a + 1.0), a)
    u = select(a > 2.414213562373095, -1.0 / a, middle)
    start = select(a > 2.414213562373095, 1.5707963267948966, select(a > 0.414213562373095, 0.7853981633974483, 0.0))
    z = u * u
    p = ((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1
    return with_sign(start + (p * z * u + u), x)


def expm1(x: Number) -> Number:
    """e^x - 1: the series near 0, where the difference would lose digits."""
    p = (((1.9841270e-4 * x + 1.3888889e-3) * x + 8.3333333e-3) * x + 4.1666667e-2) * x + 1.6666667e-1
    near = (p * x + 0.5) * x * x + x
    return select(fabs(x) < 0.35, near, exp(x) - 1.0)


def sinh(x: Number) -> Number:
    """(e^x - e^-x) / 2, e^x as a square since it may be too large where the result is not."""
    z = x * x
    near = ((2.03721912945e-4 * z + 8.33028376239e-3) * z + 1.66667160211e-1) * z * x + x
    a = fabs(x)
    half = exp(0.5 * a)
    return select(a < 1.0, near, with_sign(0.5 * half * half - 0.5 / (half * half), x))


def cosh(x: Number) -> Number:
    half = exp(0.5 * fabs(x))
    return 0.5 * half * half + 0.5 / (half * half)


def asinh(x: Number) -> Number:
    """log(x + sqrt(x^2 + 1)), without the difference that loses digits near 0."""
    a = fabs(x)
    near = log1p(a + a * a / (1.0 + sqrt(a * a + 1.0)))
    return with_sign(select(a > 10000.0, log(a) + 0.6931471805599453, near), x)


def acosh(x: Number) -> Number:
    """log(x + sqrt(x^2 - 1)); NaN below 1."""
    t = x - 1.0
    near = log1p(t + sqrt(t + t + t * t))
    above = select(x > 10000.0, log(x) + 0.6931471805599453, near)
    return select(x < 1.0, np.float32(np.nan), above)


def atanh(x: Number) -> Number:
    """log((1 + x) / (1 - x)) / 2; NaN beyond 1."""
    a = fabs(x)
    inside = 0.5 * log1p((a + a) / (1.0 - a))
    return with_sign(select(a == 1.0, np.float32(np.inf), inside), x)


def wide_log(x: Number) -> Number:
    """log(x) in float64, to some 12 digits, for x > 0: n ln 2 + 2 atanh((m - 1) / (m + 1))."""
    bits = bits_of(x)
    n = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.float64(float_of(np.int32(bits - (n << np.int32(23)))))
    s = (m - np.float64(1.0)) / (m + np.float64(1.0))
    z = s * s
    p = (z * np.float64(0.07692307692307693) + np.float64(0.09090909090909091)) * z + np.float64(0.1111111111111111)
    q = ((p * z + np.float64(0.14285714285714285)) * z + np.float64(0.2)) * z + np.float64(0.3333333333333333)
    return np.float64(n) * np.float64(0.6931471805599453) + np.float64(2.0) * (q * z * s + s)


def power_of_positive(a: Number, y: Number) -> Number:
    """a^y for a >= 0: e^t with t = y log(a), what t has beyond float32 as a factor of its own."""
    small = select(a < 1.17549435e-38, np.float64(-np.inf), wide_log(a))
    logarithm = select(a > 3.4028234e38, np.float64(np.inf), small)
    t = np.float64(y) * logarithm
    high = np.float32(t)
    low = select(fabs(high) < 100.0, np.float32(t - np.float64(high)), 0.0)
    known = select(a == a, exp(high) * (1.0 + low), a)
    return select(a == 1.0, 1.0, known)


def pow(x: Number, y: Number) -> Number:
    """x^y as C has it: NaN for a negative x and an exponent that is no integer; x^0 and 1^y are 1."""
    magnitude = power_of_positive(fabs(x), y)
    half = y * 0.5
    signed = select(floor(half) == half, magnitude, -magnitude)
    limit = select(x == 0.0, magnitude, select(fabs(x) > 3.4028234e38, magnitude, np.float32(np.nan)))
    below = select(floor(y) == y, signed, limit)
    result = select(bits_of(x) < np.int32(0), below, magnitude)
    return select(y == 0.0, 1.0, result)
