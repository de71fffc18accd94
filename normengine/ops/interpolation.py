"""Interpolation along one axis: where each output lies between the inputs, and the weights of the inputs around it.

An output at the coordinate ``x``, counted in inputs, takes input ``j`` with the weight ``k((j - x) s)``. ``k`` is a
triangle (linear) or a piecewise cubic (Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981), and
``s`` is 1, or, with ``antialias``, the scale where that is less. Nearest takes the one input that ``rounding`` says.
Weights of inputs that are not there go to the outermost one, or, with ``exclude_outside``, to the others.

The coordinates follow ONNX's Resize (https://onnx.ai/onnx/operators/onnx__Resize.html).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .inference import OperatorError

MODES = ("nearest", "linear", "cubic")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
CROP = "tf_crop_and_resize"
TRANSFORMATIONS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "tf_half_pixel_for_nn", "align_corners", "asymmetric",
    CROP,
)  # fmt: skip
FARTHEST = 1e6
"""How far a crop may reach, in lengths of its axis."""
_REMEMBERED = 128


class Taps(NamedTuple):
    """The inputs that each output of an axis is a weighted sum of: those of output ``i`` are at ``starts[i]`` up to
    ``starts[i + 1]`` of ``places`` and ``weights``."""

    size: int
    starts: np.ndarray
    places: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, size: int, outputs: int, rows: np.ndarray, places: np.ndarray, weights: np.ndarray) -> Taps:
        """Of entries in any order: those of one place are added up, those that are zero are left out."""
        keys, entries = np.unique(rows * size + places, return_inverse=True)
        sums = np.bincount(entries.reshape(-1), weights, len(keys)) if len(keys) else np.zeros(0)
        keys, sums = keys[sums != 0], sums[sums != 0]
        counts = np.bincount(keys // size, minlength=outputs)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(size, starts, (keys % size).astype(np.int64), sums)

    @classmethod
    def identity(cls, size: int) -> Taps:
        """Those of an axis that stays as it is."""
        return cls(size, np.arange(size + 1), np.arange(size), np.ones(size))

    @property
    def outputs(self) -> int:
        """How many outputs there are."""
        return len(self.starts) - 1

    @property
    def rows(self) -> np.ndarray:
        """The output that each entry belongs to."""
        return np.repeat(np.arange(self.outputs), np.diff(self.starts))

    @property
    def most(self) -> int:
        """The most inputs that an output has."""
        return int(np.diff(self.starts).max(initial=0))

    @property
    def picks(self) -> bool:
        """Whether each output is one input as it is."""
        return bool((np.diff(self.starts) == 1).all() and (self.weights == 1).all())

    @property
    def is_identity(self) -> bool:
        return self.picks and self.outputs == self.size and np.array_equal(self.places, np.arange(self.size))

    def transposed(self) -> Taps:
        """The map of gradients: each input's is the weighted sum of those of the outputs that it is part of."""
        return Taps.of(self.outputs, self.size, self.places, self.rows, self.weights)

    def applied(self, x: np.ndarray, axis: int) -> np.ndarray:
        """The outputs along ``axis`` of an array."""
        x = np.moveaxis(x, axis, -1)
        y = np.zeros((*x.shape[:-1], self.outputs))
        counts = np.diff(self.starts)
        for k in range(self.most):
            (which,) = np.nonzero(counts > k)
            entries = self.starts[which] + k
            y[..., which] += x[..., self.places[entries]] * self.weights[entries]
        return np.moveaxis(y, -1, axis)


