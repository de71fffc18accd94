"""Tries the kernels of every instruction set on random problems: odd extents, extents of 1, strides larger than the
kernel, dilation larger than the image, groups of any size, images with a pixel that is NaN or infinite, windows up to
the limits of the operators' rules and beyond.

    python tools/fuzz_kernels.py [--seconds 60] [--seed 0] [--problems N] [--only conv2d] [--isa avx2] [--verbose]

Every result is held to the operator's NumPy reference, to its own bits when the tasks are done in another order, and
to the memory that the kernel was given: beside it lie guard zones and, where the system can protect memory, pages that
end the process when they are read. The same seed gives the same problems; ``--verbose`` names each before it is
tried, which tells the one at which a process ended.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from guarded import Fenced, Guarded, Heap, error_bounds, problem_of, run_kernel, scattered

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS, OperatorError
from normengine.ops.window import MAX_WINDOW

MOST_PRODUCTS = 4_000_000
"""Multiplications of the largest problem, for the references are slow."""

NOT_FINITE = np.array([np.nan, np.inf, -np.inf], np.float32)
Attrs = dict[str, Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Trial:
    """One operator on given arrays; ``what`` is for people."""

    op: str
    arrays: list[np.ndarray]
    attrs: Attrs

    @property
    def what(self) -> str:
        return f"{self.op} {', '.join(str(a.shape) for a in self.arrays)} {self.attrs}"


def extent(rng: Rng, most: int) -> int:
    """1 often, else anything up to ``most``, small numbers more often than large ones."""
    return 1 if rng.random() < 0.15 else int(most ** rng.random()) + int(rng.integers(0, 3))


def far(rng: Rng, near: int) -> int:
    """``near``, or one time out of two any number up to twice what a window may be."""
    return near if rng.random() < 0.5 else int((2 * MAX_WINDOW) ** rng.random())


def far_window(rng: Rng, kernel: tuple[int, int], window: Attrs) -> Attrs:
    """``window`` with stride and dilation of any size, and padding for none, half or all of what the kernel covers."""
    window = {**window, "stride": tuple(far(rng, s) for s in window["stride"])}
    if "dilation" in window:
        window["dilation"] = tuple(far(rng, d) for d in window["dilation"])
    dilation = window.get("dilation", (1, 1))
    shares = [(k - 1) * d * int(rng.integers(0, 3)) // 2 for k, d in zip(kernel, dilation, strict=True)]
    most = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    padding = (shares[i % 2] + int(rng.integers(-2, 3)) * (rng.random() < 0.5) for i in range(4))
    return {**window, "padding": tuple(min(max(0, p), most[i % 2]) for i, p in enumerate(padding))}


def is_beyond(kernel: tuple[int, int], window: Attrs) -> bool:
    """Whether one of a window's numbers is more than it may be."""
    dilation = window.get("dilation", (1, 1))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return max(*reach, *window["stride"], *dilation, *window["padding"]) > MAX_WINDOW


