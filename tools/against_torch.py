"""PyTorch on the problems of the benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib import import_module
from statistics import median
from typing import Any

from measure import LEAST_SAMPLES

from normengine.kernels import Problem

QUIET = 0.05
"""Seconds in which PyTorch's threads stop to wait for more work on CPUs that others need."""


class Torch:
    """Raises ``ImportError`` where PyTorch is not installed."""

    def __init__(self) -> None:
        self._torch: Any = import_module("torch")

    @property
    def version(self) -> str:
        return str(self._torch.__version__)

    def ready(self, problem: Problem, threads: int) -> Callable[[float], float]:
        """Measures ``problem`` for so many seconds each time it is called: the median time of the faster of the two
        memory formats, contiguous and channels_last."""
        calls = list(self._calls(problem))

        def measure(seconds: float) -> float:
            self._torch.set_num_threads(threads)
            with self._torch.no_grad():
                fastest = min(_median(call, seconds / len(calls)) for call in calls)
            time.sleep(QUIET)
            return fastest

        return measure

    def _calls(self, problem: Problem) -> Iterator[Callable[[], object]]:
        torch = self._torch
        arrays = [torch.randn(shape) for shape in problem.inputs if shape is not None]
        if not problem.op.startswith("conv2d"):
            yield self._product(problem, *arrays)
            return
        for layout in (torch.contiguous_format, torch.channels_last):
            yield self._convolution(problem, layout, *(a.contiguous(memory_format=layout) for a in arrays))

    def _product(self, problem: Problem, a: Any, b: Any) -> Callable[[], object]:
        torch, attrs = self._torch, problem.attrs
        if problem.op == "linear":
            return lambda: torch.nn.functional.linear(a, b)
        left = a.t() if attrs["transpose_a"] else a
        right = b.t() if attrs["transpose_b"] else b
        return lambda: left @ right

    def _convolution(self, problem: Problem, layout: Any, a: Any, b: Any) -> Callable[[], object]:
        torch, attrs = self._torch, problem.attrs
        window = attrs["stride"], attrs["padding"][:2], attrs["dilation"]
        if problem.op == "conv2d":
            return lambda: torch.nn.functional.conv2d(a, b, None, *window, attrs["groups"])
        made = torch.empty(problem.outputs[0]).contiguous(memory_format=layout)
        input_grad = problem.op == "conv2d_input_grad"
        x, w = (made, b) if input_grad else (b, made)
        mask = [input_grad, not input_grad, False]
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(a, x, w, None, *window, False, (0, 0), attrs["groups"], mask)


def _median(call: Callable[[], object], seconds: float) -> float:
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_SAMPLES or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)
