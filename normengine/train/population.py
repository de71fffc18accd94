"""Population statistics: the running statistics of batch norms computed anew from data, the weights fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from operator import setitem
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..graph import Node, Spec
from ..locks import at_once, load_module
from ..nn import dropout as noise
from ..nn import eager, random
from ..nn.mode import in_training, kept_mode
from ..nn.module import Module
from ..nn.norm import BatchNorm, RunningNorm
from ..nn.norm_variants import SwitchNorm2d
from ..nn.trace import Trace, trace
from ..table import table
from .batches import given_inputs
from .watch import Watch

if TYPE_CHECKING:
    from ..runtime import Program

_NOISE: tuple[type[Module], ...] = tuple(getattr(noise, name) for name in noise.__all__)
_Statistics = list[tuple[str, int, np.ndarray, np.ndarray]]
"""Of each batch norm that took part: its name, its values a channel, their mean and biased variance."""


@dataclass(frozen=True)
class Recalibrated:
    """What became of one batch norm.

    ``batches`` and ``values`` are how many batches, and of these how many values a channel, its statistics were taken
    from. ``mean_shift`` is the largest change of a channel's mean in new standard deviations ``sqrt(var + eps)``;
    ``least_ratio`` and ``largest_ratio`` are those of the channels' ``var + eps``, new by old. ``reason`` says why the
    layer stayed as it was, and is empty where it did not.
    """

    layer: str
    batches: int = 0
    values: int = 0
    mean_shift: float = 0.0
    least_ratio: float = 1.0
    largest_ratio: float = 1.0
    reason: str = ""


@dataclass(frozen=True)
class Recalibration:
    """What :func:`recalibrate` did, as plain values: a record for each batch norm, how many batches and samples were
    seen; ``print`` it as a table."""

    layers: tuple[Recalibrated, ...]
    batches: int
    samples: int

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, which JSON keeps."""
        return asdict(self)

    def __str__(self) -> str:
        done = [layer for layer in self.layers if not layer.reason]
        rows = [_row(layer) for layer in done]
        head = ("batch norm", "batches", "values", "mean moved (std)", "variance, new / old")
        lines = [table(head, rows), ""]
        lines.append(f"{len(done)} of {len(self.layers)} batch norms, samples: {self.samples}, batches: {self.batches}")
        lines += [f"'{layer.layer}' stayed as it was: {layer.reason}" for layer in self.layers if layer.reason]
        return "\n".join(lines)


def _row(x: Recalibrated) -> tuple[str, ...]:
    ratio = f"{x.least_ratio:.3g} to {x.largest_ratio:.3g}"
    return x.layer, f"{x.batches}", f"{x.values}", f"{x.mean_shift:.3g}", ratio


def recalibrate(
    model: Module, data: object, *, dropout: bool = False, batch_size: int = 256, progress: bool = False
) -> Recalibration:
    """Give the batch norms of ``model`` the statistics of a population, which ``data`` stands for, in place of moving
    averages (Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 2).

    Each batch goes through the network once. Batch norms normalize with its statistics, as in training; everything else
    is in eval mode. With m_b values a channel, mean μ_b and biased variance σ²_b of batch b, and sums in float64::

        running_mean = Σ m_b μ_b / Σ m_b
        running_var  = Σ m_b σ²_b / Σ (m_b - 1)

    For batches of one size m these are the mean of the means, and m / (m - 1) times the mean of the variances; a
    smaller one counts by its values. ``num_batches_tracked`` becomes the number of batches that the layer normalized: a
    layer that ``forward`` uses twice has two of each batch. No gradient is computed, and weights, modes and other
    buffers stay as they are.

    Layers that stay as they are, which the report names: those without running statistics, those that ``forward`` does
    not normalize with, and in a model in training mode those that are in eval mode, which is how layers are frozen
    (they normalize with what they have). In a model in eval mode none counts as frozen.

    Args:
        model: any module whose ``forward`` takes one array.
        data: ``(N, ...)`` float32, a tuple ``(x, y)`` of arrays, or a loader, whose batches are ``x`` or
            begin with it; the rest is not looked at. The larger the batches the better: those of training, or more.
        dropout: have the noise layers (``nn.Dropout`` and its kin) in training mode too.
        batch_size: samples a batch, of arrays. The last batch may be smaller; a single sample that is left over joins
            the batch before it.
        progress: show a progress bar on standard error.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: no batch norm has running statistics to compute, the data give nothing or do not fit the model, or a
            channel has one value in a batch.
        FloatingPointError: statistics are not finite. Whatever is raised, nothing has changed; all statistics become
            the new ones at once, when the last batch is done.
    """
    norms, stayed = tracked(model, "recalibrate")
    sums = {name: _Sums(norm.num_features) for name, norm in norms.items()}
    measure = _Measure(model, norms)
    noisy = [m for m in model.modules() if dropout and isinstance(m, _NOISE)]
    batches = samples = 0
    with kept_mode(model, training=False), in_training([*norms.values(), *noisy]), _bar(data, progress) as advance:
        for x in given_inputs(data, batch_size, "recalibrate"):
            batches, samples = batches + 1, samples + len(x)
            for name, count, mean, var in _checked(measure, x, batches):
                sums[name].add(count, mean, var)
            advance()
    idle = {name: "forward does not normalize with it" for name, norm_sums in sums.items() if not norm_sums.batches}
    if len(idle) == len(norms):
        raise ValueError("recalibrate: forward normalizes with none of the batch norms; nothing was changed")
    changes: list[Callable[[], Any]] = []
    records = {name: Recalibrated(_shown(name, model), reason=reason) for name, reason in (stayed | idle).items()}
    for name, norm in norms.items():
        if name not in idle:
            records[name], change = _change(_shown(name, model), norm, sums[name])
            changes += change
    at_once(changes)()
    order = [name for name, _ in model.named_modules() if name in records]
    return Recalibration(tuple(records[name] for name in order), batches, samples)


