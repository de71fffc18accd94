"""The variance shift between dropout and batch norm: measured for each batch norm, and predicted.

In training a batch norm is given noise with its values, and remembers their variance with it; in inference the noise is
gone and the variance with it, but not from what the batch norm remembers: X. Li, S. Chen, X. Hu, J. Yang,
"Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift", CVPR 2019, arXiv 1801.05134.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..graph import Value
from ..nn.mode import kept_mode
from ..nn.module import Module
from ..nn.trace import Trace
from ..train.batches import given_inputs
from .moments import Moments
from .noise import NoiseWalk
from .probe import Probe, batch_norms, node_name, sites_of
from .report import INFERENCE, REMEMBERED, TRAINING, Report, log_axis, name_axis, new_figure, number, ruled, saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WHAT = "variance_shift"
_RING = {"linestyle": "-", "marker": "o", "markersize": 8, "fillstyle": "none"}
_CROSS = {"linestyle": ":", "marker": "x", "markersize": 6}
_DOT = {"linestyle": "--", "marker": "o", "markersize": 3.5}


class Shift(NamedTuple):
    """The variance of a batch norm's input, as the mean over its channels.

    ``training`` is that in training mode, ``inference`` that in eval mode, ``running`` what the batch norm remembers
    (None where it remembers nothing). ``predicted`` is the ratio :attr:`delta` in closed form from the dropout between
    the batch norm before and this one, 1 where there is none and None where there is no closed form. ``sources`` names
    that dropout. ``channels`` holds the same variances of each channel, ``(C,)`` float64, under the names of the
    fields.
    """

    name: str
    training: float
    inference: float
    running: float | None
    predicted: float | None
    sources: tuple[str, ...]
    channels: Mapping[str, np.ndarray]

    @property
    def delta(self) -> float:
        """``inference / training``: below 1 where noise adds to the variance in training."""
        return _ratio(self.inference, self.training)

    @property
    def shift(self) -> float:
        """The shift ratio of the two modes, ``max(delta, 1 / delta)``, 1 where nothing shifts."""
        return _shift(self.inference, self.training)

    @property
    def running_shift(self) -> float | None:
        """The shift ratio of what inference meets against what is remembered; None where nothing is."""
        return None if self.running is None else _shift(self.inference, self.running)


class VarianceShift(Report[Shift]):
    """What :func:`variance_shift` found: a :class:`Shift` for each batch norm; ``print`` or ``plot`` it."""

    def __str__(self) -> str:
        head = ("batch norm", "training", "inference", "running", "delta", "predicted", "shift", "against running")
        rows = [
            (
                s.name, *map(number, (s.training, s.inference, s.running)), number(s.delta, ".3f"),
                number(s.predicted, ".3f"), number(s.shift, ".2f"), number(s.running_shift, ".2f"),
            )
            for s in self
        ]  # fmt: skip
        return ruled(head, rows)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the variances and the shift ratios by batch norm, into the file ``path`` if one is given.

        Returns:
            The ``matplotlib.figure.Figure``.

        Raises:
            ModuleNotFoundError: matplotlib is not installed (``pip install matplotlib``).
        """
        figure = new_figure("VarianceShift.plot", 9, 3.8)
        left, right = figure.subplots(1, 2)
        places = range(len(self))
        predicted = [np.nan if s.predicted is None else _shift(s.predicted, 1.0) for s in self]
        for axes, color, style, label, values in (
            (left, TRAINING, _RING, "training", [s.training for s in self]),
            (left, REMEMBERED, _CROSS, "running", [np.nan if s.running is None else s.running for s in self]),
            (left, INFERENCE, _DOT, "inference", [s.inference for s in self]),
            (right, TRAINING, _RING, "inference against training", [s.shift for s in self]),
            (right, REMEMBERED, _CROSS, "inference against running", [s.running_shift or np.nan for s in self]),
            (right, INFERENCE, _DOT, "predicted for training", predicted),
        ):
            axes.plot(places, values, color=color, label=label, **style)
        for axes in (left, right):
            name_axis(axes, [s.name for s in self], "batch norm")
            log_axis(axes)
            axes.legend(frameon=False, fontsize=8)
        left.set(title="Variance of the input, mean over channels")
        right.set(title="Shift ratio, max(a / b, b / a)")
        return saved(figure, path)


@dataclass
class _Tally:
    """What was seen of one batch norm's input."""

    training: Moments = field(default_factory=Moments)
    clean: Moments = field(default_factory=Moments)
    inference: Moments = field(default_factory=Moments)
    added: float = 0.0
    """The sum over channels and values of the variance that noise adds."""


class _Predicted(NamedTuple):
    """Of one batch norm: its layer, where its noise comes from, and whether what that adds is known."""

    layer: str
    sources: tuple[str, ...]
    is_known: bool


