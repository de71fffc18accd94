"""How fast the compiled kernels are on layers of small networks, beside what the machine can do at most.

    python tools/bench_kernels.py [--only "3x3"] [--threads 1 2] [--batch 32 128] [--json FILE] [--against torch]

First comes what the machine does: multiply-adds that never leave the registers, and memory that is read and written.
Then each layer in each direction (``forward``, ``input_grad``, ``weight_grad``), with the kernel that the cost model
chooses: the median time, packing of the weights included; GFLOP/s, counted as the definition of the convolution needs
them, whatever the kernel does; the share of the peak (the median of ratios, for the peak is measured again around each
sample); the share of the memory rate that reading each input and writing each output once takes; whether no other
kernel of the instruction set is more than 3 % faster; and the relative norm of the error against the float64 reference,
on a smaller batch where the reference would take long. Numbers of threads are measured one after the other on each
problem, and compared at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypedDict

from against_torch import Torch
from measure import Arrays, Machine, Run, Speed, best_isa, error, speeds
from shapes import LAYERS, Layer, Task

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT

EQUAL = 1.03
"""How much slower than the fastest one a kernel may be to count as the fastest too."""
TURNS = 3
"""How often kernels and PyTorch take turns."""
BOUND = 0.5
"""Arithmetic binds what reaches this share of the peak, and no larger one of the memory rate."""
DIRECTIONS = ("forward", "input_grad", "weight_grad")


class Row(TypedDict):
    """What ``--json`` writes of each measurement."""

    shape: str
    direction: str
    batch: int
    threads: int
    kernel: str
    milliseconds: float
    gflops: float
    share_of_peak: float
    share_of_memory_rate: float
    fastest: bool
    error: float
    torch_milliseconds: float | None


def candidates(task: Task, isa: str, named: str, packed: bool = False) -> list[Kernel]:
    """Kernels that take the problem, the chosen one first; with ``named`` those whose name holds it alone. With
    ``packed``, the one that is chosen where the weights are packed before."""
    problem, rows = task.problem, REGISTRY.supporting(task.problem, [isa])
    rows = [kernel for kernel in rows if named in kernel.name]
    return sorted(rows, key=lambda kernel: kernel.cost(problem) - (kernel.packing_cost(problem) if packed else 0.0))


def direction_of(layer: Layer, direction: str) -> Callable[[int], Task]:
    """The layer's task in that direction, for a batch."""
    return lambda batch: next(task for task in layer.tasks(batch) if task.direction == direction)


@cache
def error_of(name: str, isa: str, layer: Layer, direction: str, batch: int) -> float:
    task = direction_of(layer, direction)
    kernel = next(k for k in REGISTRY.kernels[task(1).problem.op] if k.name == name and k.isa == isa)
    return error(kernel, task, batch)


def in_turns(
    runs: list[Run], task: Task, machine: Machine, torch: Torch | None, seconds: float
) -> tuple[list[Speed], float | None]:
    """The kernels' speeds and PyTorch's milliseconds, which take turns: medians over the turns."""
    peer = None if torch is None else torch.ready(task.problem, machine.threads)
    turns, peers = [], []
    for _ in range(TURNS if peer else 1):
        turns.append(speeds(runs, task.flops, machine, seconds / (TURNS if peer else 1)))
        if peer:
            peers.append(1e3 * peer(seconds / TURNS))
    measured = [
        Speed(median(s.seconds for s in turn), median(s.share_of_peak for s in turn))
        for turn in zip(*turns, strict=True)
    ]
    return measured, median(peers) if peers else None


def rows_of(
    layer: Layer, direction: str, batch: int, machine: Machine, torch: Torch | None, options: argparse.Namespace
) -> Iterator[Row]:
    """A row of the chosen kernel, then with ``--all`` one of every other kernel."""
    task = direction_of(layer, direction)(batch)
    packed = options.packed and direction == "forward"
    kernels = candidates(task, options.isa, options.kernel, packed)
    if not kernels:
        return
    arrays = Arrays(task.problem)
    runs = [Run(kernel, arrays, machine.threads, packed) for kernel in kernels]
    measured, peer = in_turns(runs, task, machine, torch, options.seconds)
    rate = median(machine.memory() for _ in range(3))
    best = min(speed.seconds for speed in measured)
    for kernel, speed in list(zip(kernels, measured, strict=True))[: None if options.all else 1]:
        yield {
            "shape": task.shape,
            "direction": direction,
            "batch": batch,
            "threads": machine.threads,
            "kernel": kernel.name,
            "milliseconds": 1e3 * speed.seconds,
            "gflops": task.flops / speed.seconds / 1e9,
            "share_of_peak": speed.share_of_peak,
            "share_of_memory_rate": task.nbytes / speed.seconds / 1e9 / rate,
            "fastest": speed.seconds <= EQUAL * best,
            "error": error_of(kernel.name, options.isa, layer, direction, batch),
            "torch_milliseconds": peer,
        }


