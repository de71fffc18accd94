"""Whitening: a linear map after which the features of samples have variance 1 and no correlation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from ..conversion import one_array
from ..principal import BLOCK, finite_rows, principal
from ..settings import finite, whole

_METHODS = ("pca", "zca")
_UNFITTED = "Whitening: {} needs the samples' mean and covariance; call fit(x) first"


class Whitening:
    """Whitening of samples (N, ...), whose features are all axes but the first taken as one, D in number.

    With the covariance ``C = U diag(variance) U^T`` of the samples that :meth:`fit` was given (dividing by N - 1),

    - ``method="pca"`` turns to the principal axes: ``y = (x - mean) U diag(1 / sqrt(variance + eps))``, (N, K),
    - ``method="zca"`` turns back again: ``y = (x - mean) U diag(1 / sqrt(variance + eps)) U^T`` in the shape of x, of
      all whitened features those nearest to x (Bell and Sejnowski, "The independent components of natural scenes are
      edge filters", Vision Research 37, 1997; Kessy, Lewin and Strimmer, The American Statistician 72, 2018).

    Computation is in float64, results are float32. Samples must be numbers that are finite as float32.

    Args:
        method: ``"pca"`` or ``"zca"``.
        eps: what is added to the variances, in the squared units of x, 0 or more; above 0 it keeps axes of little
            variance, which hold noise, from becoming as large as the others.
        components: K, how many of the axes of the largest variance are kept; all of them by default.

    Attributes:
        mean_: (D,) float64.
        eigenvalues_: (K,) float64, the variances along the kept axes, the largest first.
        components_: (K, D) float64, the kept axes, each of length 1 with its largest entry positive.

    Raises:
        ValueError: a setting is none of these.
    """

    mean_: np.ndarray
    eigenvalues_: np.ndarray
    components_: np.ndarray

    def __init__(self, method: Literal["pca", "zca"] = "pca", eps: float = 1e-5, components: int | None = None) -> None:
        if method not in _METHODS:
            raise ValueError(f"Whitening: method must be 'pca' or 'zca', got {method!r}")
        self.method = method
        self.eps = finite(eps, "Whitening: eps", low=0)
        self.components = None if components is None else whole(components, "Whitening: components", low=1)

    def __repr__(self) -> str:
        return f"Whitening(method={self.method!r}, eps={self.eps}, components={self.components})"

    def fit(self, x: object, y: object = None) -> Whitening:
        """Take mean and covariance of samples ``x``, (N, ...) numbers, and return ``self``; ``y`` is not looked at.

        Raises:
            ValueError: ``x`` has fewer than two samples, no features or fewer than ``components``, or numbers that are
                not finite; or ``eps`` is 0 and a kept axis has no variance, as where N is not more than their number.
                What was fitted before stays then.

        Warns:
            UserWarning: ``eps`` is above 0 and N is not more than the number of kept axes.
        """
        return self._fit(x)

    def _fit(self, x: object) -> Whitening:
        samples = _samples(x, "fit")
        features = math.prod(samples.shape[1:])
        kept = features if self.components is None else self.components
        if kept > features:
            raise ValueError(
                f"Whitening: components must be at most the {features} features of a sample, got {kept} for shape "
                f"{samples.shape}"
            )
        found = principal(_blocks(samples), "Whitening: fit")
        scales = found.scales(self.eps, kept, "Whitening: fit")
        if found.samples <= kept:
            warnings.warn(
                f"Whitening: {found.samples} samples vary along at most {found.samples - 1} axes, fewer than the "
                f"{kept} that are kept; eps alone scales the others: give more samples, or fewer components",
                stacklevel=3,
            )
        self.mean_, self._scales, self._shape = found.mean, scales, samples.shape[1:]
        self.eigenvalues_, self.components_ = found.variances[:kept], found.axes[:kept]
        return self

    def transform(self, x: object) -> np.ndarray:
        """Samples ``x`` whitened: (N, K) float32 for ``"pca"``, float32 of the shape of ``x`` for ``"zca"``.

        Raises:
            ValueError: nothing was fitted, or ``x`` has another number of features or numbers that are not finite.
        """
        samples = self._fitting(x, "transform", len(getattr(self, "mean_", ())))

        def whiten(rows: np.ndarray) -> np.ndarray:
            turned = (rows - self.mean_) @ (self.components_.T * self._scales)
            return np.asarray(turned if self.method == "pca" else turned @ self.components_)

        return _mapped(whiten, samples, (len(self._scales),) if self.method == "pca" else samples.shape[1:])

    def inverse_transform(self, x: object) -> np.ndarray:
        """Samples of which :meth:`transform` makes ``x``, as far as the kept axes have them: float32, for ``"pca"`` in
        the shape of the samples that were fitted, for ``"zca"`` in that of ``x``.

        Raises:
            ValueError: nothing was fitted, or ``x`` is not of the form that :meth:`transform` gives.
        """
        features = len(getattr(self, "components_" if self.method == "pca" else "mean_", ()))
        samples = self._fitting(x, "inverse_transform", features)

        def restore(rows: np.ndarray) -> np.ndarray:
            turned = rows if self.method == "pca" else rows @ self.components_.T
            return np.asarray(turned / self._scales @ self.components_ + self.mean_)

        return _mapped(restore, samples, self._shape if self.method == "pca" else samples.shape[1:])

    def fit_transform(self, x: object, y: object = None) -> np.ndarray:
        """``fit(x).transform(x)``."""
        return self._fit(x).transform(x)

    def _fitting(self, x: object, what: str, features: int) -> np.ndarray:
        """``x`` as samples of that many features each."""
        if not hasattr(self, "mean_"):
            raise ValueError(_UNFITTED.format(what))
        samples = _samples(x, what)
        if (given := math.prod(samples.shape[1:])) != features:
            raise ValueError(
                f"Whitening: {what} takes samples of {features} features, got {given} (shape {samples.shape})"
            )
        return samples


def _samples(x: object, what: str) -> np.ndarray:
    """``x`` as an array of numbers with samples along its first axis."""
    samples = one_array(x, f"Whitening: {what}: x")
    if samples.dtype.kind not in "fiub" or samples.ndim < 2 or 0 in samples.shape:
        raise ValueError(
            f"Whitening: {what} takes numbers in a shape (N, ...), none of it 0, got {samples.dtype} of shape "
            f"{samples.shape}"
        )
    return samples


def _blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """The samples in rows, so many at a time that they need little memory as float64."""
    features = math.prod(samples.shape[1:])
    many = max(1, BLOCK // features)
    for begin in range(0, len(samples), many):
        part = samples[begin : begin + many]
        yield part.reshape(len(part), features)


def _mapped(function: Callable[[np.ndarray], np.ndarray], samples: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``function`` of all rows, as float32 with samples of ``shape``."""
    made = np.empty((len(samples), *shape), np.float32)
    begin = 0
    for rows in _blocks(samples):
        part = made[begin : begin + len(rows)]
        part[...] = function(finite_rows(rows, "Whitening")).reshape(part.shape)
        begin += len(rows)
    return made
