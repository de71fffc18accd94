"""Folding batch norm into the layer before it changes nothing but rounding.

In inference a batch norm is a fixed scale and shift of each channel (Ioffe and Szegedy, ICML 2015, arXiv 1502.03167,
section 3.1), which goes into the weights and the bias of the linear layer or convolution before it. Each network is
trained and exported, and the file runs on the held-out images beside the model as it was trained.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import before_or_after
import common
import dropout_and_batch_norm
import global_average
import numpy as np
from common import Data, Findings, Setup

import normengine as ne
from normengine import nn

RATE, BATCH, STEPS = 0.05, 64, 250


class Residual(nn.Module):
    """Two convolutions, and their input added before the last ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.activation = nn.ReLU()

    def forward(self, x: Any) -> Any:
        return self.activation(self.body(x) + x)


def residual(data: Data) -> nn.Sequential:
    """A block, two residual blocks, and a linear layer on the averages."""
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return nn.Sequential(*common.block(1, 16), Residual(16), Residual(16), *head)


NETWORKS: dict[str, Callable[[Data], nn.Sequential]] = {
    "three layers of sigmoids": common.perceptron,
    "three convolutions": common.convnet,
    "batch norm after ReLU": partial(before_or_after.network, place="after ReLU"),
    "global average pooling": partial(global_average.network, head="average, linear"),
    "batch norm and dropout": partial(dropout_and_batch_norm.network, norm=True, dropout="behind"),
    "residual blocks": residual,
}


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(STEPS)
    findings = Findings({"lr, falling to 0": RATE, "batch": BATCH, "steps": steps})
    for seed in setup.each_seed():
        for name, build in NETWORKS.items():
            ne.manual_seed(seed)
            model = build(data)
            common.train(model, common.batches(data, BATCH, steps, seed), lr=RATE, decay=steps, seed=seed)
            findings.add(name, compared(model, data))
    return findings


def compared(model: nn.Sequential, data: Data) -> dict[str, float]:
    """What the folded file gives beside what the model gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        report = ne.onnx.export(model, path, data.x.shape[1:])
        session = ne.InferenceSession(path)
        folded = np.concatenate([session(part) for part in np.array_split(data.held_x, 4)])
    trained = common.scores(model, data.held_x)
    return {
        "batch norms": len(report.batch_norms),
        "folded": report.folded,
        "largest logit": float(np.abs(trained).max()),
        "largest difference": float(np.abs(folded - trained).max()),
        "changed predictions": int((folded.argmax(1) != trained.argmax(1)).sum()),
        "accuracy (%)": common.share_right(folded, data.held_y),
    }


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(8, 3.2)
    axes = figure.subplots()
    common.bars(axes, findings, "largest difference")
    axes.set_xscale("log")
    images = "largest difference of logits on the held-out images"
    changed = sum(sum(row["changed predictions"]) for row in findings.rows.values())
    common.dress(axes, f"Folded file against model: {changed:.0f} predictions changed", images, "")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
