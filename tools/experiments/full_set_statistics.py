"""Why training does not normalize with the statistics of the whole training set.

Ioffe and Szegedy, ICML 2015, arXiv 1502.03167, section 2: where the statistics are computed outside the gradient
step, the gradient does not know that they depend on the parameters. A bias that it changes is subtracted again, so that
it grows while the loss stays; "the model blows up". Batch statistics take part in the gradient.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import common
import numpy as np
from common import COLORS, Data, Findings, Setup

import normengine as ne
from normengine import nn

HIDDEN, IMAGES, RATE, BATCH, STEPS, LATER, EVERY = (100, 100, 100), 1024, 0.1, 64, 600, 20, 5


class Detached(nn.BatchNorm1d):
    """Batch norm with the statistics of the batch, in training, through which no gradient flows."""

    def forward(self, x: Any) -> Any:
        constant = x.detach()
        mean = constant.mean(0, keepdim=True)
        variance = ((constant - mean) ** 2).mean(0, keepdim=True)
        return (x - mean) / (variance + self.eps).sqrt() * self.weight + self.bias


MEASURES = ("mean loss, last 50 steps", "held-out accuracy (%)", "growth of biases", "growth of activations")
WAYS: dict[str, tuple[Any, int]] = {
    "batch": (nn.BatchNorm1d, 0),
    "batch, no gradient through them": (Detached, 0),
    "whole set, each step": (nn.BatchNorm1d, 1),
    f"whole set, every {LATER} steps": (nn.BatchNorm1d, LATER),
}

TITLES = {
    "loss": "Loss in training (means of 10 steps)",
    "bias": "Mean size of biases before batch norm",
    "deviation": "Deviation of the last batch norm's input",
}


def network(data: Data, norm: Any) -> nn.Sequential:
    """Linear layers with a bias, batch norm and ReLU."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = int(np.prod(data.x.shape[1:]))
    for outputs in HIDDEN:
        layers += [nn.Linear(inputs, outputs), norm(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def run(setup: Setup) -> Findings:
    data, steps = setup.data(IMAGES), setup.steps(STEPS)
    settings = {"images": len(data.x), "hidden layers, ReLU": HIDDEN, "lr": RATE, "batch": BATCH, "steps": steps}
    findings = Findings(settings)
    for seed in setup.each_seed():
        for name, (norm, every) in WAYS.items():
            ne.manual_seed(seed)
            model = network(data, norm)
            scales: list[tuple[float, float]] = []
            watch = partial(look, scales, model, data, every)
            given = common.batches(data, BATCH, steps, seed)
            losses = common.train(model, given, lr=RATE, momentum=0.0, seed=seed, watch=watch)
            noted = range(0, steps + 1, EVERY)
            findings.add_losses(f"{name}: loss", steps, losses)
            for i, curve in enumerate(("bias", "deviation")):
                findings.add_curve(f"{name}: {curve}", noted, [scale[i] for scale in scales])
            whole = len(losses) == steps
            found = {**outcome(model, data, losses), **growth(scales)} if whole else dict.fromkeys(MEASURES, math.nan)
            findings.add(name, {**found, "steps done": len(losses)})
    return findings


def look(scales: list[tuple[float, float]], model: nn.Sequential, data: Data, every: int, done: int) -> None:
    """Take the statistics of the whole set if it is time for them; note the mean size of the biases before batch norms
    and the mean deviation of the last batch norm's inputs."""
    if every and done % every == 0:
        ne.recalibrate(model.eval(), data.x, batch_size=len(data.x))
        for norm in common.norms_of(model.train()):
            norm.eval()
    if done % EVERY == 0:
        linear = [layer for layer in model.children() if isinstance(layer, nn.Linear)][:-1]
        bias = float(np.mean([np.abs(layer.get_parameter("bias").numpy()).mean() for layer in linear]))
        probe = copy.deepcopy(nn.Sequential(*list(model.children())[:-3])).train()
        scales.append((bias, float(np.asarray(probe(data.held_x[:256])).std(0).mean())))


def outcome(model: nn.Sequential, data: Data, losses: list[float]) -> dict[str, float]:
    """The last losses, and how a network of these parameters does with the statistics of the whole set."""
    plain = network(data, nn.BatchNorm1d)
    plain.load_state_dict(model.state_dict())
    ne.recalibrate(plain, data.x, batch_size=len(data.x))
    return dict(zip(MEASURES, (float(np.mean(losses[-50:])), common.held_accuracy(plain, data))))


def growth(scales: list[tuple[float, float]]) -> dict[str, float]:
    """Of biases and deviations, from the first look to the last."""
    (bias, deviation), (last_bias, last_deviation) = scales[0], scales[-1]
    return dict(zip(MEASURES[2:], (last_bias / bias, last_deviation / deviation)))


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(12, 3.6)
    for axes, (curve, title) in zip(figure.subplots(1, 3), TITLES.items(), strict=True):
        for name, color in zip(WAYS, COLORS):
            common.band(axes, *findings.curves[f"{name}: {curve}"], name, color)
        axes.set_yscale("log")
        common.dress(axes, title, "steps", curve, legend=curve == "bias")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