def normal(rng: Rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def pair(rng: Rng, most: int) -> tuple[int, int]:
    return extent(rng, most), extent(rng, most)


def convolution(rng: Rng) -> Iterator[Trial]:
    groups = int(rng.choice([1, 1, 2, 3, 5, 7]))
    depthwise = rng.random() < 0.3
    channels, outputs = (1, 1) if depthwise else (extent(rng, 40), extent(rng, 40))
    groups = extent(rng, 20) if depthwise else groups
    kernel, size = pair(rng, 6), pair(rng, 45)
    attrs = {
        "stride": pair(rng, 4),
        "padding": tuple(int(v) for v in rng.integers(0, 1 + max(kernel), 4) * (rng.random() < 0.7)),
        "dilation": pair(rng, 3) if rng.random() < 0.8 else (int(rng.integers(1, 60)), int(rng.integers(1, 60))),
        "groups": groups,
    }
    if rng.random() < 0.15:  # pointwise
        kernel, attrs = (1, 1), {**attrs, "stride": (1, 1), "padding": (0, 0, 0, 0)}
    elif rng.random() < 0.2:
        attrs = far_window(rng, kernel, attrs)
    x = normal(rng, extent(rng, 20), groups * channels, *size)
    weight = normal(rng, groups * outputs, channels, *kernel)
    bias = [normal(rng, groups * outputs)] if rng.random() < 0.5 else []
    (y,) = problem_of("conv2d", [x, weight], attrs).outputs
    assert not is_beyond(kernel, attrs), f"conv2d takes a window of {kernel} with {attrs}"
    if math.prod(y) * channels * math.prod(kernel) > MOST_PRODUCTS:
        return
    forward = Trial("conv2d", [x, weight, *bias], attrs)
    if rng.random() < 0.3:
        fused = {**attrs, "residual": True, "clamp": (-0.5, 1.0)}
        forward = Trial("conv2d", [x, weight, *bias, normal(rng, *y)], fused)
    dy = normal(rng, *y)
    if rng.random() < 0.2:
        for image in (x, dy):
            image.flat[rng.integers(image.size)] = rng.choice(NOT_FINITE)
    yield forward
    yield Trial("conv2d_input_grad", [dy, weight], {**attrs, "input_size": size})
    yield Trial("conv2d_weight_grad", [normal(rng, *y), x], {**attrs, "kernel_size": kernel})


def pooling(rng: Rng) -> Iterator[Trial]:
    distant = rng.random() < 0.3
    kernel, size = pair(rng, 6), pair(rng, 12 if distant else 50)
    x = normal(rng, extent(rng, 3), extent(rng, 4), *size)
    if rng.random() < 0.2:
        x[rng.random(x.shape) < 0.1] = rng.choice(np.array([0, np.inf, -np.inf], np.float32))
    dilation = pair(rng, 3)
    half = [k * d // 2 if rng.random() < 0.7 else 0 for k, d in zip(kernel, dilation, strict=True)]
    window = {
        "kernel_size": kernel,
        "stride": pair(rng, 7),
        "padding": tuple(int(rng.integers(0, half[i % 2] + 1)) for i in range(4)),
        "ceil_mode": bool(rng.random() < 0.5),
    }
    if distant:
        kernel = far(rng, kernel[0]), far(rng, kernel[1])
        window["kernel_size"] = kernel
    largest = {**window, "dilation": dilation}
    average = {**window, "count_include_pad": bool(rng.random() < 0.5)}
    finite = np.where(np.isfinite(x), x, np.float32(0))
    for op, arrays, attrs in (("max_pool2d", [x], largest), ("avg_pool2d", [finite], average)):
        attrs = far_window(rng, kernel, attrs) if distant else attrs
        try:
            (y,) = problem_of(op, arrays, attrs).outputs
        except OperatorError:
            continue
        assert not is_beyond(kernel, attrs), f"{op} takes a window with {attrs}"
        if math.prod(y) > MOST_PRODUCTS:
            continue
        yield Trial(op, arrays, attrs)
        if op == "max_pool2d":
            yield Trial("max_pool2d_grad", [normal(rng, *y), x], attrs)
        else:
            yield Trial("avg_pool2d_grad", [normal(rng, *y)], {**attrs, "input_size": size})
    output = pair(rng, 8)
    x = normal(rng, *x.shape)
    yield Trial("adaptive_avg_pool2d", [x], {"output_size": output})
    yield Trial(
        "adaptive_avg_pool2d_grad", [normal(rng, *x.shape[:2], *output)], {"input_size": size, "output_size": output}
    )


def product(rng: Rng) -> Iterator[Trial]:
    m, n, k = extent(rng, 150), extent(rng, 150), extent(rng, 700)
    bias = [normal(rng, n)] if rng.random() < 0.5 else []
    yield Trial("linear", [normal(rng, m, k), normal(rng, n, k), *bias], {})
    a, b = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    factors = [normal(rng, *((k, m) if a else (m, k))), normal(rng, *((n, k) if b else (k, n)))]
    yield Trial("matmul", factors, {"transpose_a": a, "transpose_b": b})


def statistics(rng: Rng) -> Iterator[Trial]:
    images, channels = extent(rng, 70), extent(rng, 40)
    shape = (images, channels) if rng.random() < 0.4 else (images, channels, *pair(rng, 45))
    x = normal(rng, *shape)
    dy, mean, var = normal(rng, *shape), normal(rng, channels), np.abs(normal(rng, channels)) + np.float32(0.1)
    yield Trial("batch_stats", [x], {})
    yield Trial("batch_norm_grad_sums", [dy, x, mean, var], {"eps": 1e-5})
    if len(shape) == 4:
        yield Trial("moments", [x], {})
        yield Trial("sum_images", [x], {})
        yield Trial("normalize_grad_sums", [dy, x, normal(rng, images, channels, 1, 1)], {})
    together, size = extent(rng, 6), extent(rng, 9)
    table = normal(rng, together * extent(rng, 5), size * extent(rng, 5), 1, 1)
    yield Trial("group_mean", [table], {"groups": table.shape[1] // size, "images": together})


def reduction(rng: Rng) -> Iterator[Trial]:
    shape = [extent(rng, 30) for _ in range(rng.integers(1, 5))]
    axes = tuple(axis for axis in range(len(shape)) if rng.random() < 0.5)
    yield Trial("reduce_sum", [normal(rng, *shape)], {"axes": axes or (0,), "keepdims": bool(rng.random() < 0.5)})


def classes(rng: Rng) -> Iterator[Trial]:
    shape = [extent(rng, 30) for _ in range(rng.integers(2, 5))]
    axis = int(rng.integers(0, len(shape)))
    x = normal(rng, *shape)
    yield Trial("softmax", [x], {"axis": axis})
    yield Trial("log_softmax", [x], {"axis": axis})
    (y,) = OPS["softmax"].reference([x], {"axis": axis})
    yield Trial("softmax_grad", [normal(rng, *shape), y.astype(np.float32)], {"axis": axis})
    yield Trial("log_softmax_grad", [normal(rng, *shape), np.log(y).astype(np.float32)], {"axis": axis})
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    reduction = str(rng.choice(["none", "mean", "sum"]))
    if target.size > 2:
        target.flat[0] = -100
    attrs = {"label_smoothing": float(rng.choice([0.0, 0.1])), "ignore_index": -100, "reduction": reduction}
    weight = [np.abs(normal(rng, shape[1])) + np.float32(0.1)] if rng.random() < 0.5 else []
    yield Trial("cross_entropy", [x, target, *weight], attrs)
    loss = target.shape if reduction == "none" else ()
    yield Trial("cross_entropy_grad", [normal(rng, *loss), x, target, *weight], attrs)
    if reduction != "none":
        yield Trial("cross_entropy_with_grad", [x, target, *weight], attrs)


FAMILIES: tuple[Callable[[Rng], Iterator[Trial]], ...] = (
    convolution,
    convolution,
    convolution,
    pooling,
    product,
    statistics,
    reduction,
    classes,
)


def trials(seed: int) -> Iterator[Trial]:
    """Problems without end; each family draws from a generator of its own number."""
    for number in itertools.count():
        rng = np.random.default_rng([seed, number])
        try:
            yield from FAMILIES[number % len(FAMILIES)](rng)
        except OperatorError:
            continue  # an image smaller than its window


def complaints(kernel: Kernel, trial: Trial, memory: type[Guarded]) -> Iterator[str]:
    """What is wrong with the kernel's answer to the problem, if anything."""
    op = OPS[kernel.op]
    try:
        got = run_kernel(kernel, trial.arrays, trial.attrs, memory=memory)
        again = run_kernel(kernel, trial.arrays, trial.attrs, scattered, memory=memory)
    except AssertionError as error:
        yield str(error)
        return
    with np.errstate(all="ignore"):
        wanted = op.reference(trial.arrays, trial.attrs)
    bounds = error_bounds(kernel, trial.arrays, trial.attrs)
    for a, b, want, bound in zip(got, again, wanted, bounds, strict=True):
        if a.tobytes() != b.tobytes():
            yield "the order of the tasks changes the result"
        finite = np.isfinite(want)
        off = float(np.abs(a[finite] - want[finite]).max(initial=0.0))
        if not off <= bound or not np.array_equal(a[~finite], want[~finite], equal_nan=True):
            yield f"off by {off:.3g}, {bound:.3g} is allowed"


def rows(trial: Trial, isas: Sequence[str]) -> list[Kernel]:
    """The kernels that take the problem; the plan makes two of a sum over axes that alternate too often. Of images that
    are not finite Winograd's kernels spoil more than the definition does."""
    problem = problem_of(trial.op, trial.arrays, trial.attrs)
    try:
        REGISTRY.signatures[trial.op].values(problem)
    except ValueError:
        return []
    found = [k for k in REGISTRY.kernels[trial.op] if k.isa in isas and k.supports(problem)]
    if trial.op.startswith("conv2d") and not all(np.isfinite(a).all() for a in trial.arrays):
        found = [k for k in found if "winograd" not in k.algorithm]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop after this time (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--problems", type=int, default=None, help="stop after so many problems, whatever the time")
    parser.add_argument("--only", default="", help="operators whose name starts like this")
    parser.add_argument("--isa", choices=("numba", *BUILT), action="append", help="repeat for more (default: all)")
    parser.add_argument("--heap", action="store_true", help="plain memory from malloc, for tools/sanitize.py to watch")
    parser.add_argument("--verbose", action="store_true", help="name each problem before it is tried")
    options = parser.parse_args()
    faulthandler.enable()
    memory = Heap if options.heap else Fenced if os.name == "posix" else Guarded
    isas = options.isa or ("numba", *BUILT)
    end = time.monotonic() + options.seconds
    tried = runs = wrong = 0
    for trial in trials(options.seed):
        if tried == options.problems or (options.problems is None and time.monotonic() > end):
            break
        if not trial.op.startswith(options.only):
            continue
        tried += 1
        Fenced.behind = tried % 3 != 0
        for kernel in rows(trial, isas):
            if options.verbose:
                print(f"{kernel.name}: {trial.what}", flush=True)
            runs += 1
            for complaint in complaints(kernel, trial, memory):
                wrong += 1
                print(f"{kernel.name}: {complaint}: {trial.what}", flush=True)
    print(f"{tried} problems, {runs} runs of {', '.join(isas)}: {wrong or 'nothing'} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
