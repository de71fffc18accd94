"""Batch norm trains faster, stands higher learning rates, and keeps the input of sigmoids where they are not flat.

Ioffe and Szegedy, ICML 2015, arXiv 1502.03167, section 4.1 and figure 1: three layers of 100 sigmoid units, weights
small Gaussian values; accuracy over steps, and the 15th, 50th and 85th percentile of the input of one sigmoid of the
last hidden layer. Section 3.3: higher learning rates.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import common
import numpy as np
from common import COLORS, Data, Findings, Setup, band, dress

import normengine as ne
from normengine import nn
from normengine.nn.mode import kept_mode

SIGMOIDS: dict[str, tuple[Any, float]] = {
    "batch norm": (nn.BatchNorm1d, 0.1),
    "plain": (None, 0.1),
    "plain, weights of std 0.01": (None, 0.01),
}
NORMS = {"batch norm": nn.BatchNorm2d, "plain": None}
RATE, BATCH, STEPS = 0.3, 60, 3000
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SWEEP_STEPS = 300
PERCENTILES = (15, 50, 85)


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(STEPS)
    findings = Findings({
        "sigmoid network": {"hidden": [100] * 3, "std of weights": 0.1, "lr": RATE, "batch": BATCH, "steps": steps},
        "learning rates": {"network": "three convolutions, ReLU", "batch": 64, "steps": setup.steps(SWEEP_STEPS)},
    })  # fmt: skip
    for seed in setup.each_seed():
        for name, (norm1d, std) in SIGMOIDS.items():
            ne.manual_seed(seed)
            model = common.perceptron(data, norm=norm1d)
            for parameter in model.parameters():
                if len(parameter.shape) == 2:
                    nn.init.normal_(parameter, std=std)
            sigmoids(findings, name, model, data, steps, seed)
        for name, norm in NORMS.items():
            for rate in setup.some(RATES):
                ne.manual_seed(seed)
                model = common.convnet(data, norm)
                common.train(model, common.batches(data, 64, setup.steps(SWEEP_STEPS), seed), lr=rate, momentum=0.0)
                findings.add(f"lr {rate:g}", {f"{name}: accuracy (%)": common.held_accuracy(model, data)})
    return findings


def sigmoids(findings: Findings, name: str, model: nn.Sequential, data: Data, steps: int, seed: int) -> None:
    """Train the network of sigmoids and note accuracy and percentiles on the way."""
    before_last_sigmoid = nn.Sequential(*list(model.children())[:-2])
    marks = sorted({*np.linspace(0, steps, 31, dtype=int).tolist()})
    noted: dict[int, tuple[float, np.ndarray]] = {}

    def watch(done: int) -> None:
        if done in marks:
            with kept_mode(model, training=False):
                inputs = before_last_sigmoid(data.held_x[:500])[:, 0]
            noted[done] = common.held_accuracy(model, data), np.percentile(inputs, PERCENTILES)

    common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, momentum=0.0, watch=watch)
    accuracies = [held for held, _ in noted.values()]
    findings.add_curve(f"{name}: accuracy (%)", marks, accuracies)
    for i, percentile in enumerate(PERCENTILES):
        findings.add_curve(f"{name}: percentile {percentile}", marks, [found[i] for _, found in noted.values()])
    reached = [done for done, (held, _) in noted.items() if held >= 85]
    measures = {"accuracy (%)": accuracies[-1], "steps to 85 %": reached[0] if reached else np.nan}
    findings.add(f"sigmoids, {name}", measures)


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(12, 3.6)
    left, middle, right = figure.subplots(1, 3)
    for name, color in zip(SIGMOIDS, COLORS):
        band(left, *findings.curves[f"{name}: accuracy (%)"], name, color)
        for percentile, style in zip(PERCENTILES, (":", "-", "--"), strict=True):
            steps, values = findings.curves[f"{name}: percentile {percentile}"]
            middle.plot(steps, values[0], style, color=color, label=name if percentile == 50 else None)
    rows = [row for row in findings.rows if row.startswith("lr ")]
    common.sweep(right, findings, [float(row[3:]) for row in rows], rows, list(findings.rows[rows[0]]))
    dress(left, "Three layers of 100 sigmoids", "steps", "held-out accuracy (%)")
    dress(middle, "15th, 50th, 85th percentile of a last sigmoid's input", "steps", "input")
    right.set_xscale("log")
    dress(right, "Convolutions with ReLU after 300 steps", "learning rate", "held-out accuracy (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
