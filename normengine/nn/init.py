"""Initialization of parameters, in place, from the generator of ``ne.manual_seed``; PyTorch's names and formulas.

Every function takes a :class:`~normengine.nn.Parameter` or a float NumPy array, overwrites it and returns it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from ..conversion import one_array
from ..principal import BLOCK, principal
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
    if not array.flags.writeable:
        raise ValueError(
            "nn.init: the array is read-only, as a weight is that is computed of others; initialize the layer before "
            "its weight is parametrized"
        )
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


def whitening_(tensor: T, images: object, eps: float = 1e-2) -> T:
    """The weight (O, I, kh, kw) of a first convolution whose outputs have variance 1 and no correlation.

    With the eigenvectors ``u_k``, in the order of falling eigenvalues ``v_k``, of the covariance of all patches (I, kh,
    kw) that lie inside the images, the K = I * kh * kw filters are ``f_k = u_k / sqrt(v_k + eps)``, each with the sign
    that makes its largest entry positive. The weight holds

    - for O <= K the O filters of the largest eigenvalues,
    - for K < O <= 2 K all filters, and behind them the negatives of the first O - K; so for O = 2 K those of all, which
      a rectifier after the convolution needs to let everything through.

    The convolution then gives, for patches of the images, outputs of covariance ``v_k / (v_k + eps)`` on the diagonal
    and 0 beside it; without a bias their mean is that of the filtered patches. (Coates and Ng, "Learning feature
    representations with k-means", 2012; K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv
    2404.00498.) Leave ``requires_grad`` of the weight False to keep it so.

    Args:
        tensor: (O, I, kh, kw).
        images: (N, I, H, W) numbers, scaled as those that the network will see; some thousand are enough.
        eps: what is added to the eigenvalues, in the squared units of the images, 0 or more; above 0 it keeps filters
            of little variance, which see noise, small.

    Raises:
        ValueError: the shapes do not fit, O is more than 2 K, the images have numbers that are not finite or fewer than
            two patches, or ``eps`` is 0 and an eigenvalue that is needed is too. The weight is as it was then.
    """
    eps = finite(eps, "whitening_: eps", low=0)
    pictures = one_array(images, "whitening_: images")
    kernel = _patch_shape(tensor.shape, pictures)
    size, many = math.prod(kernel), tensor.shape[0]
    found = principal(_patches(pictures, kernel[1:]), "whitening_: images")
    scales = found.scales(eps, min(many, size), "whitening_: patches of the images")
    filters = found.axes[: len(scales)] * scales[:, None]
    return _fill(tensor, np.concatenate([filters, -filters[: many - len(filters)]]).reshape(tensor.shape))


def _patch_shape(shape: tuple[int, ...], images: np.ndarray) -> tuple[int, int, int]:
    """(I, kh, kw) of the weight, which the images must fit."""
    if len(shape) != 4:
        raise ValueError(f"whitening_ takes a weight (O, I, kh, kw), got shape {shape}")
    most = 2 * math.prod(shape[1:])
    if shape[0] > most:
        raise ValueError(
            f"whitening_: a weight of shape {shape} has more than the {most} filters that there are, one and its "
            f"negative for each number of a patch; make it at most {most} channels wide"
        )
    given, channels, kernel = images.shape, shape[1], shape[2:]
    fits = all(k <= extent for k, extent in zip(kernel, given[2:]))
    if images.dtype.kind not in "fiub" or images.ndim != 4 or given[1] != channels or not fits:
        raise ValueError(
            f"whitening_: images must be numbers (N, {channels}, H, W) with H and W of {kernel} or more, "
            f"got {images.dtype} of shape {given}"
        )
    return channels, kernel[0], kernel[1]


def _patches(images: np.ndarray, kernel: tuple[int, int]) -> Iterator[np.ndarray]:
    """All windows of the images as rows, so many at a time that they need little memory."""
    windows = np.lib.stride_tricks.sliding_window_view(images, kernel, (2, 3)).transpose(1, 4, 5, 0, 2, 3)
    *patch, count, height, width = windows.shape
    size = math.prod(patch)
    rows = min(height, max(1, BLOCK // (width * size)))
    many = max(1, BLOCK // (rows * width * size))
    for image in range(0, count, many):
        for row in range(0, height, rows):
            yield windows[:, :, :, image : image + many, row : row + rows].reshape(size, -1).T
