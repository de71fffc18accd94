"""What the experiments share: arguments, data, seeds, small networks, a training loop, numbers on disk, pictures.

An experiment is a file with two functions: ``run(setup)`` trains and measures and returns :class:`Findings`, of which
``draw(findings, figure)`` makes a picture. :func:`perform` reads the arguments, calls both, and writes the numbers as
JSON and the picture as PNG into the folder ``--out``, under the name of the file.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import normengine as ne
from normengine import nn, optim
from normengine.nn.mode import kept_mode

T = TypeVar("T")
Batches = Iterable[tuple[np.ndarray, np.ndarray]]
Norm = Callable[[int], nn.Module]

COLORS = ("#1f5fa8", "#d1495b", "#3a8f5c", "#e09f3e", "#7a5195", "#5c677d", "#17a2a2", "#a0522d")
_DPI = 90
_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Data:
    """Images ``(N, 1, H, W) float32`` from 0 to 1 with their labels, to train on and held out."""

    name: str
    x: np.ndarray
    y: np.ndarray
    held_x: np.ndarray
    held_y: np.ndarray

    def drawn(self, count: int, seed: int) -> Data:
        """With ``count`` of the training images, which the seed draws."""
        chosen = np.random.default_rng(seed).permutation(len(self.x))[:count]
        return Data(self.name, self.x[chosen], self.y[chosen], self.held_x, self.held_y)


@dataclass(frozen=True)
class Setup:
    """What the arguments say; ``short`` makes everything tiny, to see only that it runs."""

    folder: Path | None
    seeds: int
    short: bool

    def data(self, count: int = 8192, held: int = 2000) -> Data:
        """The first ``count`` training images of MNIST and the first ``held`` of its test images; all digits of the
        package where no folder was given, since there are fewer."""
        count, held = (256, 100) if self.short else (count, held)
        if self.folder is None:
            parts, name = (ne.data.digits("train"), ne.data.digits("test")), "digits of the package"
        else:
            parts, name = (ne.data.mnist(self.folder), ne.data.mnist(self.folder, train=False)), "MNIST"
        (x, y), (held_x, held_y) = ((x[:n], y[:n]) for (x, y), n in zip(parts, (count, held), strict=True))
        return Data(f"{name}: {len(x)} images to train on, {len(held_x)} held out", x, y, held_x, held_y)

    def steps(self, count: int) -> int:
        """How many steps to train: ``count``, or a few."""
        return min(count, 12) if self.short else count

    def some(self, values: Sequence[T]) -> list[T]:
        """What to try: all of ``values``, or the first and the last."""
        return [values[0], values[-1]] if self.short and len(values) > 2 else list(values)

    def each_seed(self) -> Iterator[int]:
        """The seeds, each set as that of ``ne.manual_seed``, with a sign of life on standard error."""
        for seed in range(self.seeds):
            print(f"seed {seed + 1} of {self.seeds}", file=sys.stderr, flush=True)
            ne.manual_seed(seed)
            yield seed


@dataclass
class Findings:
    """What came out: ``rows`` holds for each way of training its measures, with a value for each seed, ``curves`` a
    horizontal axis and the values of each seed along it; ``settings`` says what was fixed."""

    settings: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[list[float]]]] = field(default_factory=dict)

    def add(self, row: str, measures: Mapping[str, float]) -> None:
        """Add the measures of one seed."""
        for measure, value in measures.items():
            self.rows.setdefault(row, {}).setdefault(measure, []).append(float(value))

    def add_curve(self, name: str, x: Iterable[float], y: Iterable[float]) -> None:
        """Add the curve of one seed; those of the other seeds have the same ``x``, and one that ends early is filled
        up with NaN."""
        at, values = self.curves.setdefault(name, ([float(place) for place in x], []))
        found = [float(value) for value in y]
        values.append(found + [math.nan] * (len(at) - len(found)))

    def add_losses(self, name: str, steps: int, losses: Sequence[float]) -> None:
        """Add a curve of the losses of a training of so many steps, as means of ten steps."""
        ends = range(min(10, steps), steps + 1, 10)
        means = [float(np.mean(losses[max(end - 10, 0) : end])) for end in ends if end <= len(losses)]
        self.add_curve(name, ends, means)

    def values(self, row: str, measure: str) -> np.ndarray:
        """One value for each seed."""
        return np.array(self.rows[row][measure])

    def table(self) -> str:
        """Means and standard deviations over the seeds in Markdown, a table for all rows of the same measures."""
        kinds: dict[tuple[str, ...], list[str]] = {}
        for name, row in self.rows.items():
            cells = [cell(values) for values in row.values()]
            kinds.setdefault(tuple(row), []).append(f"| {name} | " + " | ".join(cells) + " |")
        heads = [["| | " + " | ".join(kind) + " |", "| --- |" + " ---: |" * len(kind)] for kind in kinds]
        return "\n\n".join("\n".join([*head, *lines]) for head, lines in zip(heads, kinds.values(), strict=True))

    def to_json(self, experiment: str, data: str, seeds: int) -> str:
        """Everything as JSON: finite numbers with six digits, null for others."""
        curves = {name: {"x": x, "y": y} for name, (x, y) in self.curves.items()}
        content = {"experiment": experiment, "data": data, "seeds": list(range(seeds)), "settings": self.settings}
        text = json.dumps(_plain({**content, "rows": self.rows, "curves": curves}), indent=1)
        return re.sub(r"\[[^\[\]{}]*\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n"


def spread(values: Sequence[float] | np.ndarray) -> float:
    """The standard deviation of values of which the mean is not known; 0 for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def cell(values: Sequence[float]) -> str:
    """Mean and standard deviation of the values that are there, and how many those are if not all."""
    found = [value for value in values if math.isfinite(value)]
    if not found:
        return "none"
    text = _with_deviation(float(np.mean(found)), spread(found))
    return text if len(found) == len(values) else f"{text} ({len(found)} of {len(values)})"


