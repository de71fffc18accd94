"""The internal covariate shift: how the distributions of layers' inputs move while a network is trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..graph import Value
from ..nn.mode import kept_mode
from ..nn.module import Module
from ..nn.trace import Trace
from ..runtime.cache import ProgramCache
from ..settings import whole
from ..train.history import Epoch
from ..train.inputs import as_input
from .probe import Probe, layer_input
from .report import TRAINING, new_figure, ruled, saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WHAT = "CovariateShift"
PERCENTILES = (15.0, 50.0, 85.0)
_ROWS = 8
"""Records of a layer that are printed."""
_ACROSS = 3
"""Layers side by side in a picture."""


class Distribution(NamedTuple):
    """The values that a layer was given at one step: their 15th, 50th and 85th percentiles, mean and variance."""

    step: int
    low: float
    median: float
    high: float
    mean: float
    variance: float


class _Watched(NamedTuple):
    """A layer, and the one channel of its input that is looked at; None for all."""

    layer: str
    channel: int | None

    @property
    def name(self) -> str:
        return self.layer if self.channel is None else f"{self.layer}[{self.channel}]"


class CovariateShift:
    """Records the distributions of what chosen layers are given, on a fixed batch, while a model is trained.

    Args:
        model: the network that is trained.
        layers: names as in ``model.named_modules()``; of ``("features.3", 5)`` channel 5 (axis 1) of the input alone,
            one unit as in the paper's figure. A layer is looked at in its first call, at its first input; what holds
            other layers is given what the first of them is.
        x: the batch ``(N, ...)`` float32 on which the layers are looked at, the same each time; a copy is kept.
        every: record the steps that are multiples of it, the others are passed over.
        training: in training mode, as the layers are in a step (batch norms normalize by the statistics of ``x``,
            dropout is on and has the same masks each time), or else in eval mode (running statistics, no dropout).
        seed: of the dropout masks.

    Call ``record(step)`` in a loop of one's own, or give the recorder to ``Trainer.fit(callback=...)``, which makes it
    record each epoch under its number. Each record runs the network once, up to the last of the layers; training goes
    on as without it, with the same random numbers. ``recorder["features.3"]`` are the records of a layer,
    :class:`Distribution`, oldest first (``"features.3[5]"`` those of a channel).

    Raises:
        ValueError: there is no such layer or channel, a layer computes nothing in this mode, or ``x`` does not fit.
        TypeError: ``model`` is no module, or ``layers`` are no names.

    Source: Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift", ICML 2015, arXiv 1502.03167, figure 1 (b, c).
    """

    def __init__(
        self,
        model: Module,
        layers: str | Sequence[str | tuple[str, int]],
        x: np.ndarray,
        *,
        every: int = 1,
        training: bool = True,
        seed: int = 0,
    ) -> None:
        self.every = whole(every, f"{_WHAT}: every", low=1)
        self._watched = _watched(layers)
        self._x = as_input(x, f"{_WHAT}: x").copy()
        self._programs = ProgramCache(size=2)
        self._probe: Callable[[], Probe] = lambda: Probe(
            model,
            partial(_inputs, model, self._watched),
            partial(kept_mode, model, training=bool(training)),
            _WHAT,
            seed=seed,
            programs=self._programs,
        )
        self._records: dict[str, list[Distribution]] = {watched.name: [] for watched in self._watched}
        self._measured(0)

    @property
    def records(self) -> Mapping[str, Sequence[Distribution]]:
        """The records of each layer, oldest first."""
        return {name: tuple(found) for name, found in self._records.items()}

    def __getitem__(self, name: str) -> Sequence[Distribution]:
        """Those of one layer; raises KeyError for one that is not watched."""
        if name not in self._records:
            raise KeyError(f"{name!r} is not watched, but {', '.join(map(repr, self._records))}")
        return tuple(self._records[name])

    def __len__(self) -> int:
        """How many steps were recorded."""
        return len(next(iter(self._records.values())))

    def record(self, step: int) -> None:
        """Look at the layers as they are after ``step`` steps, if that is a multiple of ``every``."""
        step = whole(step, f"{_WHAT}: step")
        if step % self.every == 0:
            for name, distribution in self._measured(step).items():
                self._records[name].append(distribution)

    def __call__(self, epoch: Epoch) -> None:
        """Record an epoch, as the callback of ``Trainer.fit``."""
        self.record(epoch.epoch)

    def __str__(self) -> str:
        head = ("layer", "step", "15 %", "50 %", "85 %", "mean", "variance")
        rows = [
            (name, str(d.step), *(f"{value:.3g}" for value in d[1:]))
            for name, found in self._records.items()
            for d in _some(found)
        ]
        return ruled(head, rows)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the percentiles of each layer over the steps, as in the paper's figure 1 (b, c), into the file ``path``
        if one is given.

        Returns:
            The ``matplotlib.figure.Figure``.

        Raises:
            ModuleNotFoundError: matplotlib is not installed (``pip install matplotlib``).
        """
        across = min(_ACROSS, len(self._records))
        down = -(-len(self._records) // across)
        figure = new_figure("CovariateShift.plot", 1 + 3.4 * across, 0.4 + 2.6 * down)
        panels = figure.subplots(down, across, squeeze=False).flat
        for (name, found), axes in zip(self._records.items(), panels, strict=False):
            steps = [d.step for d in found]
            for i in range(1, 4):
                style = {"linewidth": 1.6 if i == 2 else 1.0, "marker": "." if len(found) < 12 else ""}
                axes.plot(steps, [d[i] for d in found], color=TRAINING, **style)
            axes.fill_between(steps, [d.low for d in found], [d.high for d in found], color=TRAINING, alpha=0.12)
            for height, text in _captions(found):
                axes.annotate(text, (steps[-1], height), (4, 0), textcoords="offset points", fontsize=7, va="center")
            axes.set(title=f"input of {name}", xlabel="step")
            axes.xaxis.get_major_locator().set_params(integer=True)
        for axes in list(panels):
            axes.remove()
        return saved(figure, path)

    def _measured(self, step: int) -> dict[str, Distribution]:
        """The distributions now."""
        seen = self._probe().run(self._x)
        return {w.name: _distribution(step, _taken(seen[w.layer], w)) for w in self._watched}


def covariate_shift(
    model: Module,
    layers: str | Sequence[str | tuple[str, int]],
    x: np.ndarray,
    *,
    every: int = 1,
    training: bool = True,
    seed: int = 0,
) -> CovariateShift:
    """A :class:`CovariateShift` that has recorded the model as it is now, as step 0: a callback for ``Trainer.fit``.

    Takes, returns and raises what that class does.
    """
    recorder = CovariateShift(model, layers, x, every=every, training=training, seed=seed)
    recorder.record(0)
    return recorder


def _watched(layers: object) -> tuple[_Watched, ...]:
    """The layers that are named, each once."""
    given = [layers] if isinstance(layers, str) else layers
    if not isinstance(given, (list, tuple)) or not given:
        raise TypeError(f"{_WHAT}: layers must be names of layers such as ['features.3'], got {layers!r}")
    found = []
    for entry in given:
        layer, channel = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, None)
        if not isinstance(layer, str):
            raise TypeError(f"{_WHAT}: a layer must be a name or (name, channel), got {entry!r}")
        found.append(_Watched(layer, None if channel is None else whole(channel, f"{_WHAT}: channel")))
    return tuple(dict.fromkeys(found))


