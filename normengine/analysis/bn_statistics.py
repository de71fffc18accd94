"""What batch norms remember, held against the statistics of the population: exact ones of all the data."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..graph import Value
from ..nn.module import Module
from ..nn.trace import Trace
from ..settings import whole
from ..train.batches import given_inputs
from .moments import Moments
from .probe import Probe, batch_norms, norms_in_training, sites_of
from .report import INFERENCE, REMEMBERED, TRAINING, Report, log_axis, name_axis, new_figure, number, ruled, saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WHAT = "bn_statistics"
FEW_VALUES = 32
"""Values of a channel in a batch below which there is a warning: of 32 independent ones the variance is known to a
quarter, sqrt(2 / 31)."""
SMALL_SCALE = 1e-3
"""Scales below which a channel is as good as switched off."""
_SURE = 4.0
"""Standard deviations by which batch means must drift more than chance lets them: 3 in 100,000 by chance."""


class NormStatistics(NamedTuple):
    """A batch norm's running statistics beside those of the population.

    ``mean`` and ``variance`` ``(C,)`` float64 are the population's, ``running_mean`` and ``running_variance`` what the
    batch norm remembers, or None. ``mean_shift`` is the largest difference of the means in standard deviations of the
    population, ``variance_ratio`` that ratio running / population which is farthest from 1, over all channels whose
    variance is not near zero; None where nothing is remembered. ``values`` is how many a channel has in a batch, the
    median. ``drift`` is the variance of the batches' means over the one that the variance within batches predicts, 1
    for shuffled data, and ``drift_sigma`` how many standard deviations that is beyond chance; None for fewer than two
    batches, or batches of one sample. ``warnings`` are sentences.
    """

    name: str
    mean: np.ndarray
    variance: np.ndarray
    running_mean: np.ndarray | None
    running_variance: np.ndarray | None
    mean_shift: float | None
    variance_ratio: float | None
    values: int
    drift: float | None
    drift_sigma: float | None
    warnings: tuple[str, ...]


class BatchNormStatistics(Report[NormStatistics]):
    """What :func:`bn_statistics` found: :class:`NormStatistics` for each batch norm; ``print`` or ``plot`` it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of all batch norms, each with the name before it."""
        return tuple(f"{s.name}: {warning}" for s in self for warning in s.warnings)

    def __str__(self) -> str:
        head = ("batch norm", "channels", "values", "mean off by (std)", "variance ratio", "drift")
        rows = [
            (
                s.name, str(len(s.mean)), str(s.values), number(s.mean_shift, ".3f"),
                number(s.variance_ratio, ".3f"), number(s.drift, ".2f"),
            )
            for s in self
        ]  # fmt: skip
        return "\n".join([ruled(head, rows), *([""] if self.warnings else []), *self.warnings])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw, for each batch norm, how far the running mean and variance of each channel are off, into the file
        ``path`` if one is given.

        Returns:
            The ``matplotlib.figure.Figure``.

        Raises:
            ModuleNotFoundError: matplotlib is not installed (``pip install matplotlib``).
        """
        figure = new_figure("BatchNormStatistics.plot", 9, 3.8)
        left, right = figure.subplots(1, 2)
        for i, s in enumerate(self):
            if s.running_mean is None or s.running_variance is None:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                off = (s.running_mean - s.mean) / np.sqrt(s.variance)
                ratio = s.running_variance / s.variance
            places = i + np.linspace(-0.25, 0.25, len(off)) * (len(off) > 1)
            style = {"linestyle": "", "marker": "o", "markersize": 3, "alpha": 0.7}
            left.plot(places, np.where(np.isfinite(off), off, np.nan), color=TRAINING, **style)
            right.plot(places, np.where(np.isfinite(ratio) & (ratio > 0), ratio, np.nan), color=INFERENCE, **style)
        for axes, level in ((left, 0.0), (right, 1.0)):
            axes.axhline(level, color=REMEMBERED, linewidth=1)
            name_axis(axes, [s.name for s in self], "batch norm, its channels side by side")
        log_axis(right)
        left.set(title="Running mean off by (standard deviations)")
        right.set(title="Running variance / population's")
        return saved(figure, path)


