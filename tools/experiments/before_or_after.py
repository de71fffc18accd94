"""Batch norm before or after ReLU.

Ioffe and Szegedy, ICML 2015, arXiv 1502.03167, section 3.2, place it before the nonlinearity, since the distribution of
Wu + b is more symmetric there. Mishkin, Sergievskiy and Matas, "Systematic evaluation of CNN advances on the ImageNet",
CVIU 2017, arXiv 1606.02228, found it better after (49.9 against 47.4 % with CaffeNet), but not with GoogLeNet.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import common
from common import COLORS, Data, Findings, Setup

import normengine as ne
from normengine import nn

PLACES = ("before ReLU", "after ReLU", "without batch norm")
WIDTHS, RATE, BATCH, STEPS = (1, 8, 16, 32), 0.05, 64, 500


def network(data: Data, place: str) -> nn.Sequential:
    """Three convolutions with batch norm at ``place``."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(WIDTHS):
        behind: list[nn.Module] = [nn.ReLU()]
        if place != PLACES[2]:
            behind.insert(PLACES.index(place), nn.BatchNorm2d(outputs))
        bias = place != "before ReLU"
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias), *behind, nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * common.pooled(data), 10))


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(STEPS)
    findings = Findings(
        {"widths": WIDTHS[1:], "lr, falling to 0": RATE, "momentum": 0.9, "batch": BATCH, "steps": steps}
    )
    for seed in setup.each_seed():
        for place in PLACES:
            ne.manual_seed(seed)
            model = network(data, place)
            losses = common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, decay=steps, seed=seed)
            findings.add_losses(place, steps, losses)
            early, late = sum(losses[20:60]) / 40, sum(losses[-50:]) / 50
            accuracy = common.held_accuracy(model, data)
            findings.add(place, {"held-out accuracy (%)": accuracy, "loss, steps 21-60": early, "loss, last 50": late})
    return findings


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(10, 3.6)
    left, right = figure.subplots(1, 2)
    for place, color in zip(PLACES, COLORS):
        common.band(left, *findings.curves[place], place, color)
    left.set_yscale("log")
    common.dress(left, "Loss in training (means of 10 steps)", "steps", "loss")
    common.bars(right, findings, "held-out accuracy (%)")
    common.zoom(right, findings, "held-out accuracy (%)")
    common.dress(right, "After the last step", "held-out accuracy (%)", "")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