def _inputs(model: Module, watched: Sequence[_Watched], traced: Trace) -> dict[str, Value]:
    """What each layer is given."""
    names = [name for name, _ in model.named_modules()]
    wanted = {}
    for layer, channel in watched:
        if layer not in names:
            there = ", ".join(repr(name) for name in names if name)
            raise ValueError(f"{_WHAT}: there is no layer {layer!r}; the model has {there or 'none'}")
        value = layer_input(traced.builder.nodes, traced.builder.inputs, layer)
        if value is None:
            raise ValueError(
                f"{_WHAT}: layer {layer!r} computes nothing in this mode; name the layer behind it, whose input is the "
                "same"
            )
        if channel is not None and (value.spec.rank < 2 or channel >= value.shape[1]):
            raise ValueError(
                f"{_WHAT}: layer {layer!r} has an input of shape {value.shape}, without a channel {channel}"
            )
        wanted[layer] = value
    return wanted


def _taken(array: np.ndarray, watched: _Watched) -> np.ndarray:
    return array if watched.channel is None else array[:, watched.channel]


def _distribution(step: int, values: np.ndarray) -> Distribution:
    values = values.astype(np.float64).ravel()
    low, median, high = np.percentile(values, PERCENTILES)
    return Distribution(step, float(low), float(median), float(high), float(values.mean()), float(values.var()))


def _captions(found: Sequence[Distribution]) -> list[tuple[float, str]]:
    """What to write beside the last percentiles; those that are one and the same share a line."""
    heights: dict[float, list[str]] = {}
    for percentile, height in zip(PERCENTILES, found[-1][1:4] if found else ()):
        heights.setdefault(height, []).append(f"{percentile:.0f}")
    return [(height, f"{', '.join(names)} %") for height, names in heights.items()]


def _some(found: Sequence[Distribution]) -> list[Distribution]:
    """A few records, evenly from first to last."""
    if len(found) <= _ROWS:
        return list(found)
    return [found[i] for i in np.linspace(0, len(found) - 1, _ROWS).round().astype(int)]