def bn_statistics(
    model: Module,
    data: object,
    *,
    batch_size: int = 32,
    dropout: bool = False,
    few_values: int = FEW_VALUES,
    seed: int = 0,
) -> BatchNormStatistics:
    """What each batch norm remembers against the exact statistics of the population, and what is wrong with them.

    Each batch goes through the network once, with batch norms in training mode, whatever mode they are in, so that each
    normalizes by the batch's own statistics as it did in training; all else is in eval mode, or with ``dropout`` in
    training mode too. The statistics are those of Algorithm 2 of Ioffe and Szegedy ("Batch Normalization", ICML 2015,
    arXiv 1502.03167), in float64: the mean of the batches' means, and the mean of their biased variances times
    ``m / (m - 1)``, where m = N·H·W is the number of values of a channel in a batch; batches of other sizes count by
    their values. To ghost batch norm each of its parts is a batch. Nothing in the model changes.

    Warnings are given for batches of fewer than ``few_values`` values a channel; for batches whose means drift, as
    those of unshuffled data do (one-way analysis of variance of the images' means, the mean over the channels of F,
    with Paulson's normal approximation, beyond 4 standard deviations); for dead channels, whose variance is no more
    than the layer's eps; and for scales (``weight``) of less than 0.001.

    Args:
        model: with batch norms.
        data: an array ``(N, ...)`` or a tuple ``(x, y)`` of arrays, cut into batches of ``batch_size``; or an iterable
            of batches ``x`` or ``(x, y)``, such as a :class:`~normengine.data.DataLoader`. Give batches as in training.
        batch_size: samples of a batch, where ``data`` is cut.
        dropout: whether dropout is on.
        few_values: the bound of the first warning.
        seed: of the dropout masks.

    Returns:
        A :class:`BatchNormStatistics`, in the order of the network.

    Raises:
        ValueError: the model has no batch norm, a batch has one value a channel, or data gives nothing or does not fit.
        TypeError: model or data is something else.
    """
    few_values = whole(few_values, f"{_WHAT}: few_values")
    layers: dict[str, str] = {}

    def inputs(traced: Trace) -> dict[str, Value]:
        sites = sites_of(model, traced, _WHAT)
        layers.update((site.name, site.layer) for site in sites)
        return {site.name: site.input for site in sites}

    probe = Probe(model, inputs, partial(norms_in_training, model, bool(dropout)), _WHAT, seed=seed)
    seen: dict[str, list[_Batch]] = {}
    norms = batch_norms(model)
    for i, x in enumerate(given_inputs(data, batch_size, _WHAT)):
        for name, array in probe.run(x, i).items():
            together = getattr(norms.get(layers[name]), "ghost_size", len(array))
            parts = (array[first : first + together] for first in range(0, len(array), together))
            seen.setdefault(name, []).extend(map(_batch_of, parts))
    return BatchNormStatistics(
        tuple(_statistics_of(name, norms.get(layers[name]), found, few_values) for name, found in seen.items())
    )


@dataclass
class _Batch:
    """What a batch shows of a batch norm's input: the moments of the values of each channel, and those of the means of
    each image."""

    values: Moments
    images: Moments


def _batch_of(array: np.ndarray) -> _Batch:
    pixels = array.reshape(len(array), array.shape[1], -1)
    return _Batch(Moments.of(array), Moments.of(pixels.mean(2, dtype=np.float64)))


