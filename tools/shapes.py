"""Layers of small convolutional networks, and the three problems that each of them is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from normengine.graph import Spec
from normengine.kernels import Problem
from normengine.ops import OPS

FLOAT = 4
Pair = tuple[int, int]


@dataclass(frozen=True)
class Task:
    """A problem of one layer in one direction: its operator on arrays of the given shapes."""

    shape: str
    direction: str
    problem: Problem
    products: int

    @cached_property
    def flops(self) -> float:
        """Floating-point operations of the sums as they are defined, taps on the padding counted."""
        return 2.0 * self.products

    @cached_property
    def nbytes(self) -> int:
        """Bytes of reading each input and writing each output once."""
        shapes = [s for s in (*self.problem.inputs, *self.problem.outputs) if s is not None]
        return FLOAT * sum(math.prod(shape) for shape in shapes)


@dataclass(frozen=True)
class Convolution:
    """A layer with padding of half the kernel on every side."""

    c: int
    oc: int
    size: Pair
    kernel: int
    stride: int = 1
    groups: int = 1

    @property
    def name(self) -> str:
        height, width = self.size
        size = f"{height}" if height == width else f"{height}x{width}"
        channels = f"{self.c}" if self.groups == self.c == self.oc else f"{self.c}->{self.oc}"
        stride = f" s{self.stride}" if self.stride > 1 else ""
        groups = " depthwise" if self.groups == self.c > 1 else f" g{self.groups}" if self.groups > 1 else ""
        return f"{channels}@{size} {self.kernel}x{self.kernel}{stride}{groups}"

    def tasks(self, batch: int) -> Iterator[Task]:
        x, w = (batch, self.c, *self.size), (self.oc, self.c // self.groups, self.kernel, self.kernel)
        window = {
            "stride": (self.stride, self.stride),
            "padding": (self.kernel // 2,) * 4,
            "dilation": (1, 1),
            "groups": self.groups,
        }
        (made,) = OPS["conv2d"].infer([Spec(x), Spec(w)], window)
        y = made.shape
        products = math.prod(y) * math.prod(w[1:])
        forward = Problem("conv2d", (x, w, None, None), (y,), window)
        input_grad = Problem("conv2d_input_grad", (y, w), (x,), {**window, "input_size": self.size})
        weight_grad = Problem("conv2d_weight_grad", (y, x), (w,), {**window, "kernel_size": w[2:]})
        yield Task(self.name, "forward", forward, products)
        yield Task(self.name, "input_grad", input_grad, products)
        yield Task(self.name, "weight_grad", weight_grad, products)


@dataclass(frozen=True)
class Linear:
    features: int
    outputs: int

    @property
    def name(self) -> str:
        return f"linear {self.features}->{self.outputs}"

    def tasks(self, batch: int) -> Iterator[Task]:
        x, w, y = (batch, self.features), (self.outputs, self.features), (batch, self.outputs)
        products = batch * self.features * self.outputs
        plain = {"transpose_a": False, "transpose_b": False}
        yield Task(self.name, "forward", Problem("linear", (x, w, None), (y,), {}), products)
        yield Task(self.name, "input_grad", Problem("matmul", (y, w), (x,), plain), products)
        yield Task(self.name, "weight_grad", Problem("matmul", (y, x), (w,), {**plain, "transpose_a": True}), products)


Layer = Convolution | Linear


def _square(c: int, oc: int, side: int, kernel: int, stride: int = 1) -> Convolution:
    return Convolution(c, oc, (side, side), kernel, stride)


def _depthwise(c: int, side: int, stride: int = 1) -> Convolution:
    return Convolution(c, c, (side, side), 3, stride, groups=c)


LAYERS: tuple[Layer, ...] = (
    _square(16, 16, 32, 3),
    _square(32, 32, 28, 3),
    _square(64, 64, 32, 3),
    _square(64, 64, 16, 3),
    _square(128, 128, 16, 3),
    _square(256, 256, 8, 3),
    _square(64, 128, 16, 3),
    _square(16, 32, 32, 3, stride=2),
    _square(32, 64, 16, 3, stride=2),
    _square(64, 128, 16, 3, stride=2),
    _square(6, 20, 14, 5),
    Convolution(3, 20, (75, 61), 7, stride=2),
    _square(16, 96, 32, 1),
    _square(96, 24, 16, 1),
    _square(144, 24, 16, 1),
    _square(192, 32, 8, 1),
    _square(256, 64, 16, 1),
    _square(64, 128, 32, 1, stride=2),
    _depthwise(96, 32),
    _depthwise(144, 16),
    _depthwise(192, 8),
    _depthwise(96, 32, stride=2),
    _square(1, 32, 28, 3),
    _square(3, 16, 32, 3),
    _square(3, 64, 32, 3),
    Linear(3136, 256),
    Linear(256, 10),
    Linear(512, 512),
)
