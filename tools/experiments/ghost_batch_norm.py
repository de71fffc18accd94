"""Ghost batch norm against batch norm at large batches.

Hoffer, Hubara and Soudry, "Train longer, generalize better", NeurIPS 2017, arXiv 1705.08741: with large batches
networks generalize worse. Statistics of small parts of the batch, a learning rate that grows with the square root of
the batch size, and as many steps as with small batches instead of as many passes over the images close the gap.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import common
from common import Findings, Setup

import normengine as ne
from normengine import nn

SIZES, GHOST, IMAGES, RATE, STEPS = (64, 256, 1024), 32, 2048, 0.02, 160
NORMS: dict[str, Any] = {
    "batch norm": nn.BatchNorm2d,
    "ghost batch norm": partial(nn.GhostBatchNorm2d, ghost_size=GHOST),
}


def run(setup: Setup) -> Findings:
    data = setup.data(IMAGES)
    findings = Findings(
        {"ghost size": GHOST, "lr at 64 images, falling to 0": RATE, "momentum": 0.9, "images": len(data.x)}
    )
    for seed in setup.each_seed():
        for size in setup.some(SIZES):
            size = min(size, len(data.x) // GHOST * GHOST)
            whole = setup.steps(STEPS)
            for steps in sorted({max(1, whole * SIZES[0] // size), whole}):
                for name, norm in NORMS.items():
                    ne.manual_seed(seed)
                    model = common.convnet(data, norm)
                    given, rate = common.batches(data, size, steps, seed), RATE * (size / SIZES[0]) ** 0.5
                    common.train(model, given, lr=rate, decay=steps, seed=seed)
                    ne.recalibrate(model, data.x)
                    error = 100 - common.held_accuracy(model, data)
                    findings.add(f"{size} images, {steps} steps", {f"{name}: error (%)": error})
    return findings


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(10, 3.8)
    rows: dict[int, list[str]] = {}
    for row in findings.rows:
        rows.setdefault(int(row.split()[0]), []).append(row)
    for axes, place, title in zip(figure.subplots(1, 2), (0, -1), ("As many passes over the images", "As many steps")):
        chosen = [kinds[place] for kinds in rows.values()]
        common.sweep(axes, findings, list(rows), chosen, list(findings.rows[chosen[0]]))
        axes.set_xscale("log", base=2)
        common.dress(axes, title, "images in a batch", "held-out error (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
