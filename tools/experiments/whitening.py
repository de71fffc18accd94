"""Whitened against raw input, and a first layer that whitens patches.

LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, section 4.3: training converges faster on inputs of mean 0,
equal variance and no correlation. Coates and Ng, 2012, and Jordan, "94% on CIFAR-10 in 3.29 Seconds", arXiv 2404.00498,
section 3.2: a first convolution whose filters whiten image patches, and which stays as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import common
import numpy as np
from common import COLORS, Data, Findings, Setup

import normengine as ne
from normengine import nn

EPS, AXES, HIDDEN, RATES, SHOWN, BATCH, STEPS = 0.01, 40, (100, 100), (0.003, 0.01, 0.03, 0.1, 0.3), 0.01, 64, 300
FIRST, RATE, EVERY = 18, 0.02, 20
"""Filters of the first convolution: those of all 9 directions of a patch of 3x3, and their negatives."""


def inputs(data: Data) -> dict[str, Data]:
    """The images in five ways; what is subtracted, divided or rotated comes from the training images alone."""
    mean, deviation = data.x.mean(), data.x.std()
    scaled = [(images - mean) / deviation for images in (data.x, data.held_x)]
    ways = {"raw": data, "mean 0, variance 1": Data(data.name, scaled[0], data.y, scaled[1], data.held_y)}
    for name, whitening in (
        ("whitened, pca", ne.data.Whitening("pca", eps=EPS)),
        ("whitened, zca", ne.data.Whitening("zca", eps=EPS)),
        (f"whitened, pca, {AXES} axes", ne.data.Whitening("pca", eps=EPS, components=AXES)),
    ):
        x, held_x = whitening.fit_transform(data.x), whitening.transform(data.held_x)
        ways[name] = Data(data.name, x, data.y, held_x, data.held_y)
    return ways


def first_layers(data: Data) -> dict[str, nn.Conv2d]:
    """The first convolution as drawn, and as a whitening one, which is trained no further."""
    drawn, whitening = (nn.Conv2d(1, FIRST, 3, padding=1, bias=False) for _ in range(2))
    nn.init.whitening_(whitening.get_parameter("weight"), data.x[:4096])
    whitening.requires_grad_(False)
    return {"first layer drawn": drawn, "first layer whitens": whitening}


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(STEPS)
    findings = Findings({"eps": EPS, "hidden layers, ReLU": HIDDEN, "batch": BATCH, "steps": steps, "lr, first": RATE})
    ways = inputs(data)
    for seed in setup.each_seed():
        for name, given in ways.items():
            for rate in RATES:
                ne.manual_seed(seed)
                model = common.perceptron(given, HIDDEN, nn.ReLU, None)
                losses = common.train(model, common.batches(given, BATCH, steps, seed), lr=rate, seed=seed)
                findings.add(name, {f"lr {rate:g}: accuracy (%)": common.held_accuracy(model, given)})
                if rate == SHOWN:
                    findings.add_losses(f"{name}: loss", steps, losses)
        ne.manual_seed(seed)
        for name, first in first_layers(data).items():
            ne.manual_seed(seed)
            follow(findings, name, first, data, steps, seed)
    return findings


def follow(findings: Findings, name: str, first: nn.Conv2d, data: Data, steps: int, seed: int) -> None:
    """Train a network that begins with ``first``, and note its accuracy on the way."""
    rest = [*common.block(FIRST, 16), *common.block(16, 32), nn.Flatten(), nn.Linear(32 * common.pooled(data), 10)]
    model = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), *rest)
    accuracies: list[float] = []

    def watch(done: int) -> None:
        if done % EVERY == 0:
            accuracies.append(common.held_accuracy(model, data))

    common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, seed=seed, watch=watch)
    findings.add_curve(name, range(0, EVERY * len(accuracies), EVERY), accuracies)
    middle = accuracies[min(3, len(accuracies) - 1)]
    findings.add(name, {"accuracy after 60 steps (%)": middle, "accuracy after the last (%)": accuracies[-1]})


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(12, 3.6)
    left, middle, right = figure.subplots(1, 3)
    rows = [row for row in findings.rows if not row.startswith("first")]
    measures = list(findings.rows[rows[0]])
    rates = [float(measure.split()[1][:-1]) for measure in measures]
    for row, color in zip(rows, COLORS):
        values = np.array([findings.values(row, measure) for measure in measures]).T
        common.band(left, rates, values, row, color, marker="o", markersize=4)
        common.band(middle, *findings.curves[f"{row}: loss"], row, color)
    left.set_xscale("log")
    middle.set_yscale("log")
    common.dress(left, f"Two hidden layers after {STEPS} steps", "learning rate", "held-out accuracy (%)")
    common.dress(middle, f"Loss in training, lr {SHOWN:g} (means of 10 steps)", "steps", "loss")
    for name, color in zip((name for name in findings.curves if name.startswith("first")), COLORS):
        common.band(right, *findings.curves[name], name, color)
    right.set_ylim(bottom=min(80.0, right.get_ylim()[1] - 1))
    common.dress(right, "Three convolutions", "steps", "held-out accuracy (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