def _statistics_of(name: str, norm: Module | None, seen: Sequence[_Batch], few_values: int) -> NormStatistics:
    mean, variance = population([batch.values for batch in seen])
    running_mean, running_variance = (
        None if norm is None or (array := norm._buffers.get(key)) is None else np.asarray(array, np.float64)
        for key in ("running_mean", "running_var")
    )
    dead = variance <= float(getattr(norm, "eps", 1e-5))
    mean_shift = variance_ratio = None
    if running_mean is not None and running_variance is not None and not dead.all():
        mean_shift = float(np.max(np.abs(running_mean - mean)[~dead] / np.sqrt(variance[~dead])))
        with np.errstate(divide="ignore"):
            ratios = running_variance[~dead] / variance[~dead]
            variance_ratio = float(ratios[np.argmax(np.abs(np.log(ratios)))])
    values = int(median(batch.values.count for batch in seen))
    drift, sigma = _drift([batch.images for batch in seen], ~dead)
    warnings = tuple(_warnings(norm, dead, values, few_values, drift, sigma))
    return NormStatistics(
        name, mean, variance, running_mean, running_variance, mean_shift, variance_ratio, values, drift, sigma, warnings
    )


def population(seen: Sequence[Moments]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the population from the moments of batches, as ``recalibrate`` has them."""
    total = sum(batch.count for batch in seen)
    mean = sum(batch.count / total * batch.mean for batch in seen)
    variance = sum(batch.m2 for batch in seen) / (total - len(seen))
    return np.asarray(mean), np.asarray(variance)


def _drift(images: Sequence[Moments], live: np.ndarray) -> tuple[float | None, float | None]:
    """How much more the means of batches vary than the images within them let expect (F of a one-way analysis of
    variance, averaged over channels), and by how many standard deviations that is beyond chance."""
    samples = sum(batch.count for batch in images)
    between, within = len(images) - 1, samples - len(images)
    if between < 1 or within < 1 or not live.any():
        return None, None
    mean = np.asarray(sum(batch.count * batch.mean for batch in images)) / samples
    spread = np.asarray(sum(batch.count * np.square(batch.mean - mean) for batch in images)) / between
    expected = np.asarray(sum(batch.m2 for batch in images)) / within
    known = live & (expected > 0)
    if not known.any():
        return None, None
    drift = float(np.mean(spread[known] / expected[known]))
    return drift, _paulson(drift, between, within)


def _paulson(f: float, between: int, within: int) -> float:
    """F with these degrees of freedom as a standard normal number (E. Paulson, "An Approximate Normalization of the
    Analysis of Variance Distribution", Annals of Mathematical Statistics 13, 1942)."""
    a, b = 2.0 / (9.0 * between), 2.0 / (9.0 * within)
    root = math.exp(math.log(f) / 3.0) if f else 0.0
    return ((1.0 - b) * root - (1.0 - a)) / math.sqrt(b * root * root + a)


def _warnings(
    norm: Module | None, dead: np.ndarray, values: int, few_values: int, drift: float | None, sigma: float | None
) -> Iterator[str]:
    if values < few_values:
        yield (
            f"a batch has {values} values a channel, fewer than {few_values}, so that its statistics are noise; take "
            "larger batches, or nn.GroupNorm"
        )
    if drift is not None and sigma is not None and sigma > _SURE:
        yield (
            f"the means of the batches vary {drift:.1f} times as much as those of shuffled data would; shuffle the data"
        )
    if dead.any():
        yield f"{_some(dead)} dead, with a variance of no more than eps"
    weight = None if norm is None else norm._parameters.get("weight")
    if weight is not None:
        small = np.abs(np.asarray(weight)) < SMALL_SCALE
        if small.any():
            yield f"{_some(small)} switched off by a scale (weight) of less than {SMALL_SCALE:g}"


def _some(channels: np.ndarray) -> str:
    """How many channels these are, and the first of them."""
    which = np.flatnonzero(channels)
    named = ", ".join(map(str, which[:5])) + (", ..." if len(which) > 5 else "")
    return f"{len(which)} of {len(channels)} channels ({named}) {'is' if len(which) == 1 else 'are'}"
