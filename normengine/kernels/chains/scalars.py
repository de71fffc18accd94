"""One element of elementwise operators, as functions that :mod:`.chain` copies into the loops it generates; those of
some families are in :mod:`.circular`, :mod:`.integral` and :mod:`.activations`.

They are named like their operators and take one element of each input, then the element's index if they need it, then
the attributes. The generator reads these functions as text, so they keep to a small part of Python: assignments to
local names, ``for _ in range(n)``, one ``return`` at the end, calls of each other and of the primitives below. Every
float literal means a float32 constant, arithmetic on float32 stays in float32, and there are no branches (``select``),
so that the loops become vector instructions. ``np.int32(...)`` and its like convert: integers widen to 64 bits.

The polynomials of exp, log, tanh, sin and cos are those of S. L. Moshier's Cephes library, single precision
(netlib.org/cephes); results that would be denormal are 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Number = Any


def bits_of(x: Number) -> Number:
    """Primitive: the bits of a float32 as an int32."""
    return np.float32(x).view(np.int32)


def float_of(bits: Number) -> Number:
    """Primitive: the float32 that has these bits."""
    return np.int32(bits).view(np.float32)


def select(condition: Number, yes: Number, no: Number) -> Number:
    """Primitive: one of two values that are both computed."""
    return yes if condition else no


def sqrt(x: Number) -> Number:
    """Primitive."""
    return math.sqrt(x)


def fabs(x: Number) -> Number:
    """Primitive."""
    return math.fabs(x)


def add(a: Number, b: Number) -> Number:
    return a + b


def sub(a: Number, b: Number) -> Number:
    return a - b


def mul(a: Number, b: Number) -> Number:
    return a * b


def div(a: Number, b: Number) -> Number:
    return a / b


def neg(x: Number) -> Number:
    return -x


def magnitude(x: Number) -> Number:
    return fabs(x)


def maximum(a: Number, b: Number) -> Number:
    larger = select(a > b, a, b)
    return select(a == a, larger, a)


def minimum(a: Number, b: Number) -> Number:
    smaller = select(a < b, a, b)
    return select(a == a, smaller, a)


def greater(a: Number, b: Number) -> Number:
    return a > b


def where(condition: Number, x: Number, y: Number) -> Number:
    return select(condition, x, y)


def rsqrt(x: Number) -> Number:
    return 1.0 / sqrt(x)


def expand(x: Number) -> Number:
    return x


def cast(x: Number) -> Number:
    return x


def count_step(n: Number) -> Number:
    return n + np.int64(1)


def count_weight(n: Number) -> Number:
    return 1.0 / np.float32(n)


def exp(x: Number) -> Number:
    """2^n * e^r with x = n ln 2 + r, |r| <= ln 2 / 2 (Cephes expf); 0 below -86.7, infinite above 88.73.

    Adding 1.5 * 2^23 rounds x / ln 2 to the integer n and leaves n in the low bits of the sum. 2^(n-1) is then made
    from its exponent field, which is 0 for the smallest n that the clamp lets pass.
    """
    high = select(x > 89.0, 89.0, x)
    low = select(high < -87.33, -87.33, high)
    shifted = low * 1.44269504088896341 + 12582912.0
    n = shifted - 12582912.0
    r = (low - n * 0.693359375) + n * 2.12194440e-4
    p = ((1.9875691500e-4 * r + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2
    q = ((p * r + 1.6666665459e-1) * r + 5.0000001201e-1) * (r * r) + r + 1.0
    half = float_of(np.int32((bits_of(shifted) << np.int32(23)) + np.int32(0x3F000000)))
    return q * half * 2.0


def log(x: Number) -> Number:
    """n ln 2 + ln m with x = 2^n m, sqrt(1/2) <= m < sqrt(2) (Cephes logf); -inf at 0, NaN below."""
    bits = bits_of(x)
    n = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    e = np.float32(n)
    m = float_of(np.int32(bits - (n << np.int32(23)))) - 1.0
    z = m * m
    p = ((7.0376836292e-2 * m - 1.1514610310e-1) * m + 1.1676998740e-1) * m - 1.2420140846e-1
    q = ((p * m + 1.4249322787e-1) * m - 1.6668057665e-1) * m + 2.0000714765e-1
    s = (q * m - 2.4999993993e-1) * m + 3.3333331174e-1
    tail = (m * z * s - e * 2.12194440e-4) - 0.5 * z
    finite = (m + tail) + e * 0.693359375
    upper = select(x > 3.4028234e38, x, finite)
    lower = select(x < 1.17549435e-38, select(x < 0.0, np.float32(np.nan), np.float32(-np.inf)), upper)
    return select(x == x, lower, x)


def log1p(u: Number) -> Number:
    """log(1 + u) for u >= 0, with what the sum rounded off put back (Goldberg, 1991)."""
    v = 1.0 + u
    return log(v) + (u - (v - 1.0)) / v


def sigmoid(x: Number) -> Number:
    return 1.0 / (1.0 + exp(-x))


def tanh(x: Number) -> Number:
    """Cephes tanhf: an odd polynomial below 0.625, else 1 - 2 / (e^2|x| + 1) with the sign of x."""
    z = x * x
    p = ((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1
    near = (p * z - 3.33332819422e-1) * z * x + x
    magnitude = fabs(x)
    far = 1.0 - 2.0 / (exp(magnitude + magnitude) + 1.0)
    return select(magnitude < 0.625, near, select(x < 0.0, -far, far))


def normal_tail(x: Number) -> Number:
    """exp(-x^2 / 2) * t * (a1 + ... + a5 t^4) / 2 = P(X > |x|), X normal (Abramowitz and Stegun, 7.1.26: 7.5e-8)."""
    t = 1.0 / (1.0 + 0.23164189 * fabs(x))
    p = (((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592
    return 0.5 * p * t * exp(-0.5 * x * x)


def normal_cdf(x: Number) -> Number:
    tail = normal_tail(x)
    return select(x < 0.0, tail, 1.0 - tail)


def erf(x: Number) -> Number:
    tail = normal_tail(x * 1.4142135623730951)
    return select(x < 0.0, 2.0 * tail - 1.0, 1.0 - 2.0 * tail)


def at_label(x: Number, label: Number, here: Number) -> Number:
    return select(label == here, x, 0.0)


def floor(x: Number) -> Number:
    """Numbers of 2^23 and more are integers, as are infinities; NaN stays. An integer has the sign of x, 0 too."""
    whole = np.float32(np.int32(select(fabs(x) < 8388608.0, x, 0.0)))
    signed = float_of((bits_of(whole) & np.int32(0x7FFFFFFF)) | (bits_of(x) & np.int32(-0x80000000)))
    return select(fabs(x) < 8388608.0, select(whole > x, whole - 1.0, signed), x)


def relu(x: Number) -> Number:
    return select(x < 0.0, 0.0, x)


def relu_grad(dy: Number, y: Number) -> Number:
    return select(y > 0.0, dy, 0.0)


def leaky_relu(x: Number, negative_slope: Number) -> Number:
    return select(x > 0.0, x, negative_slope * x)


def leaky_relu_grad(dy: Number, x: Number, negative_slope: Number) -> Number:
    return select(x > 0.0, dy, negative_slope * dy)


def relu6(x: Number) -> Number:
    low = select(x < 0.0, 0.0, x)
    return select(low > 6.0, 6.0, low)


def relu6_grad(dy: Number, y: Number) -> Number:
    inside = select(y < 6.0, dy, 0.0)
    return select(y > 0.0, inside, 0.0)


def sigmoid_grad(dy: Number, y: Number) -> Number:
    return dy * y * (1.0 - y)


def tanh_grad(dy: Number, y: Number) -> Number:
    return dy * (1.0 - y * y)


def silu(x: Number) -> Number:
    return x / (1.0 + exp(-x))


def silu_grad(dy: Number, x: Number) -> Number:
    s = sigmoid(x)
    return dy * s * (1.0 + x * (1.0 - s))


def gelu(x: Number) -> Number:
    return x * normal_cdf(x)


def gelu_grad(dy: Number, x: Number) -> Number:
    density = 0.3989422804014327 * exp(-0.5 * x * x)
    return dy * (normal_cdf(x) + x * density)


def gelu_tanh(x: Number) -> Number:
    t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))
    return 0.5 * x * (1.0 + t)


def gelu_tanh_grad(dy: Number, x: Number) -> Number:
    t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))
    inner = 0.7978845608028654 * (1.0 + 0.134145 * x * x)
    return dy * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)


def hardswish(x: Number) -> Number:
    return x * (relu6(x + 3.0) * 0.16666667)


def hardswish_grad(dy: Number, x: Number) -> Number:
    inside = select(x < 3.0, dy * (x * 0.33333334 + 0.5), dy)
    return select(x <= -3.0, 0.0, inside)


def softplus(x: Number) -> Number:
    return select(x < 0.0, 0.0, x) + log1p(exp(-fabs(x)))


def tanh_softplus(x: Number) -> Number:
    """tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); where e^x would overflow it is 1."""
    e = exp(select(x > 20.0, 20.0, x))
    n = e * (e + 2.0)
    return n / (n + 2.0)


def mish(x: Number) -> Number:
    return x * tanh_softplus(x)


def mish_grad(dy: Number, x: Number) -> Number:
    t = tanh_softplus(x)
    return dy * (t + x * sigmoid(x) * (1.0 - t * t))


def bce_with_logits(x: Number, y: Number) -> Number:
    return select(x < 0.0, 0.0, x) - x * y + log1p(exp(-fabs(x)))


def bce_with_logits_grad(dy: Number, x: Number, y: Number) -> Number:
    return dy * (sigmoid(x) - y)


def philox(counter0: Number, counter1: Number, key: Number) -> Number:
    """Philox2x32-10 (Salmon et al., SC'11): two random words, the first one in the low half of a uint64."""
    low = np.uint64(counter0)
    high = np.uint64(counter1)
    k = np.uint64(key)
    for _ in range(10):
        product = low * np.uint64(0xD256D193)
        low = (product >> np.uint64(32)) ^ k ^ high
        high = product & np.uint64(0xFFFFFFFF)
        k = (k + np.uint64(0x9E3779B9)) & np.uint64(0xFFFFFFFF)
    return low | (high << np.uint64(32))


def noise_bits(seed: Number, step: Number, index: Number, layer: Number) -> Number:
    """Two random words for one element: counter (index, step), key from the seed and the layer.

    The key is mixed by the finalizer of MurmurHash3 (Appleby), so that neighbouring layers share nothing.
    """
    mask = np.uint64(0xFFFFFFFF)
    a = (np.uint64(seed) + np.uint64(layer) * np.uint64(0x9E3779B9)) & mask
    b = ((a ^ (a >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & mask
    c = ((b ^ (b >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & mask
    key = c ^ (c >> np.uint64(16))
    return philox(index, step, key)


def first_uniform(words: Number) -> Number:
    """The upper 24 bits of the first word as a number in [0, 1)."""
    return np.float32(np.int32((words >> np.uint64(8)) & np.uint64(0xFFFFFF))) * 5.9604644775390625e-08


def second_uniform(words: Number) -> Number:
    """The upper 24 bits of the second word as a number in [0, 1)."""
    return np.float32(np.int32(words >> np.uint64(40))) * 5.9604644775390625e-08


def cos_turns(u: Number) -> Number:
    """cos(2 pi u) for u in [0, 1): the quarter turn nearest to u, then Cephes' sinf or cosf on the rest."""
    shifted = u * 4.0 + 12582912.0
    quarter = bits_of(shifted)
    r = (u * 4.0 - (shifted - 12582912.0)) * 1.5707963267948966
    z = r * r
    sine = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r
    p = (2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2
    cosine = p * z * z - 0.5 * z + 1.0
    magnitude = select((quarter & np.int32(1)) == np.int32(1), sine, cosine)
    return select(((quarter + np.int32(1)) & np.int32(2)) == np.int32(2), -magnitude, magnitude)


def dropout(x: Number, seed: Number, step: Number, index: Number, p: Number, layer: Number) -> Number:
    u = first_uniform(noise_bits(seed, step, index, layer))
    scale = 1.0 / (1.0 - p)
    return x * select(u >= p, scale, 0.0)


def random_uniform(seed: Number, step: Number, index: Number, layer: Number) -> Number:
    return first_uniform(noise_bits(seed, step, index, layer))


def random_normal(seed: Number, step: Number, index: Number, layer: Number) -> Number:
    """N(0, 1) by Box and Muller's transform."""
    words = noise_bits(seed, step, index, layer)
    return sqrt(-2.0 * log(1.0 - first_uniform(words))) * cos_turns(second_uniform(words))


def bernoulli(p: Number, seed: Number, step: Number, index: Number, layer: Number) -> Number:
    return select(first_uniform(noise_bits(seed, step, index, layer)) < p, 1.0, 0.0)


def gaussian_dropout(x: Number, seed: Number, step: Number, index: Number, p: Number, layer: Number) -> Number:
    """x times N(1, p / (1 - p)) by Box and Muller's transform."""
    return x * (1.0 + sqrt(p / (1.0 - p)) * random_normal(seed, step, index, layer))


def uniform_dropout(x: Number, seed: Number, step: Number, index: Number, beta: Number, layer: Number) -> Number:
    u = first_uniform(noise_bits(seed, step, index, layer))
    return x * (1.0 + beta * (2.0 * u - 1.0))