class Interpolation(NamedTuple):
    """What an axis of ``size`` inputs and ``outputs`` outputs is interpolated by.

    ``scale`` is outputs over inputs, or the number that the outputs were rounded down from; ``crop`` is the part of the
    axis, as fractions of its length, that ``tf_crop_and_resize`` takes. ``single`` computes the coordinates in float32
    by the reciprocal of the scale, as PyTorch does.
    """

    size: int
    outputs: int
    scale: float
    crop: tuple[float, float]
    mode: str
    transformation: str
    rounding: str
    cubic_coeff: float
    exclude_outside: bool
    antialias: bool
    single: bool

    def check(self) -> None:
        """Raise :class:`OperatorError` for settings that make no sense."""
        for name, value, choice in (
            ("mode", self.mode, MODES),
            ("transformation", self.transformation, TRANSFORMATIONS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in choice:
                raise OperatorError(f"{name} must be one of {', '.join(choice)}, got {value!r}")
        if self.outputs < 1 or not 0 < self.scale < np.inf:
            raise OperatorError(f"sizes and scales must be positive, got size {self.outputs} and scale {self.scale}")
        if not np.isfinite([*self.crop, self.cubic_coeff]).all() or max(map(abs, self.crop)) > FARTHEST:
            raise OperatorError(
                f"crops must lie within {FARTHEST:g} lengths of the axis and the cubic coefficient must be finite, "
                f"got {self.crop} and {self.cubic_coeff}"
            )
        if self.outputs > self.scale * self.size + 1:
            raise OperatorError(f"size {self.outputs} is not {self.size} elements at scale {self.scale}")
        if self.antialias and self.mode == "nearest":
            raise OperatorError("antialias needs mode linear or cubic, got nearest")

    @property
    def length(self) -> float:
        """The outputs before they were rounded down to a whole number."""
        length = self.scale * self.size
        return float(self.outputs) if abs(length - self.outputs) < 1e-9 * self.outputs else length

    def coordinates(self) -> np.ndarray:
        """Where each output lies, counted in inputs."""
        i, last = np.arange(self.outputs, dtype=np.float64), self.size - 1
        if self.transformation == "align_corners":
            return i * (last / (self.length - 1)) if self.length > 1 else np.zeros(self.outputs)
        if self.transformation == CROP:
            low, high = self.crop
            if self.length == 1:
                return np.full(self.outputs, (low + (high - low) / 2) * last)
            return i * (high - low) * last / (self.length - 1) + low * last
        if self.transformation == "asymmetric":
            return self._scaled(i)
        if self.transformation == "tf_half_pixel_for_nn":
            return self._scaled(i + 0.5)
        if self.transformation == "pytorch_half_pixel" and self.length == 1:
            return np.zeros(self.outputs)
        shift = 0.0
        if self.transformation == "half_pixel_symmetric":
            shift = self.size / 2 * (1 - self.outputs / self.length)
        return shift + self._scaled(i + 0.5) - 0.5

    def _scaled(self, i: np.ndarray) -> np.ndarray:
        if not self.single:
            return i / self.scale
        exact = self.scale == self.outputs / self.size
        step = np.float32(self.size) / np.float32(self.outputs) if exact else np.float32(1.0 / self.scale)
        return (i.astype(np.float32) * step).astype(np.float64)

    def outside(self) -> np.ndarray:
        """Which outputs lie outside the inputs and are no weighted sum of them."""
        x = self.coordinates()
        return (x < 0) | (x > self.size - 1) if self.transformation == CROP else np.zeros(self.outputs, bool)


@lru_cache(maxsize=_REMEMBERED)
@np.errstate(over="ignore", invalid="ignore")
def taps_of(axis: Interpolation) -> Taps:
    """The inputs of each output, and their weights."""
    x = axis.coordinates()
    if axis.mode == "nearest":
        places = _nearest(x, axis)[:, None]
        weights = np.ones(places.shape)
    else:
        squeezed = min(axis.scale, 1.0) if axis.antialias else 1.0
        reach = (1 if axis.mode == "linear" else 2) / squeezed
        first = int(np.floor(-reach)) + 1
        places = np.floor(x).astype(np.int64)[:, None] + np.arange(first, 2 - first)
        weights = _weights((places - x[:, None]) * squeezed, axis)
        weights = _normalized(weights)
        if axis.exclude_outside:
            weights = _normalized(np.where((places < 0) | (places >= axis.size), 0, weights))
    weights[axis.outside()] = 0
    rows = np.broadcast_to(np.arange(axis.outputs)[:, None], places.shape)
    places = np.clip(places, 0, axis.size - 1)
    return Taps.of(axis.size, axis.outputs, rows.reshape(-1), places.reshape(-1), weights.reshape(-1))


def _nearest(x: np.ndarray, axis: Interpolation) -> np.ndarray:
    if axis.rounding == "round_prefer_floor":
        x = np.ceil(x - 0.5)
    elif axis.rounding == "round_prefer_ceil":
        x = np.floor(x + 0.5)
    else:
        x = np.floor(x) if axis.rounding == "floor" else np.ceil(x)
    return x.astype(np.int64)


def _normalized(weights: np.ndarray) -> np.ndarray:
    """Rows that come to 1, but for those that come to 0."""
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def _weights(distance: np.ndarray, axis: Interpolation) -> np.ndarray:
    d = np.abs(distance)
    if axis.mode == "linear":
        return np.maximum(1 - d, 0)
    a = axis.cubic_coeff
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
