"""The internal covariate shift made visible, and the objection to it.

Ioffe and Szegedy, ICML 2015, arXiv 1502.03167: batch norm trains faster because the distribution of a layer's inputs
moves less. Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS 2018, arXiv
1805.11604, section 2: with noise behind batch norm, drawn anew in each step so that the distributions move more than
without batch norm, training still goes well.
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

HIDDEN, RATE, BATCH, STEPS, EVERY = [100] * 3, 0.1, 64, 800, 10
PROBES, PERCENTILES = 256, (15, 50, 85)
SHIFT = f"shift of means in {EVERY} steps"


class Unsettled(nn.Module):
    """In training each feature of (N, C) is scaled by a factor from U(0.5, 1.5) and shifted by a number from U(-1, 1),
    which are drawn anew in each step; each element's own have a noise of 0.1 besides. In eval mode nothing is done.
    """

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        scale = 0.5 + ne.rand(1, x.shape[1]) + 0.1 * ne.randn(*x.shape)
        return x * scale + 2 * ne.rand(1, x.shape[1]) - 1 + 0.1 * ne.randn(*x.shape)


class Shaken(nn.Sequential):
    """Batch norm with that noise behind it."""

    def __init__(self, features: int) -> None:
        super().__init__(nn.BatchNorm1d(features), Unsettled())


NORMS: dict[str, Any] = {"batch norm": nn.BatchNorm1d, "batch norm and noise": Shaken, "plain": None}


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(STEPS)
    findings = Findings({"hidden layers, ReLU": HIDDEN, "lr": RATE, "batch": BATCH, "steps": steps})
    for seed in setup.each_seed():
        for name, norm in NORMS.items():
            ne.manual_seed(seed)
            model = common.perceptron(data, HIDDEN, nn.ReLU, norm)
            noted: list[np.ndarray] = []
            watch = partial(note, noted, model, data)
            losses = common.train(
                model, common.batches(data, BATCH, steps, seed), lr=RATE, momentum=0.0, seed=seed, watch=watch
            )
            inputs = np.array(noted)
            looks = range(0, EVERY * len(inputs), EVERY)
            findings.add_losses(f"{name}: loss", steps, losses)
            for percentile in PERCENTILES:
                values = np.percentile(inputs[:, :, 0], percentile, axis=1)
                findings.add_curve(f"{name}: percentile {percentile}", looks, values)
            findings.add(name, {"held-out accuracy (%)": common.held_accuracy(model, data), **shift(inputs, losses)})
    return findings


def note(noted: list[np.ndarray], model: nn.Sequential, data: Data, done: int) -> None:
    """The inputs of the last hidden layer's activation, (images, features), in training mode, of images that stay the
    same; the model's running statistics and generator are left as they are."""
    if done % EVERY == 0:
        probe = copy.deepcopy(nn.Sequential(*list(model.children())[:-2])).train()
        noted.append(np.asarray(probe(data.x[:PROBES])))


def shift(inputs: np.ndarray, losses: list[float]) -> dict[str, float]:
    """How far mean and deviation of each feature move from one look to the next, in units of its deviation."""
    mean, deviation = inputs.mean(1, dtype=np.float64), inputs.std(1, dtype=np.float64)
    unit = deviation[:-1] + 1e-9
    return {
        "mean loss, last 50 steps": float(np.mean(losses[-50:])),
        SHIFT: float((np.abs(np.diff(mean, axis=0)) / unit).mean()),
        f"change of deviations in {EVERY} steps": float((np.abs(np.diff(deviation, axis=0)) / unit).mean()),
    }


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(12, 6.2)
    above, below = figure.subplots(2, 3)
    for axes, name, color in zip(above, NORMS, COLORS):
        for percentile, style in zip(PERCENTILES, (":", "-", "--"), strict=True):
            steps, values = findings.curves[f"{name}: percentile {percentile}"]
            axes.plot(steps, values[0], style, color=color, linewidth=0.9, label=f"{percentile} %")
        common.dress(axes, f"{name}: a last activation's input", "steps", "percentiles", legend=name == "batch norm")
    for name, color in zip(NORMS, COLORS):
        common.band(below[0], *findings.curves[f"{name}: loss"], name, color)
    common.dress(below[0], "Loss in training (means of 10 steps)", "steps", "loss")
    below[0].set_yscale("log")
    common.bars(below[1], findings, SHIFT)
    common.dress(below[1], f"How far means move in {EVERY} steps", "deviations", "")
    common.bars(below[2], findings, "held-out accuracy (%)")
    common.dress(below[2], "After the last step", "held-out accuracy (%)", "")
    common.zoom(below[2], findings, "held-out accuracy (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