def variance_shift(model: Module, data: object, *, batch_size: int = 128, seed: int = 0) -> VarianceShift:
    """The variance of each batch norm's input in training mode and in eval mode, and what it remembers.

    Each batch of ``data`` goes through the network twice: with all modules in training mode (batch norms use the
    batch's statistics, dropout is on), and with all in eval mode. Variances are computed in float64 over all the data,
    for each channel, and averaged over the channels. The prediction takes the clean input of the dropout as it is in
    training mode, with no assumption on its mean or its correlations:

        delta = v / (v + n),    n = s² E[x²] behind the dropout, s² E[Σ w² x²] behind a convolution after it

    with v the variance without the noise and s² that of the factors. For inputs x of mean zero that are not correlated
    this is 1 - p, and ``3 / (3 + beta²)`` for ``UniformDropout``. Nothing in the model changes. Batch norms that are at
    work in one of the modes alone are left out.

    Args:
        model: with batch norms.
        data: an array ``(N, ...)`` or a tuple ``(x, y)`` of arrays, cut into batches of ``batch_size``; or an iterable
            of batches ``x`` or ``(x, y)``, such as a :class:`~normengine.data.DataLoader`.
        batch_size: samples of a batch, where ``data`` is cut.
        seed: of the dropout masks.

    Returns:
        A :class:`VarianceShift`, in the order of the network.

    Raises:
        ValueError: the model has no batch norm, or data gives nothing or does not fit.
        TypeError: model or data is something else.

    Source: Li, Chen, Hu and Yang, CVPR 2019, arXiv 1801.05134, cases (a) and (b) of section 3, and Uout of section 6.
    """
    found: dict[str, _Predicted] = {}

    def in_training(traced: Trace) -> dict[str, Value]:
        return _with_clean(model, traced, found)

    def in_inference(traced: Trace) -> dict[str, Value]:
        return {site.name: site.input for site in sites_of(model, traced, _WHAT)}

    training = Probe(model, in_training, lambda: kept_mode(model, training=True), _WHAT, seed=seed)
    inference = Probe(model, in_inference, lambda: kept_mode(model, training=False), _WHAT)
    tallies: dict[str, _Tally] = {}
    for i, x in enumerate(given_inputs(data, batch_size, _WHAT)):
        seen, bare = training.run(x, i), inference.run(x, i)
        for name in found:
            if name in bare:
                _take(tallies.setdefault(name, _Tally()), name, seen, bare[name])
    return VarianceShift(tuple(_shift_of(model, name, found[name], tally) for name, tally in tallies.items()))


def _with_clean(model: Module, traced: Trace, found: dict[str, _Predicted]) -> dict[str, Value]:
    """Of each batch norm in training: its input, the same without noise, and the mean variance that noise adds."""
    sites = sites_of(model, traced, _WHAT)
    builder, modules = traced.builder, dict(model.named_modules())
    walk = NoiseWalk(builder, batch_norms(model))
    wanted: dict[str, Value] = {}
    for site in sites:
        wanted[site.name] = site.input
        noise = walk.noise.get(site.input)
        excess = walk.excess(site.input) if noise else None
        drawn = [node for node in builder.nodes if noise and node in noise.sources]
        sources = tuple(dict.fromkeys(node_name(node, modules) for node in drawn))
        found[site.name] = _Predicted(site.layer, sources, noise is None or excess is not None)
        if excess is not None:
            axes = tuple(range(len(excess.shape)))
            wanted[f"clean {site.name}"] = walk.clean.get(site.input, site.input)
            wanted[f"added {site.name}"] = builder.add("reduce_mean", excess, axes=axes, keepdims=False)
    return wanted


def _take(tally: _Tally, name: str, seen: Mapping[str, np.ndarray], bare: np.ndarray) -> None:
    """Add what one batch shows."""
    tally.training.add(seen[name])
    tally.inference.add(bare)
    if f"clean {name}" in seen:
        clean = seen[f"clean {name}"]
        tally.clean.add(clean)
        tally.added += float(seen[f"added {name}"]) * clean.size


def _shift_of(model: Module, name: str, predicted: _Predicted, tally: _Tally) -> Shift:
    channels = {"training": tally.training.variance, "inference": tally.inference.variance}
    running = _running_variance(model, predicted.layer)
    if running is not None:
        channels["running"] = running
    means = {key: float(array.mean()) for key, array in channels.items()}
    delta = 1.0 if predicted.is_known else None
    if tally.clean.count:
        variance = float(tally.clean.variance.mean())
        delta = _ratio(variance, variance + tally.added / (tally.clean.count * tally.clean.mean.size))
    return Shift(name, means["training"], means["inference"], means.get("running"), delta, predicted.sources, channels)


def _running_variance(model: Module, layer: str) -> np.ndarray | None:
    """What the batch norm of that name remembers, ``(C,)`` float64."""
    norm = batch_norms(model).get(layer)
    array = None if norm is None else norm._buffers.get("running_var")
    return None if array is None else np.asarray(array, np.float64)


def _ratio(a: float, b: float) -> float:
    """``a / b``, 1 where both are zero."""
    return a / b if b else (1.0 if not a else np.inf)


def _shift(a: float, b: float) -> float:
    return max(_ratio(a, b), _ratio(b, a))
