"""Train with the statistics of the batch, test with those of the population.

Ioffe and Szegedy, ICML 2015, arXiv 1502.03167, section 3.1 and algorithm 2: at inference a prediction must depend on
its image alone, so that population statistics take the place of the batch's. They are the mean of batch means and
m/(m-1) times the mean of batch variances; moving averages follow them while the model trains.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import common
import numpy as np
from common import Data, Findings, Setup

import normengine as ne
from normengine import nn
from normengine.nn.mode import kept_mode

SIZES = (1, 2, 4, 8, 32, 128)
MOMENTA = (0.1, 0.01, 0.001)
MARKS = (5, 20, 80, 320)
RATE, BATCH = 0.05, 64
ACCURACY, CHANGED = "accuracy (%)", "predictions that the others in the batch change (%)"


def run(setup: Setup) -> Findings:
    data, marks = setup.data(), sorted({setup.steps(mark) for mark in MARKS})
    findings = Findings({"network": "three convolutions", "lr": RATE, "momentum of SGD": 0.9, "batch": BATCH})
    for seed in setup.each_seed():
        for momentum in MOMENTA:
            ne.manual_seed(seed)
            model = common.convnet(data, partial(nn.BatchNorm2d, momentum=momentum))
            watch = partial(note, findings, model, data, momentum, marks)
            common.train(model, common.batches(data, BATCH, marks[-1], seed), lr=RATE, seed=seed, watch=watch)
            if momentum == MOMENTA[0]:
                sizes(findings, model, data, setup)
    return findings


def note(findings: Findings, model: nn.Sequential, data: Data, momentum: float, marks: list[int], done: int) -> None:
    """Held-out accuracy with moving averages, and once with exact statistics, which do not depend on the momentum."""
    if done not in marks:
        return
    findings.add(f"{done} steps", {f"momentum {momentum:g} (%)": common.held_accuracy(model, data)})
    if momentum == MOMENTA[-1]:
        exact = copy.deepcopy(model)
        ne.recalibrate(exact, data.x[:4096])
        findings.add(f"{done} steps", {"population (%)": common.held_accuracy(exact, data)})


def sizes(findings: Findings, model: nn.Sequential, data: Data, setup: Setup) -> None:
    """Predict with running statistics, image by image, and with those of batches of several sizes."""
    x, y = data.held_x[:1000], data.held_y[:1000]
    together = common.scores(model, x).argmax(1)
    with kept_mode(model, training=False):
        alone = np.concatenate([model(image[None]) for image in x]).argmax(1)
    findings.add("running statistics", {ACCURACY: _share(alone == y), CHANGED: _share(alone != together)})
    trained, whole = copy.deepcopy(model).train(), np.arange(len(x))
    drawn = np.random.default_rng(0).permutation(len(x))
    for size in setup.some(SIZES):
        found, other = (by_batch(trained, x, order, size) for order in (whole, drawn))
        row = f"statistics of batches of {size}"
        findings.add(row, {ACCURACY: _share(found == y), CHANGED: _share(found != other)})
    found = by_batch(trained, x, np.argsort(y, kind="stable"), SIZES[-1])
    row = f"statistics of {SIZES[-1]}, sorted by label"
    findings.add(row, {ACCURACY: _share(found == y), CHANGED: _share(found != other)})


def by_batch(trained: nn.Sequential, x: np.ndarray, order: np.ndarray, size: int) -> np.ndarray:
    """Predictions with the statistics of batches of ``size`` images in this order."""
    found = np.empty(len(order), np.int64)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        found[chosen] = trained(x[chosen]).argmax(1)
    return found


def _share(chosen: np.ndarray) -> float:
    return 100 * float(chosen.mean())


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(11, 3.8)
    left, right = figure.subplots(1, 2)
    rows = [row for row in findings.rows if not row.endswith("steps")]
    common.bars(left, findings, ACCURACY, rows)
    common.zoom(left, findings, ACCURACY, rows)
    common.dress(left, "The same network, predicting with", "held-out accuracy (%)", "")
    marks = [row for row in findings.rows if row.endswith("steps")]
    steps = [int(mark.split()[0]) for mark in marks]
    common.sweep(right, findings, steps, marks, list(findings.rows[marks[0]]))
    right.set_xscale("log")
    common.dress(right, "Moving averages against exact statistics", "steps of training", "held-out accuracy (%)")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
