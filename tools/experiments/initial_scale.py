"""Batch norm makes training less sensitive to the scale of the first weights.

Ioffe and Szegedy, ICML 2015, arXiv 1502.03167, section 3.3: BN(Wu) = BN((aW)u), and the gradient of larger weights is
smaller, 1/a, so that their growth is stabilized. Here the initialization of He et al. (ICCV 2015) times a factor.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import common
from common import Findings, Setup

import normengine as ne
from normengine import nn

SCALES = (1 / 64, 1 / 16, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 16.0, 64.0)
NORMS = {"batch norm": nn.BatchNorm1d, "plain": None}
HIDDEN, RATE, BATCH, STEPS = [100] * 5, 0.1, 64, 800


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(STEPS)
    findings = Findings({"hidden layers, ReLU": HIDDEN, "lr": RATE, "batch": BATCH, "steps": steps})
    for seed in setup.each_seed():
        for scale in setup.some(SCALES):
            for name, norm in NORMS.items():
                ne.manual_seed(seed)
                model = common.perceptron(data, HIDDEN, nn.ReLU, norm)
                for parameter in model.parameters():
                    if len(parameter.shape) == 2:
                        nn.init.kaiming_normal_(parameter, nonlinearity="relu")
                        parameter.data[...] *= scale
                common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, momentum=0.0)
                findings.add(f"{scale:g}", {f"{name}: accuracy (%)": common.held_accuracy(model, data)})
    return findings


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(6.5, 4)
    axes = figure.subplots()
    rows = list(findings.rows)
    common.sweep(axes, findings, [float(row) for row in rows], rows, list(findings.rows[rows[0]]))
    axes.set_xscale("log", base=2)
    common.dress(axes, "Five hidden layers after 800 steps", "factor of the initial weights", "held-out accuracy (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
