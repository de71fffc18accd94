"""Training nothing but the scale and shift of batch norm in a network of random weights.

Frankle, Schwab and Morcos, "Training BatchNorm and Only BatchNorm", ICLR 2021, arXiv 2003.00152: it reaches far more
than chance, and more than training as many weights chosen at random in each channel. No weight gradients are
computed then; how much shorter the step is, is measured briefly and depends on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import common
import numpy as np
from common import Data, Findings, Setup

import normengine as ne
from normengine import nn, optim
from normengine.nn import functional as F
from normengine.nn import random

WIDTHS, BATCH, STEPS, TIMED = (16, 16, 16, 32, 32), 64, 600, 100
HEAD = "the last layer"


class SomeWeights(nn.Module):
    """A convolution of fixed weights, of which two in each output channel, drawn at random, are trained."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        weight = nn.Conv2d(inputs, outputs, 3, bias=False).get_parameter("weight").numpy().copy()
        trained = np.zeros((outputs, inputs * 9), np.float32)
        for channel in trained:
            channel[random.generator().choice(inputs * 9, 2, replace=False)] = 1
        self.register_buffer("fixed", weight)
        self.register_buffer("trained", trained.reshape(weight.shape))
        self.change = nn.Parameter(np.zeros_like(weight))

    def forward(self, x: Any) -> Any:
        return F.conv2d(x, self.fixed + self.trained * self.change, padding=1)


def network(data: Data, some: bool = False) -> nn.Sequential:
    """Convolutions with batch norm, pooling after the first and the third, a linear layer on the averages."""
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(pairwise((data.x.shape[1], *WIDTHS))):
        layers.append(SomeWeights(inputs, outputs) if some else nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
        layers += [nn.BatchNorm2d(outputs), nn.ReLU(), *([nn.MaxPool2d(2)] if place in (0, 2) else [])]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], 10))


def trained(model: nn.Sequential, *kinds: type[nn.Module]) -> nn.Sequential:
    """The model with everything frozen but modules of these kinds."""
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, kinds):
            module.requires_grad_(True)
    return model


WAYS: dict[str, tuple[Callable[[Data], nn.Sequential], float]] = {
    "everything": (network, 0.1),
    "batch norm": (lambda data: trained(network(data), nn.BatchNorm2d), 3.0),
    f"batch norm and {HEAD}": (lambda data: trained(network(data), nn.BatchNorm2d, nn.Linear), 1.0),
    HEAD: (lambda data: trained(network(data), nn.Linear), 3.0),
    "two weights of each channel": (lambda data: trained(network(data, some=True), SomeWeights), 1.0),
}
"""How each network is made, and the learning rate that did best for it among 0.1, 1 and 3."""


def run(setup: Setup) -> Findings:
    data, steps = setup.data(), setup.steps(STEPS)
    rates = {name: rate for name, (_, rate) in WAYS.items()}
    findings = Findings({"widths": WIDTHS, "lr, falling to 0": rates, "batch": BATCH, "steps": steps})
    for seed in setup.each_seed():
        for name, (build, rate) in WAYS.items():
            ne.manual_seed(seed)
            model = build(data)
            common.train(model, common.batches(data, BATCH, steps, seed), lr=rate, decay=steps, seed=seed)
            values = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            if "weights" in name:
                values = sum(2 * width for width in WIDTHS)
            findings.add(name, {"held-out accuracy (%)": common.held_accuracy(model, data), "trained values": values})
        for name, measures in timings(data, setup.steps(TIMED)).items():
            findings.add(name, measures)
    return findings


def timings(data: Data, rounds: int) -> dict[str, dict[str, float]]:
    """The least time of steps that take turns on one thread, and how many weight gradients their programs compute."""
    x, y = data.x[:BATCH], data.y[:BATCH]
    threads = ne.get_num_threads()
    ne.set_num_threads(1)
    steps = {}
    for name in ("everything", "batch norm"):
        model = WAYS[name][0](data)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        steps[name] = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(parameters, lr=0.01, momentum=0.9))
        steps[name](x, y)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            step(x, y)
            seconds[name].append(time.perf_counter() - begin)
    ne.set_num_threads(threads)
    return {
        f"step: {name}": {
            "milliseconds": 1000 * min(seconds[name]),
            "convolutions with a weight gradient": len(_layers(str(step.program))),
        }
        for name, step in steps.items()
    }


def _layers(program: str) -> set[str]:
    """The layers, in the last column of a program's lines, whose weight gradient it computes."""
    return {line.split()[-1] for line in program.splitlines() if "weight_grad" in line}


def draw(findings: Findings, figure: Any) -> None:
    figure.set_size_inches(11, 3.2)
    left, right = figure.subplots(1, 2)
    common.bars(left, findings, "held-out accuracy (%)", list(WAYS))
    common.dress(left, "What is trained in a network of random weights", "held-out accuracy (%)", "")
    common.bars(right, findings, "milliseconds", [row for row in findings.rows if row.startswith("step: ")])
    common.dress(right, "A step on 64 images, one thread", "milliseconds", "")


main = partial(common.perform, __file__, __doc__, run, draw)

if __name__ == "__main__":
    main()
