"""Initialization of parameters, in place, from the generator of ``ne.manual_seed``; PyTorch's names and formulas.

Every function takes a :class:`~normengine.nn.Parameter` or a float NumPy array, overwrites it and returns it.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from ..settings import finite
from . import random
from .parameter import Parameter

T = TypeVar("T", Parameter, np.ndarray)

_GAINS = {"sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75, "linear": 1.0, "conv2d": 1.0}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through ``nonlinearity``; ``param`` is the slope of ``leaky_relu``."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1.0 + slope**2))
    if nonlinearity not in _GAINS:
        names = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: nonlinearity must be one of {names}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a weight (O, I, ...): values that meet in one output, outputs that one input reaches."""
    if len(shape) < 2:
        raise ValueError(f"fans need a weight (O, I, ...) of at least 2 dimensions, got shape {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _fill(tensor: T, values: object) -> T:
    array = tensor._data if isinstance(tensor, Parameter) else tensor
    array[...] = values
    return tensor


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: np.random.Generator | None = None) -> T:
    """U(a, b)."""
    a, b = finite(a, "uniform_: a"), finite(b, "uniform_: b")
    return _fill(tensor, (generator or random.generator()).uniform(a, b, tensor.shape))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: np.random.Generator | None = None) -> T:
    """N(mean, std^2)."""
    mean, std = finite(mean, "normal_: mean"), finite(std, "normal_: std", low=0)
    return _fill(tensor, (generator or random.generator()).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: T,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: np.random.Generator | None = None,
) -> T:
    """N(mean, std^2) drawn again until it lies in [a, b]."""
    draw = generator or random.generator()
    mean, std = finite(mean, "trunc_normal_: mean"), finite(std, "trunc_normal_: std", low=0)
    if not a < b or mean + 6 * std < a or mean - 6 * std > b or std > 1000 * (b - a):
        raise ValueError(f"trunc_normal_: [{a}, {b}] hardly meets a normal distribution of mean {mean}, std {std}")
    values = draw.normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = draw.normal(mean, std, int(outside.sum()))
    return _fill(tensor, values)


def constant_(tensor: T, val: float) -> T:
    """``val`` everywhere."""
    return _fill(tensor, val)


def ones_(tensor: T) -> T:
    """1 everywhere."""
    return _fill(tensor, 1.0)


def zeros_(tensor: T) -> T:
    """0 everywhere."""
    return _fill(tensor, 0.0)


def eye_(tensor: T) -> T:
    """The identity matrix."""
    if len(tensor.shape) != 2:
        raise ValueError(f"eye_ takes a matrix, got shape {tensor.shape}")
    return _fill(tensor, np.eye(*tensor.shape))


def dirac_(tensor: T, groups: int = 1) -> T:
    """The convolution weight (O, I, kh, kw) that keeps each channel as it is, in every group."""
    if len(tensor.shape) < 3 or tensor.shape[0] % groups:
        raise ValueError(f"dirac_ takes a weight (O, I, ...) with O a multiple of {groups}, got shape {tensor.shape}")
    values = np.zeros(tensor.shape)
    per_group = tensor.shape[0] // groups
    centre: tuple[int, ...] = tuple(k // 2 for k in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(per_group, tensor.shape[1])):
            values[(group * per_group + channel, channel) + centre] = 1.0
    return _fill(tensor, values)


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: np.random.Generator | None = None) -> T:
    """U(-a, a), a = gain * sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010)."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor.shape)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: np.random.Generator | None = None) -> T:
    """N(0, std^2), std = gain * sqrt(2 / (fan in + fan out)) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor.shape))), generator)


def _kaiming_std(shape: tuple[int, ...], a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(shape)[mode == "fan_out"])


def kaiming_uniform_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
) -> T:
    """U(-b, b), b = gain * sqrt(3 / fan) (He et al., 2015)."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor.shape, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
) -> T:
    """N(0, std^2), std = gain / sqrt(fan) (He et al., 2015)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor.shape, a, mode, nonlinearity), generator)


def orthogonal_(tensor: T, gain: float = 1, generator: np.random.Generator | None = None) -> T:
    """A (semi-)orthogonal matrix, the axes after the first taken as one (Saxe et al., 2013)."""
    if len(tensor.shape) < 2:
        raise ValueError(f"orthogonal_ takes at least 2 dimensions, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    flat = (generator or random.generator()).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(flat)
    q *= np.sign(np.diag(r))
    return _fill(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))
