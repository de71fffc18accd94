"""Dropout before batch norm: the variance that batch norm remembers is not the one that it meets in inference.

Li, Chen, Hu and Yang, "Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift", CVPR
2019, arXiv 1801.05134. Inverted dropout of rate p adds p / (1 - p) * E[x^2] to the variance of an element, and through
a convolution the sum of that over the taps w, times w^2; Uout adds beta^2 / 3 * E[x^2]. The shift is the variance in
inference divided by that in training, and 1 - p for inputs of mean 0. Remedies: dropout behind the last batch norm,
Uout, or population statistics taken without dropout.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import common
import numpy as np
from common import COLORS, Data, Findings, Setup

import normengine as ne
from normengine import nn
from normengine.nn import functional as F

RATES, WIDTHS, PLACES = (0.1, 0.3, 0.5, 0.7), (8, 32), ("before the convolution", "before the batch norm")
RATE, BATCH, STEPS, SHORTER, HIDDEN = 0.05, 64, 300, 100, 64
WAYS = ("before batch norms", "before batch norms, recalibrated", "behind the last batch norm")
CONVOLUTION, NORM = 4, 5
"""Where the second convolution and its batch norm are in a network without dropout."""
DENSE, LAST = 9, 12
"""Where the hidden and the last linear layer are."""


def network(data: Data, width: int, noise: dict[int, nn.Module]) -> nn.Sequential:
    """Two blocks, a hidden layer and the last one, with ``noise`` put in before the layers of these numbers."""
    hidden = [nn.Linear(2 * width * common.pooled(data, 2), HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU()]
    blocks = [*common.block(1, width), *common.block(width, 2 * width)]
    layers: list[nn.Module] = []
    for place, layer in enumerate([*blocks, nn.Flatten(), *hidden, nn.Linear(HIDDEN, 10)]):
        layers += [noise[place], layer] if place in noise else [layer]
    return nn.Sequential(*layers)


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(SHORTER)
    settings = {"lr": RATE, "batch": BATCH, "steps, shift": steps, "steps, accuracy": setup.steps(STEPS)}
    findings = Findings(settings)
    for seed in setup.each_seed():
        for place, at in zip(PLACES, (CONVOLUTION, NORM)):
            for width in WIDTHS:
                for p in setup.some(RATES):
                    row = f"p = {p:g}, {place}, {width} channels"
                    findings.add(row, shifts(data, width, at, nn.Dropout(p), p / (1 - p), steps, seed))
        for beta in (0.1, 0.5):
            row = f"Uout, beta = {beta:g}, {PLACES[0]}, {WIDTHS[0]} channels"
            noise = nn.UniformDropout(beta)
            findings.add(row, shifts(data, WIDTHS[0], CONVOLUTION, noise, beta**2 / 3, steps, seed))
        remedies(findings, data, setup, seed)
    return findings


def shifts(
    data: Data, width: int, at: int, noise: nn.Module, variance: float, steps: int, seed: int
) -> dict[str, float]:
    """The measured and the predicted shift of a trained network's second batch norm; ``variance`` is the noise's."""
    ne.manual_seed(seed)
    model = network(data, width, {at: noise})
    common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, seed=seed)
    layers, images = list(model.children()), data.x[:1000]
    before, behind = nn.Sequential(*layers[:at]), nn.Sequential(*layers[at : NORM + 2])
    x = common.scores(before, images)
    quiet = [layer for layer in behind.children() if layer is not noise]
    linear, rest = nn.Sequential(*quiet[:-1]), nn.Sequential(noise.train(), *quiet[:-1])
    inference, training = (common.moments(np.asarray(part(x)))[1] for part in (linear, rest))
    added = x**2 if at == NORM else F.conv2d(x**2, quiet[0].get_parameter("weight").numpy() ** 2, padding=1)
    predicted = inference + variance * common.moments(np.asarray(added))[0]
    return {
        "measured shift": float((inference / training).mean()),
        "predicted shift": float((inference / predicted).mean()),
        "largest error of a channel (%)": 100 * float(np.abs(predicted / training - 1).max()),
    }


def remedies(findings: Findings, data: Data, setup: Setup, seed: int) -> None:
    """Accuracy on the same training images with the statistics of the batch and dropout, and in eval mode."""

    def trained(noise: dict[int, nn.Module]) -> nn.Sequential:
        ne.manual_seed(seed)
        model = network(data, WIDTHS[0], noise)
        steps = setup.steps(STEPS)
        common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, decay=steps, seed=seed)
        return model

    for name, noise in (("no dropout", nn.Dropout(0)), ("Uout, beta = 0.1", nn.UniformDropout(0.1))):
        findings.add(name, both_modes(trained({CONVOLUTION: noise, DENSE: copy.deepcopy(noise)}), data))
    for p in setup.some(RATES):
        model = trained({CONVOLUTION: nn.Dropout(p), DENSE: nn.Dropout(p)})
        findings.add(f"p = {p:g} {WAYS[0]}", both_modes(model, data))
        ne.recalibrate(model, data.x[:4096])
        findings.add(f"p = {p:g} {WAYS[1]}", both_modes(model, data))
        findings.add(f"p = {p:g} {WAYS[2]}", both_modes(trained({LAST: nn.Dropout(p)}), data))


def both_modes(model: nn.Sequential, data: Data) -> dict[str, float]:
    """Accuracy on training images with the batch's statistics and noise, and in eval mode; and on held-out images."""
    x, y = data.x[:2048], data.y[:2048]
    training = copy.deepcopy(model).train()
    found = np.concatenate([training(x[start : start + BATCH]) for start in range(0, len(x), BATCH)])
    train, test = common.share_right(found, y), common.accuracy(model, x, y)
    return {
        "training mode (%)": train,
        "test mode (%)": test,
        "held-out, test mode (%)": common.held_accuracy(model, data),
    }


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(12, 4)
    left, middle, right = figure.subplots(1, 3)
    rates = [p for p in RATES if f"p = {p:g} before batch norms" in findings.rows]
    left.plot(rates, [1 - p for p in rates], "--", color="grey", label="1 - p")
    for i, (place, width) in enumerate((place, width) for place in PLACES for width in WIDTHS):
        rows = [f"p = {p:g}, {place}, {width} channels" for p in rates]
        predicted = np.array([findings.values(row, "predicted shift") for row in rows]).T
        common.band(left, rates, predicted, f"{place}, {width} channels", COLORS[i])
        measured = [findings.values(row, "measured shift").mean() for row in rows]
        left.plot(rates, measured, "x", color=COLORS[i])
    left.set_ylim(0, 1)
    common.dress(left, "Shift: predicted (lines), measured (crosses)", "p", "variance in inference / in training")
    for axes, measure in ((middle, "test mode (%)"), (right, "held-out, test mode (%)")):
        for row, color in (("no dropout", "grey"), ("Uout, beta = 0.1", COLORS[4])):
            axes.axhline(findings.values(row, measure).mean(), color=color, linestyle="--", label=row)
        for way, color in zip(WAYS, COLORS):
            values = np.array([findings.values(f"p = {p:g} {way}", measure) for p in rates]).T
            common.band(axes, rates, values, way, color, marker="o", markersize=4)
    before = np.array([findings.values(f"p = {p:g} before batch norms", "training mode (%)") for p in rates]).T
    common.band(middle, rates, before, "before batch norms, training mode", COLORS[5], linestyle=":")
    common.dress(middle, "Training images", "p", "accuracy (%)")
    common.dress(right, "Held-out images, test mode", "p", "accuracy (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
