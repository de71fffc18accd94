"""The time of a training step with each normalization, against batch norm's, and that of ``ne.recalibrate`` against
inference, in turns.

    python tools/bench_norms.py [--batch 32 128] [--turns 7] [--only batch ghost32]

The network is that of ``norm_networks.py``. Ratios are medians over the turns of one run; run nothing beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from norm_networks import MODELS

import normengine as ne
from normengine import nn, optim

SECONDS = 0.7
"""Of each turn."""


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call, the mean of a turn."""
    begin = time.perf_counter()
    count = 0
    while time.perf_counter() - begin < SECONDS:
        work()
        count += 1
    return (time.perf_counter() - begin) / count


def in_turns(works: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            found[name].append(timed(work))
    return found


def show(title: str, found: dict[str, list[float]], base: str) -> None:
    print(title)
    for name, seconds in found.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, found[base], strict=True))
        print(f"    {name:16s} {1e3 * statistics.median(seconds):8.2f} ms   {ratio:5.2f} of {base}", flush=True)


def step_of(name: str, batch: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    build, shape = MODELS[name]
    ne.manual_seed(0)
    model = build(nn)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    x, y = rng.standard_normal((batch, *shape)).astype(np.float32), rng.integers(0, 10, batch)
    return lambda: step(x, y)


def population(turns: int) -> None:
    build, shape = MODELS["batch"]
    model = build(nn)
    x = np.random.default_rng(0).standard_normal((1024, *shape)).astype(np.float32)

    def inference() -> None:
        model.eval()
        for i in range(0, len(x), 256):
            model(x[i : i + 256])

    works = {"inference": inference, "recalibrate": lambda: ne.recalibrate(model, x, batch_size=256)}
    show("1,024 images, batches of 256", in_turns(works, turns), "inference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    names = list(dict.fromkeys(("batch", *options.only)))
    for batch in options.batch:
        works = {name: step_of(name, batch) for name in names}
        show(f"a training step of {batch} images", in_turns(works, options.turns), "batch")
    population(options.turns)


if __name__ == "__main__":
    main()