def tracked(model: Module, where: str) -> tuple[dict[str, RunningNorm], dict[str, str]]:
    """The batch norms by name whose running statistics can be computed, and of the others why not.

    Raises:
        TypeError: ``model`` is no module. ``where`` begins messages.
        ValueError: there is none.
    """
    norms, stayed = batch_norms(model, where)
    if not norms:
        found = "; ".join(f"'{_shown(name, model)}': {reason}" for name, reason in stayed.items())
        raise ValueError(
            f"{where}: the model has no batch norm whose statistics can be computed{found and f' ({found})'}"
        )
    return norms, stayed


def batch_norms(model: Module, where: str) -> tuple[dict[str, RunningNorm], dict[str, str]]:
    """As :func:`tracked`, for a model that may have none."""
    if not isinstance(model, Module):
        raise TypeError(f"{where}: model must be an nn.Module, got {type(model).__name__}")
    norms: dict[str, RunningNorm] = {}
    stayed: dict[str, str] = {}
    for name, module in model.named_modules():
        if not isinstance(module, (BatchNorm, SwitchNorm2d)):
            continue
        if not module.track_running_stats or not module.has_statistics():
            stayed[name] = "it keeps no running statistics"
        elif model.training and not module.training:
            stayed[name] = "it is frozen, in eval mode in a model in training mode"
        else:
            norms[name] = module
    return norms, stayed


def _shown(name: str, model: Module) -> str:
    """The name of a layer, that of its class where the layer is the model."""
    return name or type(model).__name__


def _checked(measure: _Measure, x: np.ndarray, number: int) -> _Statistics:
    """The statistics of a batch, all of them finite."""
    try:
        statistics = measure.run(x)
    except ValueError as error:
        raise ValueError(f"recalibrate, batch {number}: {error}; nothing was changed") from error
    for name, _, mean, var in statistics:
        if not (np.isfinite(mean).all() and np.isfinite(var).all()):
            raise FloatingPointError(
                f"recalibrate, batch {number}: the statistics of '{_shown(name, measure.model)}' are not finite; look "
                "for NaN in the data and in the weights; nothing was changed"
            )
    return statistics


@dataclass
class _Sums:
    """Sums over the batches of one layer, in float64."""

    channels: int
    batches: int = 0
    values: int = 0
    mean: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.mean, self.squares = np.zeros(self.channels), np.zeros(self.channels)

    def add(self, count: int, mean: np.ndarray, var: np.ndarray) -> None:
        """One batch: its values a channel, their mean and biased variance."""
        self.batches += 1
        self.values += count
        self.mean += count * mean.astype(np.float64)
        self.squares += count * var.astype(np.float64)

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and unbiased variance, as float32."""
        with np.errstate(over="ignore"):
            var = self.squares / (self.values - self.batches)
            return (self.mean / self.values).astype(np.float32), var.astype(np.float32)


def _change(shown: str, norm: RunningNorm, sums: _Sums) -> tuple[Recalibrated, list[Callable[[], Any]]]:
    """The record of a layer, and the calls that give it its statistics."""
    mean, var = sums.statistics()
    before = norm.running_mean.astype(np.float64), norm.running_var + np.float64(norm.eps)
    with np.errstate(all="ignore"):
        scale = var + np.float64(norm.eps)
        shift, ratios = np.max(np.abs(mean - before[0]) / np.sqrt(scale)), scale / before[1]
    record = Recalibrated(shown, sums.batches, sums.values, float(shift), float(np.min(ratios)), float(np.max(ratios)))
    new = {"running_mean": mean, "running_var": var, "num_batches_tracked": sums.batches}
    arrays = {key: norm._buffers[key] for key in new}
    fixed = [key for key, array in arrays.items() if array is not None and not array.flags.writeable]
    if fixed:
        raise ValueError(f"recalibrate: {', '.join(fixed)} of '{shown}' cannot be written; nothing was changed")
    return record, [partial(setitem, array, ..., new[key]) for key, array in arrays.items() if array is not None]


class _Seen(NamedTuple):
    """A node that takes a layer's statistics, of so many values a channel: of the whole batch where ``images`` is 0,
    else of parts of so many images each."""

    layer: str
    values: int
    images: int = 0

    def statistics(self, mean: np.ndarray, var: np.ndarray) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
        """Those of the batch, or of its parts in turn, from the node's results."""
        if not self.images:
            yield self.layer, self.values, mean, var
            return
        for i in range(0, len(mean), self.images):
            yield self.layer, self.values, mean[i].reshape(-1), var[i].reshape(-1)


