"""Dropout, batch norm, both, neither, on a small training set.

Srivastava et al., JMLR 15, 2014: dropout keeps networks from overfitting. Ioffe and Szegedy, ICML 2015, arXiv
1502.03167, section 4.2.1: with batch norm dropout can be left out. Li, Chen, Hu and Yang, CVPR 2019, arXiv 1801.05134:
together they are often worse than batch norm alone, unless dropout stands behind the last batch norm.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import common
from common import Data, Findings, Setup

import normengine as ne
from normengine import nn

IMAGES, HIDDEN, P, RATE, BATCH, STEPS = 500, 128, 0.5, 0.02, 50, 400
WAYS = {
    "neither": (False, ""),
    "dropout": (False, "behind"),
    "batch norm": (True, ""),
    "both, dropout behind the last batch norm": (True, "behind"),
    "both, dropout before each batch norm": (True, "before"),
}


def network(data: Data, norm: bool, dropout: str) -> nn.Sequential:
    """Two blocks, a dense layer and the last one; dropout only before the last one, or before each weighted layer."""

    def dropped(here: bool, layer: nn.Module) -> list[nn.Module]:
        return [nn.Dropout(P), layer] if here else [layer]

    first, *rest = common.block(8, 16, nn.BatchNorm2d if norm else None)
    hidden = nn.Linear(16 * common.pooled(data, 2), HIDDEN, bias=not norm)
    return nn.Sequential(
        *common.block(1, 8, nn.BatchNorm2d if norm else None),
        *dropped(dropout == "before", first),
        *rest,
        nn.Flatten(),
        *dropped(dropout == "before", hidden),
        *([nn.BatchNorm1d(HIDDEN)] if norm else []),
        nn.ReLU(),
        *dropped(dropout == "behind", nn.Linear(HIDDEN, 10)),
    )


def run(setup: Setup) -> Findings:
    whole, steps = setup.data(), setup.steps(STEPS)
    findings = Findings(
        {"images, drawn by the seed": IMAGES, "p": P, "lr, falling to 0": RATE, "batch": BATCH, "steps": steps}
    )
    for seed in setup.each_seed():
        data = whole.drawn(IMAGES, seed)
        for name, (norm, dropout) in WAYS.items():
            ne.manual_seed(seed)
            model = network(data, norm, dropout)
            common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, decay=steps, seed=seed)
            held, seen = common.held_accuracy(model, data), common.accuracy(model, data.x, data.y)
            findings.add(name, {"held-out accuracy (%)": held, "training accuracy (%)": seen})
    return findings


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(8, 3.2)
    axes = figure.subplots()
    common.bars(axes, findings, "held-out accuracy (%)")
    common.zoom(axes, findings, "held-out accuracy (%)")
    common.dress(axes, "Trained on 500 images", "held-out accuracy (%)", "")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
