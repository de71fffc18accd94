"""What a step of training or a run of inference takes beyond its kernels, on networks whose kernels have little to do.

The kernels' time is the sum of the calls' times as the executor measures them one by one, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import normengine as ne
from normengine import nn, optim

SAMPLES = 25
RUNS = 200


def ten_layers() -> nn.Module:
    """Ten layers, batch norms and activations counted."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8),
        nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))  # fmt: skip


def ten_convolutions() -> nn.Module:
    """Ten convolutions, each with its batch norm and activation."""
    layers: list[nn.Module] = []
    for channels in (3, *[8] * 9):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"ten layers": ten_layers, "ten convolutions": ten_convolutions}


def mean_seconds(run: Callable[[], object]) -> float:
    """The least over samples of the mean time of some runs: what others do on the machine is left out."""
    samples = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        for _ in range(RUNS):
            run()
        samples.append((time.perf_counter() - start) / RUNS)
    return min(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=4, help="of the images (default: 4)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--adam", action="store_true", help="with Adam (default: SGD with momentum)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((options.batch, 3, options.size, options.size), np.float32)
    y = rng.integers(0, 10, options.batch)
    for name, build in NETWORKS.items():
        ne.manual_seed(0)
        model = build()
        parameters = model.parameters()
        optimizer = optim.Adam(parameters) if options.adam else optim.SGD(parameters, lr=1e-3, momentum=0.9)
        step = ne.TrainStep(model, nn.CrossEntropyLoss(), optimizer)
        step(x, y)
        ne.set_num_threads(1)
        timings = step.profile(x, y, runs=RUNS).timings
        kernels, calls = sum(timing.seconds for timing in timings), len(timings)
        ne.set_num_threads(options.threads)
        whole = mean_seconds(lambda: step(x, y))  # noqa: B023
        print(
            f"{name:16s} {calls:4d} calls: step {1e6 * whole:7.1f} us, kernels {1e6 * kernels:7.1f} us, "
            f"beyond them {1e6 * (whole - kernels):6.1f} us"
        )


if __name__ == "__main__":
    main()
