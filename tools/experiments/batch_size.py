"""Batch size: batch norm against group norm.

Wu and He, "Group Normalization", ECCV 2018, arXiv 1803.08494, figure 1: the error with batch norm rises as batches
become small, since its statistics become noise; group norm takes its statistics from one image, and its error stays. As
there, the learning rate is in proportion to the batch size; all see the same number of images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import common
from common import Data, Findings, Setup

import normengine as ne
from normengine import nn

SIZES, GROUPS, IMAGES, RATE, EPOCHS = (2, 4, 8, 16, 32, 64), 4, 2048, 0.1, 6
NETWORKS: dict[str, Callable[[Data], nn.Sequential]] = {
    "convolutions, batch norm": common.convnet,
    "convolutions, group norm": partial(common.convnet, norm=partial(nn.GroupNorm, GROUPS)),
    "dense layers, batch norm": partial(common.perceptron, activation=nn.ReLU),
    "dense layers, group norm": partial(common.perceptron, activation=nn.ReLU, norm=partial(nn.GroupNorm, GROUPS)),
}
"""In a batch of n images a channel of the convolutions has 49 n to 784 n values, a feature of the dense layers n."""


def run(setup: Setup) -> Findings:
    data = setup.data(IMAGES)
    settings = {"images": len(data.x), "groups": GROUPS, "lr at 64 images, falling to 0": RATE, "epochs": EPOCHS}
    findings = Findings(settings)
    for seed in setup.each_seed():
        for size in setup.some(SIZES):
            steps = setup.steps(EPOCHS * len(data.x) // size)
            for name, build in NETWORKS.items():
                ne.manual_seed(seed)
                model = build(data)
                given, rate = common.batches(data, size, steps, seed), RATE * size / 64
                common.train(model, given, lr=rate, decay=steps, seed=seed)
                findings.add(f"{size} images", {f"{name}: error (%)": 100 - common.held_accuracy(model, data)})
    return findings


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(6.5, 4)
    axes = figure.subplots()
    rows = list(findings.rows)
    common.sweep(axes, findings, [int(row.split()[0]) for row in rows], rows, list(findings.rows[rows[0]]))
    axes.set_xscale("log", base=2)
    common.dress(axes, "After six passes over 2048 images", "images in a batch", "held-out error (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