HEADER = (
    f"{'shape':24s} {'direction':11s} {'batch':>5s} {'threads':>7s} {'kernel':46s} {'ms':>9s} {'GFLOP/s':>8s} "
    f"{'peak':>6s} {'memory':>6s} {'fastest':>7s} {'error':>7s}"
)


def line(row: Row) -> str:
    peer = row["torch_milliseconds"]
    return (
        f"{row['shape']:24s} {row['direction']:11s} {row['batch']:5d} {row['threads']:7d} {row['kernel']:46s} "
        f"{row['milliseconds']:9.3f} {row['gflops']:8.1f} {row['share_of_peak']:6.1%} "
        f"{row['share_of_memory_rate']:6.1%} {'yes' if row['fastest'] else 'no':>7s} {row['error']:7.1e}"
        + (f" {peer:9.3f}" if peer is not None else "")
    )


def gain(rows: list[Row], few: int, many: int) -> str:
    """How much faster the chosen kernels are on so many threads than on fewer, where arithmetic binds them on those."""
    before: dict[tuple[str, str, int, str], Row] = {}
    for row in rows:
        if row["threads"] == few and row["share_of_peak"] >= max(BOUND, row["share_of_memory_rate"]):
            before[row["shape"], row["direction"], row["batch"], row["kernel"]] = row
    gains = {
        key: before[key]["milliseconds"] / row["milliseconds"]
        for row in rows
        if row["threads"] == many and (key := (row["shape"], row["direction"], row["batch"], row["kernel"])) in before
    }
    if not gains:
        return f"{many} threads beside {few}: no row is bound by arithmetic"
    least, wanted = min(gains, key=gains.__getitem__), 0.95 * many / few
    middle = median(gains.values())
    return (
        f"{many} threads beside {few}, {len(gains)} rows bound by arithmetic: median {middle:.2f} times as fast, "
        f"{sum(g >= wanted for g in gains.values())} rows {wanted:.2f} times or more, "
        f"least {gains[least]:.2f} ({least[0]} {least[1]}, batch {least[2]})"
    )


def fail(message: str) -> int:
    print(f"bench_kernels.py: {message}", file=sys.stderr)
    return 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=BUILT, default=best_isa(), help="instruction set (default: the best in use)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128], help="default: 32 128")
    parser.add_argument("--seconds", type=float, default=0.2, help="time for each kernel on each problem")
    parser.add_argument("--only", default="", help="layers whose name, or name and direction, holds this")
    parser.add_argument("--direction", choices=DIRECTIONS, nargs="+", default=DIRECTIONS)
    parser.add_argument("--kernel", default="", help="take the cheapest kernel whose name holds this, not any other")
    parser.add_argument("--all", action="store_true", help="a row for every other kernel too")
    parser.add_argument("--packed", action="store_true", help="forward: weights packed before, as in a session")
    parser.add_argument("--against", choices=["torch"], help="measure PyTorch on the same problems")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    torch = None
    if options.against:
        try:
            torch = Torch()
        except ImportError:
            print(
                "bench_kernels.py: --against torch needs PyTorch; install torch or leave the option out",
                file=sys.stderr,
            )
            return 1
    rows: list[Row] = []
    machines = [Machine(options.isa, threads) for threads in options.threads]
    for machine in machines:
        peak, memory = (median(measure() for _ in range(9)) for measure in (machine.peak, machine.memory))
        print(f"{options.isa}, threads {machine.threads}: peak {peak:.1f} GFLOP/s, memory {memory:.1f} GB/s")
    if torch:
        print(f"PyTorch {torch.version} in the last column (ms)")
    print(HEADER)
    for layer, direction, batch, machine in product(LAYERS, options.direction, options.batch, machines):
        if options.only in f"{layer.name} {direction}":
            for row in rows_of(layer, direction, batch, machine, torch, options):
                rows.append(row)
                print(line(row), flush=True)
    if not rows:
        return fail("no layer and kernel are called so; see tools/shapes.py")
    for threads in options.threads[1:]:
        print(gain(rows, options.threads[0], threads))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