def _with_deviation(mean: float, deviation: float) -> str:
    """``96.0 ± 0.4``: with as many digits as the deviation allows; a single value with four."""
    if deviation == 0:
        return f"{mean:.0f}" if mean.is_integer() else f"{mean:.4g}"
    if abs(mean) < 1e-3:
        return f"{mean:.1e} ± {deviation:.0e}"
    digits = max(0, -math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(part) for part in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


# networks


def perceptron(
    data: Data,
    hidden: Sequence[int] = (100, 100, 100),
    activation: Callable[[], nn.Module] = nn.Sigmoid,
    norm: Norm | None = nn.BatchNorm1d,
) -> nn.Sequential:
    """Linear layers, each but the last followed by its norm and activation; their biases are left out before a norm."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(data.x.shape[1:])
    for outputs in hidden:
        layers.append(nn.Linear(inputs, outputs, bias=norm is None))
        layers += [] if norm is None else [norm(outputs)]
        layers.append(activation())
        inputs = outputs
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def block(inputs: int, outputs: int, norm: Norm | None = nn.BatchNorm2d) -> list[nn.Module]:
    """A convolution of 3x3 with its norm, ReLU and max pooling."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm is None)
    return [convolution, *([] if norm is None else [norm(outputs)]), nn.ReLU(), nn.MaxPool2d(2)]


def pooled(data: Data, times: int = 3) -> int:
    """Pixels of an image that was halved so many times."""
    height, width = data.x.shape[2:]
    return (height >> times) * (width >> times)


def convnet(data: Data, norm: Norm | None = nn.BatchNorm2d, widths: tuple[int, ...] = (8, 16, 32)) -> nn.Sequential:
    """Three blocks and a linear layer."""
    features = [layer for pair in zip((1, *widths), widths) for layer in block(*pair, norm)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(widths[-1] * pooled(data, len(widths)), 10))


# training


def batches(data: Data, size: int, steps: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As many batches as steps, in epochs of another order each; batches that are not full are left out."""
    loader = ne.data.DataLoader((data.x, data.y), min(size, len(data.x)), shuffle=True, seed=seed, drop_last=True)
    while True:
        for batch in loader:
            if not steps:
                return
            steps -= 1
            yield batch


def train(
    model: nn.Module,
    given: Batches,
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    decay: int | None = None,
    seed: int = 0,
    watch: Callable[[int], object] | None = None,
) -> list[float]:
    """Train by SGD on cross entropy and return the loss of each step.

    Over ``decay`` steps the learning rate falls to 0 as a cosine does; without it, it stays.
    ``watch(steps)`` is called before the first step and after each with the number of steps that were done. Where a
    step would not be finite, or what is watched is not, the training ends there.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer, seed=seed)
    losses: list[float] = []
    if watch is not None:
        watch(0)
    for x, y in given:
        if decay is not None:
            optimizer.param_groups[0]["lr"] = lr * ne.train.cosine()(len(losses) / decay)
        try:
            losses.append(step(x, y))
            if watch is not None:
                watch(len(losses))
        except FloatingPointError:
            break
    return losses


def scores(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """What the model gives in eval mode."""
    with kept_mode(model, training=False):
        starts = range(0, len(x), _EVALUATION_BATCH)
        return np.concatenate([model(x[start : start + _EVALUATION_BATCH]) for start in starts])


def share_right(given: np.ndarray, labels: np.ndarray) -> float:
    """The percentage of rows whose largest score is at the label."""
    return 100 * float((given.argmax(1) == labels).mean())


def accuracy(model: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    """Percentage of right predictions in eval mode."""
    return share_right(scores(model, x), y)


def held_accuracy(model: nn.Module, data: Data) -> float:
    """That on the held-out images."""
    return accuracy(model, data.held_x, data.held_y)


def norms_of(model: nn.Module) -> list[Any]:
    """The batch norms, in order."""
    return [module for module in model.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance of each channel of ``(N, C, ...)``, in float64."""
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    wide = np.asarray(x, np.float64)
    return wide.mean(axes), wide.var(axes)


# pictures


def dress(axes: Any, title: str, x: str, y: str, legend: bool = True) -> None:
    """Title, labels and legend in the way of all pictures."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def band(axes: Any, x: Any, values: Any, label: str, color: str, **style: Any) -> None:
    """The mean of the seeds' values as a line and their standard deviation as a band; where a training ended early, a
    line for each seed."""
    array = np.array(values, np.float64)
    if not np.isfinite(array).all():
        axes.plot(x, array.T, color=color, linewidth=0.8, label=[label, *[None] * (len(array) - 1)])
        return
    mean = array.mean(0)
    deviation = array.std(0, ddof=1) if len(array) > 1 else np.zeros_like(mean)
    axes.plot(x, mean, color=color, label=label, **{"linewidth": 1.6, **style})
    axes.fill_between(x, mean - deviation, mean + deviation, color=color, alpha=0.18, linewidth=0)


def sweep(axes: Any, findings: Findings, x: Sequence[float], rows: Sequence[str], measures: Sequence[str]) -> None:
    """A band for each measure, called by what is before its colon or unit, over the rows, which are at ``x``."""
    for measure, color in zip(measures, COLORS):
        values = np.array([findings.values(row, measure) for row in rows]).T
        band(axes, x, values, re.split(r":| \(", measure)[0], color, marker="o", markersize=4)


def bars(axes: Any, findings: Findings, measure: str, rows: Sequence[str] | None = None) -> None:
    """A horizontal bar for each row: the mean, with the standard deviation and a dot for each seed."""
    names = list(findings.rows) if rows is None else list(rows)
    for place, name in enumerate(names):
        values = findings.values(name, measure)
        color = COLORS[place % len(COLORS)]
        axes.barh(place, values.mean(), xerr=spread(values), color=color, alpha=0.6, height=0.65, capsize=3)
        axes.plot(values, [place] * len(values), ".", color="black", markersize=4, alpha=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)


def zoom(axes: Any, findings: Findings, measure: str, rows: Sequence[str] | None = None) -> None:
    """Let the horizontal axis begin shortly before the smallest value; bars are then no longer lengths from zero."""
    names = findings.rows if rows is None else rows
    values = np.concatenate([findings.values(name, measure) for name in names])
    margin = max(0.15 * (values.max() - values.min()), 1e-9)
    axes.set_xlim(values.min() - margin, values.max() + margin)


# the whole of it


def perform(
    file: str,
    text: str | None,
    run: Callable[[Setup], Findings],
    draw: Callable[[Findings, Any], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Read the arguments, run the experiment, write its numbers and its picture, print its table; the exit code."""
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="MNIST's files (default: the package's digits)")
    parser.add_argument("--seeds", type=_positive, default=5, metavar="N", help="trainings of each kind (default: 5)")
    parser.add_argument(
        "--out", type=Path, default=Path("experiments"), metavar="FOLDER", help="(default: %(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="a few steps on a few images, to see that it runs")
    options = parser.parse_args(arguments)
    setup = Setup(options.data, options.seeds, options.short)
    begin = time.perf_counter()
    try:
        data = setup.data()
        options.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        print(f"{Path(file).name}: error: {error}", file=sys.stderr)
        return 1
    findings = run(setup)
    figure = Figure(layout="constrained")
    draw(findings, figure)
    stem = Path(file).stem
    (options.out / f"{stem}.json").write_text(findings.to_json(stem, data.name, setup.seeds), encoding="utf-8")
    figure.savefig(options.out / f"{stem}.png", dpi=_DPI)
    print(findings.table())
    print(f"{options.out / stem}.json and .png, {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number
