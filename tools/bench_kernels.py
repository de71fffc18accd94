"""How fast the compiled kernels are: GFLOP/s, and the share of what the CPU's multiply-add units can do at most.

    python tools/bench_kernels.py [--isa avx2] [--threads 1] [--batch 32] [--seconds 0.2] [--only conv2d]

Each line is one problem: the best of the runs that fit into the given time, weights packed anew each time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from importlib import import_module

import numpy as np

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel, Launch, Problem
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS
from normengine.runtime.executor import Executor

Shape = tuple[int, ...]

# Input channels, output channels, image side, kernel side, stride, groups.
CONVOLUTIONS = (
    (1, 32, 28, 3, 1, 1),
    (3, 16, 32, 3, 1, 1),
    (16, 16, 32, 3, 1, 1),
    (32, 32, 28, 3, 1, 1),
    (64, 64, 32, 3, 1, 1),
    (64, 64, 16, 3, 1, 1),
    (128, 128, 16, 3, 1, 1),
    (256, 256, 8, 3, 1, 1),
    (512, 512, 4, 3, 1, 1),
    (32, 64, 32, 3, 2, 1),
    (64, 128, 16, 1, 2, 1),
    (32, 64, 32, 1, 1, 1),
    (128, 128, 8, 1, 1, 1),
    (16, 32, 28, 5, 1, 1),
    (64, 64, 32, 3, 1, 64),
    (128, 128, 16, 3, 2, 128),
    (256, 256, 8, 3, 1, 256),
)
PRODUCTS = ((128, 128, 3136), (10, 128, 3136), (256, 256, 256), (512, 1000, 512))


class Run:
    """A kernel on one problem, in memory, ready for the executor."""

    def __init__(self, kernel: Kernel, problem: Problem, launch: Launch, threads: int) -> None:
        rng = np.random.default_rng(0)
        signature = REGISTRY.signatures[problem.op]
        inputs = [rng.standard_normal(shape, np.float32) if shape else None for shape in problem.inputs]
        outputs = [np.empty(shape, np.float32) for shape in problem.outputs]
        stride = -(-launch.workspace // 64) * 64 + 64
        memory = [np.empty(launch.scratch + 64, np.uint8), np.empty(stride * threads + 64, np.uint8)]
        self.threads = threads
        self._keep = [*inputs, *outputs, *memory]
        pointers = [0 if a is None else a.ctypes.data for a in (*inputs, *outputs)]
        pointers += [a.ctypes.data + -a.ctypes.data % 64 for a in memory]
        numbers = (*signature.values(problem), *launch.extra)
        bits = [int(np.float64(v).view(np.int64)) if isinstance(v, float) else v for v in numbers]
        self._slots = np.array([*pointers, stride, *bits], np.int64)
        calls = [(s(), self._slots.ctypes.data, n, 0) for s, n in zip(kernel.stages, launch.tasks, strict=True)]
        self._executor = Executor(np.array(calls, np.int64))
        self._calls = len(calls)

    def once(self) -> None:
        self._executor.run(0, self._calls, self.threads)


def best(run: Run, seconds: float) -> float:
    """Seconds of the fastest of the runs that fit."""
    run.once()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run.once()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def fma_peak(isa: str, threads: int) -> float:
    """GFLOP/s of multiply-adds that never leave the registers."""
    module = import_module(f"normengine.kernels._{isa}")
    rounds, results = 500_000, np.zeros(threads, np.float32)
    slots = np.array([results.ctypes.data, rounds], np.int64)
    executor = Executor(np.array([[module.ADDRESSES["fma_peak"], slots.ctypes.data, threads, 1]], np.int64))
    fastest = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        executor.run(0, 1, threads)
        fastest = min(fastest, time.perf_counter() - start)
    return threads * rounds * 2 * module.SIZES["rows"] * module.SIZES["columns"] / fastest / 1e9


def problems(batch: int) -> Iterator[tuple[str, Problem, float]]:
    """A description, the problem and its floating-point operations."""
    for c, oc, side, kernel, stride, groups in CONVOLUTIONS:
        x, w = (batch, c, side, side), (oc, c // groups, kernel, kernel)
        attrs = {
            "stride": (stride, stride),
            "padding": (kernel // 2,) * 4,
            "dilation": (1, 1),
            "groups": groups,
        }
        (y,) = OPS["conv2d"].infer([Spec(x), Spec(w)], attrs)
        flops = 2.0 * y.size * w[1] * kernel * kernel
        what = f"{c:4d} -> {oc:4d}  {side:3d}x{side:<3d} {kernel}x{kernel} stride {stride} groups {groups}"
        yield what, Problem("conv2d", (x, w, None), (y.shape,), attrs), flops
        yield what, Problem("conv2d_input_grad", (y.shape, w), (x,), {**attrs, "input_size": x[2:]}), flops
        yield what, Problem("conv2d_weight_grad", (y.shape, x), (w,), {**attrs, "kernel_size": w[2:]}), flops
    for m, n, k in PRODUCTS:
        yield f"{m} x {n} x {k}", Problem("linear", ((m, k), (n, k), None), ((m, n),), {}), 2.0 * m * n * k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--isa", choices=BUILT, default=BUILT[-1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=0.2, help="time for each problem")
    parser.add_argument("--only", default="", help="operators whose name starts like this")
    options = parser.parse_args()
    peak = fma_peak(options.isa, options.threads)
    print(f"{options.isa}, threads {options.threads}, batch {options.batch}: peak {peak:.1f} GFLOP/s")
    for what, problem, flops in problems(options.batch):
        if problem.op.startswith(options.only):
            kernel = REGISTRY.choose(problem, [options.isa])
            run = Run(kernel, problem, kernel.launch(problem), options.threads)
            rate = flops / best(run, options.seconds) / 1e9
            print(f"{kernel.name:36s} {what:44s} {rate:7.1f} GFLOP/s {100 * rate / peak:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
