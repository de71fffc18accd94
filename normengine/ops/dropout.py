"""Inverted dropout with counter-based noise: the same for any number of threads, and made again in the backward pass.

``y = x * noise``. The noise of an element is a function of ``(seed, step, layer, index)`` alone: the two 32-bit words
of Philox2x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with counter
``(index, step)`` and key ``mix(seed + layer * 0x9E3779B9)``. ``index`` is the position of the element in row-major
order, or ``n * C + c`` with ``per_channel``. A word is the number ``u = (word >> 8) / 2^24`` in [0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Scalar
from .builder import Builder
from .rules import Infer, only, real, require_float32
from .table import register

Words = tuple[np.ndarray, np.ndarray]

_WEYL = 0x9E3779B9
_MULTIPLIER = 0xD256D193
_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def mix(word: int) -> int:
    """The finalizer of MurmurHash3: every bit of a 32-bit word changes about half of the result's bits."""
    word &= 0xFFFFFFFF
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return word ^ (word >> 16)


def philox(low: np.ndarray, high: np.ndarray, key: int) -> Words:
    """Philox2x32 with ten rounds on counters ``(low, high)``: two arrays of 32-bit words, as uint64."""
    low, high = low.astype(np.uint64), high.astype(np.uint64)
    for _ in range(10):
        product = low * np.uint64(_MULTIPLIER)
        low, high = (product >> _HALF) ^ np.uint64(key) ^ high, product & _MASK
        key = (key + _WEYL) & 0xFFFFFFFF
    return low, high


def words(shape: tuple[int, ...], seed: int, step: int, layer: int, per_channel: bool) -> Words:
    """Both random words of each element, shaped to broadcast against ``shape``."""
    drawn = (*shape[:2], *[1] * (len(shape) - 2)) if per_channel else shape
    index = np.arange(math.prod(drawn), dtype=np.uint64).reshape(drawn)
    return philox(index, np.full(drawn, step, np.uint64), mix(seed + layer * _WEYL))


def unit(word: np.ndarray) -> np.ndarray:
    """The numbers in [0, 1) that words are."""
    return (word >> np.uint64(8)).astype(np.float64) * 2.0**-24


def bernoulli(first: np.ndarray, second: np.ndarray, p: float) -> np.ndarray:
    """``1 / (1 - p)`` where ``u >= p``, else 0 (Srivastava et al., 2014); exactly 1 for p = 0 and 0 for p = 1."""
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    return np.where(unit(first) >= np.float32(p), scale, 0.0)


def gaussian(first: np.ndarray, second: np.ndarray, p: float) -> np.ndarray:
    """``N(1, p / (1 - p))`` (Srivastava et al., 2014, section 10), by Box and Muller's transform of both words."""
    return 1.0 + math.sqrt(p / (1.0 - p)) * box_muller(first, second)


def box_muller(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """N(0, 1) of two words (Box and Muller, 1958)."""
    return np.sqrt(-2.0 * np.log(1.0 - unit(first))) * np.cos(2.0 * math.pi * unit(second))


def uniform(first: np.ndarray, second: np.ndarray, beta: float) -> np.ndarray:
    """``1 + r``, r uniform in [-beta, beta] (Li et al., 2019: "Uout")."""
    return 1.0 + beta * (2.0 * unit(first) - 1.0)


def require_counter(specs: Sequence[Spec]) -> None:
    """Raise OperatorError unless these are seed and step."""
    for name, spec in zip(("seed", "step"), specs, strict=True):
        if spec != Spec((), "uint32"):
            raise OperatorError(f"{name} must be a uint32 scalar, got {spec}")


def _infer(parameter: str, rule: str, allowed: Callable[[float], bool]) -> Infer:
    def infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
        x, *counters = specs
        require_float32("input", x)
        require_counter(counters)
        if not allowed(attrs[parameter]):
            raise OperatorError(f"{parameter} must be {rule}, got {attrs[parameter]}")
        if attrs["per_channel"] and x.rank < 2:
            raise OperatorError(f"dropout of whole channels needs an input (N, C, ...), got shape {x.shape}")
        return (x,)

    return infer


def scalars(*numbers: int) -> list[np.ndarray]:
    """Numbers as seed and step are given."""
    return [np.array(n, np.uint32) for n in numbers]


def _draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.standard_normal((3, 5, 4, 6)).astype(np.float32), *scalars(*rng.integers(0, 2**32, 2))]


def _draw_row(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.standard_normal((1027,)).astype(np.float32), *scalars(2**32 - 1, 0)]


def _noise_op(
    name: str,
    noise: Callable[[np.ndarray, np.ndarray, float], np.ndarray],
    parameter: str,
    infer: Infer,
    settings: Sequence[float],
    operations: int,
) -> Op:
    def reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
        x, seed, step = arrays
        drawn = words(x.shape, int(seed), int(step), attrs["layer"], attrs["per_channel"])
        return (real(x) * noise(*drawn, attrs[parameter]),)

    def gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        _, seed, step = node.inputs
        return [builder.add(name, only(grads), seed, step, **node.attrs), None, None]

    def case(setting: float, layer: int, per_channel: bool, draw: Callable[..., Sequence[np.ndarray]]) -> Case:
        attrs = {parameter: setting, "layer": layer, "per_channel": per_channel}
        return Case(attrs=attrs, draw=draw)

    return Op(
        name,
        infer,
        reference,
        gradient,
        Scalar(name, (parameter, "layer"), indexed=True, operations=operations),
        cases=lambda: (
            *(case(setting, 0, False, _draw) for setting in settings),
            case(settings[-1], 3, True, _draw),
            case(settings[1], 70000, False, _draw_row),
        ),
    )


_PROBABILITY = "between 0 and 1"
_BELOW_ONE = "at least 0 and less than 1 (the noise has variance p / (1 - p))"

register(
    _noise_op(
        "dropout",
        bernoulli,
        "p",
        _infer("p", _PROBABILITY, lambda p: 0.0 <= p <= 1.0),
        (0.0, 0.3, 0.5, 1.0, 0.4),
        38,
    ),
    _noise_op(
        "gaussian_dropout",
        gaussian,
        "p",
        _infer("p", _BELOW_ONE, lambda p: 0.0 <= p < 1.0),
        (0.0, 0.3, 0.5),
        123,
    ),
    _noise_op(
        "uniform_dropout",
        uniform,
        "beta",
        _infer("beta", "0 or more", lambda beta: 0.0 <= beta < math.inf),
        (0.0, 0.3, 1.5),
        38,
    ),
)
