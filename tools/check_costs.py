"""The cost model held against measurement: is the kernel that costs least the fastest one?

    python tools/check_costs.py [--random 40] [--seed 0] [--seconds 0.05] [--only "3x3"]

Measures every kernel of an instruction set that takes a problem: the layers of the benchmark, and random ones such as
small networks have, in every direction. Prints the choices that lost time and how much (the regret: time over that of
the fastest kernel, minus one), then for each kernel how its measured time relates to its cost, which is meant to be in
fused multiply-adds of whole vectors at full rate: the median of measured over estimated time and its range without the
outer tenths, and the rank correlation of the two.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
from bench_kernels import DIRECTIONS, EQUAL, candidates
from measure import Arrays, Machine, Run, best_isa, speeds
from shapes import LAYERS, Convolution, Layer, Linear, Task

from normengine.kernels import Kernel
from normengine.kernels.compiled import BUILT

MOST_PRODUCTS = 600_000_000
"""Multiplications of the largest problem: some hundredths of a second."""


@dataclass(frozen=True)
class Measured:
    """Kernels on one problem, the chosen one first: estimated and measured seconds."""

    task: Task
    batch: int
    kernels: list[Kernel]
    estimated: list[float]
    seconds: list[float]

    @property
    def regret(self) -> float:
        return self.seconds[0] / min(self.seconds) - 1


def random_layers(count: int, seed: int) -> Iterator[Layer]:
    rng = np.random.default_rng(seed)
    channels = (3, 8, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
    for _ in range(count):
        c, oc = (int(v) for v in rng.choice(channels, 2))
        kind = rng.random()
        if kind < 0.1:
            yield Linear(int(rng.choice([64, 256, 512, 1568])), int(rng.choice([10, 100, 256])))
            continue
        size = tuple(int(v) for v in rng.integers(4, 57, 2))
        kernel, stride = int(rng.choice([1, 3, 3, 3, 5, 7])), int(rng.choice([1, 1, 2]))
        square = (size[0], size[0]) if rng.random() < 0.7 else (size[0], size[1])
        if kind < 0.25:
            yield Convolution(c, c, square, max(kernel, 3), stride, groups=c)
        elif kind < 0.35 and c % 4 == 0 and oc % 4 == 0:
            yield Convolution(c, oc, square, kernel, stride, groups=4)
        else:
            yield Convolution(c, oc, square, kernel, stride)


def problems(options: argparse.Namespace) -> Iterator[tuple[Task, int]]:
    """The tasks and their batches: those of the options, less where that would take long."""
    for layer in (*LAYERS, *random_layers(options.random, options.seed)):
        for direction in DIRECTIONS:
            for batch in options.batch:
                tasks = {task.direction: task for task in layer.tasks(1)}
                images = min(batch, max(1, MOST_PRODUCTS // tasks[direction].products))
                task = next(t for t in layer.tasks(images) if t.direction == direction)
                if options.only in f"{task.shape} {direction}":
                    yield task, images


def measured(task: Task, batch: int, machine: Machine, options: argparse.Namespace) -> Measured:
    kernels = candidates(task, options.isa, "")
    arrays = Arrays(task.problem)
    runs = [Run(kernel, arrays, 1) for kernel in kernels]
    spent = [speed.seconds for speed in speeds(runs, task.flops, machine, options.seconds)]
    unit = 2 * machine.width / (1e9 * median(machine.peak() for _ in range(3)))
    return Measured(task, batch, kernels, [unit * kernel.cost(task.problem) for kernel in kernels], spent)


def ranks(values: list[float]) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def report(found: list[Measured]) -> None:
    by_kernel: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in found:
        for kernel, estimate, spent in zip(one.kernels, one.estimated, one.seconds, strict=True):
            by_kernel[kernel.name].append((estimate, spent))
    print(f"{'kernel':44s} {'problems':>8s} {'measured / estimated: median':>28s} {'range':>14s} {'rank':>6s}")
    for name, pairs in sorted(by_kernel.items()):
        low, middle, high = np.quantile([spent / estimate for estimate, spent in pairs], [0.1, 0.5, 0.9])
        rank = 1.0
        if len(pairs) > 2:
            estimates, times = zip(*pairs, strict=True)
            rank = float(np.corrcoef(ranks(list(estimates)), ranks(list(times)))[0, 1])
        print(f"{name:44s} {len(pairs):8d} {middle:28.2f} {low:6.2f} - {high:5.2f} {rank:6.3f}")
    choices = [one for one in found if len(one.kernels) > 1]
    if choices:
        right = sum(one.regret <= EQUAL - 1 for one in choices)
        regrets = [one.regret for one in choices]
        print(f"{right} of {len(choices)} choices were the fastest; regret: mean {np.mean(regrets):.1%}, ", end="")
        print(f"worst {max(regrets):.1%}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=BUILT, default=best_isa(), help="instruction set (default: the best in use)")
    parser.add_argument("--random", type=int, default=40, help="random layers beside those of the benchmark")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32], help="images at most (default: 1 32)")
    parser.add_argument("--seconds", type=float, default=0.05, help="time for each kernel on each problem")
    parser.add_argument("--only", default="", help="layers whose name, or name and direction, holds this")
    options = parser.parse_args(arguments)
    machine = Machine(options.isa, 1)
    found = []
    for task, batch in problems(options):
        one = measured(task, batch, machine, options)
        found.append(one)
        if one.regret > EQUAL - 1:
            best = one.kernels[int(np.argmin(one.seconds))].name
            print(f"{task.shape:26s} {task.direction:11s} batch {batch:3d}: {one.kernels[0].name} loses ", end="")
            print(f"{one.regret:.1%} to {best}", flush=True)
    if not found:
        print("check_costs.py: no layer is called so; see tools/shapes.py", file=sys.stderr)
        return 1
    report(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