class _Traced(NamedTuple):
    """What batches of one shape run: the program gives mean and variance of each of ``seen``. ``state`` are the names
    of the arrays that it reads."""

    trace: Trace
    program: Program
    state: tuple[str, ...]
    seen: tuple[_Seen, ...]


class _Measure:
    """The statistics that batch norms see in a batch, without what comes behind the last of them.

    ``forward`` is traced once for each shape of a batch, and anew where its Python may do something else.
    """

    def __init__(self, model: Module, norms: Mapping[str, RunningNorm]) -> None:
        self.model = model
        self._channels = {name: norm.num_features for name, norm in norms.items()}
        self._watch: Watch | None = None
        self._traced: dict[tuple[int, ...], _Traced] = {}

    def run(self, x: np.ndarray) -> _Statistics:
        """The batch norms in the order in which they normalize ``x``; one that is used twice is there twice."""
        if self._watch is not None and self._watch.renew():
            self._traced.clear()
        known = self._traced.get(x.shape)
        trace, program, state, seen = known or self._trace(x)
        feeds = {"x": x, **{name: _live(trace, name) for name in state}}
        if trace.counter is not None:
            feeds["rng_seed"], feeds["rng_step"] = random.next_call() if known else trace.counter()
        results = program.run(feeds)
        pairs = zip(results[::2], results[1::2], strict=True)
        return [found for node, pair in zip(seen, pairs, strict=True) for found in node.statistics(*pair)]

    def _trace(self, x: np.ndarray) -> _Traced:
        watch = self._watch = self._watch or Watch([self.model])
        with watch.looking("forward") as looked:
            traced = trace(self.model, [("x", Spec.of(x))], [("", self.model)])
        builder = traced.builder
        known = {node: self._seen(node, builder.nodes) for node in builder.nodes}
        seen = {node: of for node, of in known.items() if of is not None}
        outputs = [value for node in seen for value in node.outputs[-2:]]
        graph = replace(builder.graph(outputs), updates=()).pruned()
        state = tuple(v.name for v in graph.state)
        found = _Traced(traced, eager.program_of(graph), state, tuple(seen.values()))
        if not (looked.again or traced.looked):
            self._traced[x.shape] = found
        return found

    def _seen(self, node: Node, nodes: Sequence[Node]) -> _Seen | None:
        """The node as what takes the statistics of one of the layers, None for any other."""
        channels = self._channels.get(node.layer)
        if channels is None or node.op not in ("batch_norm_train", "merge_moments"):
            return None
        if node.op == "batch_norm_train":
            (x, *_), images = node.inputs, 0
            count = x.spec.size // x.shape[1]
        else:
            (x,) = next(n.inputs for n in nodes if node.inputs[0] in n.outputs)
            batch, images = x.shape[0], node.attrs["images"]
            if node.attrs["groups"] != channels or images == 1 < batch:
                return None
            count = images * x.shape[2] * x.shape[3]
        return _Seen(node.layer, count, images) if x.shape[1] == channels else None


def _live(trace: Trace, name: str) -> np.ndarray:
    """The array of a state value."""
    return trace.parameters[name]._data if name in trace.parameters else trace.buffers[name]()


@contextmanager
def _bar(data: object, progress: bool) -> Iterator[Callable[[], object]]:
    """What to call after each batch."""
    if not progress:
        yield lambda: None
        return
    load_module("tqdm")
    from tqdm import tqdm

    total = len(data) if isinstance(data, Sized) and not isinstance(data, (np.ndarray, tuple)) else None
    with tqdm(total=total, desc="population statistics", unit="batch") as bar:
        yield bar.update
