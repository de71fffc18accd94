"""Direct convolution over blocks of channels against the float64 reference, in both directions, over all parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from guarded import Fenced, problem_of, run_kernel, scattered

from normengine.kernels import REGISTRY, Kernel
from normengine.kernels.compiled import BUILT
from normengine.kernels.compiled.conv_direct import Direct
from normengine.ops import OPS, OperatorError

OPERATORS = ("conv2d", "conv2d_input_grad")
Shape = tuple[int, ...]


@pytest.fixture(params=[(isa, op) for isa in BUILT for op in OPERATORS], ids="-".join)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    isa, op = request.param
    return next(k for k in REGISTRY.kernels[op] if k.name == f"{op}_direct_f32_{isa}")


@dataclass(frozen=True)
class Layer:
    """A convolution of ``x`` with ``outputs`` channels, and what it may end with."""

    x: Shape
    outputs: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False
    fused: dict[str, Any] = field(default_factory=dict)

    @property
    def weight(self) -> Shape:
        return self.outputs, self.x[1] // self.groups, *self.kernel

    @property
    def window(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    def arrays(self, op: str) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Inputs and attributes of the operator, values of a network's size."""
        rng = np.random.default_rng(len(str(self)))
        x, weight = rng.standard_normal(self.x, np.float32), rng.standard_normal(self.weight, np.float32)
        weight /= np.float32(math.sqrt(weight[0].size))
        (made,) = problem_of("conv2d", [x, weight], self.window).outputs
        y = rng.standard_normal(made, np.float32)
        if op == "conv2d_input_grad":
            return [y, weight], {**self.window, "input_size": self.x[2:]}
        bias = [rng.standard_normal(self.outputs, np.float32)] * self.bias
        return [x, weight, *bias, *[y] * self.fused.get("residual", False)], {**self.window, **self.fused}

    def depth(self, op: str) -> int:
        """Terms of a sum."""
        channels = self.weight[1] if op == "conv2d" else self.outputs // self.groups
        return channels * math.prod(self.kernel)


def check(kernel: Kernel, layer: Layer) -> None:
    arrays, attrs = layer.arrays(kernel.op)
    (got,) = run_kernel(kernel, arrays, attrs)
    (again,) = run_kernel(kernel, arrays, attrs, scattered, pack_alone=True)
    assert got.tobytes() == again.tobytes(), f"{kernel.name} of {layer}: the order of the tasks changes the result"
    (want,) = OPS[kernel.op].reference(arrays, attrs)
    norm = float(np.linalg.norm(want))
    error = float(np.linalg.norm(got - want)) / (norm or 1.0)
    bound = 1e-6 * math.sqrt(max(1.0, layer.depth(kernel.op) / 16))
    assert error <= bound, f"{kernel.name} of {layer}: error {error:.3g}, {bound:.3g} is allowed"


def random_layers(count: int, seed: int) -> Iterator[Layer]:
    rng = np.random.default_rng(seed)

    def pair(*values: int) -> tuple[int, int]:
        first, second = (int(v) for v in rng.choice(values, 2))
        return first, second

    while count:
        groups = int(rng.choice([1, 1, 1, 2, 3, 5]))
        channels, outputs = (groups * int(rng.integers(1, 45 // groups)) for _ in range(2))
        top, left, bottom, right = (int(v) for v in rng.choice([0, 0, 1, 1, 2, 3, 6], 4))
        fused = {"residual": bool(rng.random() < 0.5), "clamp": (-0.5, math.inf)} if rng.random() < 0.5 else {}
        layer = Layer(
            (int(rng.integers(1, 6)), channels, *pair(1, 2, 4, 5, 7, 8, 11, 16, 19)),
            outputs,
            pair(1, 1, 2, 3, 3, 4, 5, 7),
            pair(1, 1, 1, 2, 3),
            (top, left, bottom, right),
            pair(1, 1, 1, 2, 3),
            groups,
            bool(rng.random() < 0.5),
            fused,
        )
        try:
            layer.arrays("conv2d")
        except OperatorError:  # a window larger than the image
            continue
        yield layer
        count -= 1


def test_random_layers(kernel: Kernel) -> None:
    for layer in random_layers(60, seed=7):
        check(kernel, layer)


LAYERS = {
    "channels in several chunks": Layer((1, 203, 6, 7), 20),
    "panels of three vectors": Layer((2, 24, 9, 9), 24),
    "outputs shared out among tasks": Layer((1, 256, 4, 4), 130),
    "images that share a task": Layer((23, 20, 2, 3), 40),
    "rows in bands": Layer((1, 9, 150, 33), 9, (7, 5), padding=(3, 2, 3, 2)),
    "pointwise": Layer((3, 70, 13, 11), 35, (1, 1), padding=(0, 0, 0, 0)),
    "pointwise of one pixel": Layer((70, 33, 1, 1), 50, (1, 1), padding=(0, 0, 0, 0)),
    "pointwise with a stride": Layer((2, 40, 15, 12), 24, (1, 1), (2, 2), (0, 0, 0, 0)),
    "pointwise with padding": Layer((2, 12, 5, 4), 10, (1, 1), padding=(0, 2, 1, 0)),
    "one pixel reached by one tap of many": Layer((5, 3, 1, 1), 3, (2, 3), (3, 2), (2, 1, 1, 2), (2, 1)),
    "one row, with a stride": Layer((4, 9, 1, 3), 9, (1, 1), (2, 1), (0, 0, 0, 0), groups=3),
    "a stride beyond the kernel": Layer((2, 10, 17, 20), 12, (2, 3), (5, 4), (0, 1, 2, 0)),
    "padding beyond the kernel": Layer((1, 2, 3, 3), 5, padding=(5, 4, 6, 7)),
    "dilation beyond the image": Layer((1, 4, 6, 5), 6, padding=(9, 9, 9, 9), dilation=(8, 9)),
    "groups of whole blocks": Layer((2, 64, 8, 8), 96, groups=2),
    "groups within blocks": Layer((2, 30, 6, 6), 20, groups=10),
    "one channel a group": Layer((2, 21, 6, 6), 42, groups=21),
    "few channels with a stride": Layer((2, 3, 25, 19), 20, (7, 7), (2, 2), (3, 3, 3, 3)),
    "few channels with a large stride": Layer((1, 2, 9, 14), 10, (11, 9), (4, 3), (5, 2, 6, 4)),
    "few channels of images that share a task": Layer((9, 2, 6, 5), 18, (6, 6), (3, 2), (2, 1, 2, 3)),
    "few channels of an image narrower than the stride": Layer((1, 4, 14, 1), 31, (7, 1), (1, 4), (3, 3, 4, 3)),
    "several tiles in a row": Layer((1, 17, 3, 49), 35),
    "long rows, a stride": Layer((1, 5, 4, 70), 7, (3, 4), (1, 2), (1, 3, 1, 5)),
    "wide kernels": Layer((2, 18, 5, 33), 9, (2, 11), padding=(0, 5, 1, 5)),
    "a row of eight taps": Layer((1, 33, 2, 24), 50, (1, 8), (1, 2), (0, 9, 0, 8)),
    "a stride as large as the dilation": Layer((2, 16, 11, 12), 20, (3, 3), (2, 2), (2, 2, 2, 2), (2, 2)),
    "borders of images that share a task": Layer((11, 17, 4, 4), 33),
    "borders of narrow images that share a task": Layer((29, 16, 5, 2), 48, (5, 3), padding=(2, 1, 2, 1)),
    "rows of which all taps lie outside": Layer((2, 16, 3, 20), 16, padding=(5, 1, 6, 1)),
    "borders of a dilated kernel": Layer((3, 5, 9, 24), 40, padding=(3, 2, 3, 2), dilation=(3, 2)),
    "everything at the end": Layer((2, 20, 7, 7), 43, bias=True, fused={"residual": True, "clamp": (0.25, 0.75)}),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_edges(kernel: Kernel, layer: Layer) -> None:
    check(kernel, layer)


@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 5, 8, 9, 17, 20, 24])
@pytest.mark.parametrize(
    "layer",
    [
        Layer((2, 37, 6, 31), 0),
        Layer((3, 16, 5, 3), 0, bias=True, fused={"residual": True, "clamp": (-0.5, 0.75)}),
        Layer((1, 200, 4, 18), 0, bias=True),
        Layer((2, 9, 7, 9), 0, (1, 1), padding=(0, 0, 0, 0)),
        Layer((2, 18, 9, 8), 0, (3, 5), (2, 2), (2, 3, 0, 4), bias=True),
    ],
    ids=lambda layer: str(layer.x),
)
def test_few_outputs(kernel: Kernel, layer: Layer, outputs: int) -> None:
    """In both directions: the input gradient has as few channels as the convolution has outputs."""
    if kernel.op == "conv2d":
        check(kernel, replace(layer, outputs=outputs))
    else:
        n, c, h, w = layer.x
        check(kernel, replace(layer, x=(n, outputs, h, w), outputs=c))


@pytest.mark.parametrize(
    ("isa", "channels", "outputs", "spans"),
    [
        ("avx512", 16, 32, [(1, 2)]),
        ("avx512", 16, 24, [(1, 1), (2, 1)]),
        ("avx512", 16, 25, [(1, 2)]),
        ("avx512", 16, 20, [(1, 1), (16, 4)]),
        ("avx512", 6, 20, [(1, 1), (2, 1)]),
        ("avx512", 3, 20, [(1, 2)]),
        ("avx512", 64, 3, [(16, 3)]),
        ("avx512", 64, 5, [(2, 1)]),
        ("avx2", 64, 3, [(8, 3)]),
        ("avx2", 64, 12, [(1, 1), (2, 1)]),
        ("avx2", 64, 13, [(1, 2)]),
    ],
)
def test_which_channels_vectors_span(isa: str, channels: int, outputs: int, spans: list[tuple[int, int]]) -> None:
    if isa not in BUILT:
        pytest.skip(f"{isa} kernels were not built")
    layer = Layer((2, channels, 12, 12), outputs)
    assert [(panel.span, panel.vectors) for panel in launched(layer, "conv2d", isa).panels] == spans


def test_groups_have_lanes_of_their_own() -> None:
    panels = launched(Layer((2, 32, 12, 12), 4, groups=2), "conv2d", BUILT[0]).panels
    assert {panel.span for panel in panels} == {1}


@pytest.mark.parametrize(
    ("layer", "kernel", "across"),
    [
        (Layer((1, 16, 12, 12), 16), "conv2d", [3]),
        (Layer((1, 16, 12, 12), 16, stride=(2, 2)), "conv2d", [3]),
        (Layer((1, 16, 12, 12), 16, stride=(3, 3)), "conv2d", [0]),
        (Layer((1, 16, 12, 12), 16, dilation=(1, 2)), "conv2d", [0]),
        (Layer((1, 16, 12, 12), 16, dilation=(2, 1)), "conv2d", [3]),
        (Layer((1, 16, 12, 12), 16, (1, 1), padding=(0, 0, 0, 0)), "conv2d", [0]),
        (Layer((1, 16, 12, 12), 16, stride=(2, 2)), "conv2d_input_grad", [0, 2, 0, 2]),
        (Layer((1, 2, 12, 12), 16, stride=(2, 2)), "conv2d_input_grad", [0, 2, 0, 2]),
    ],
)
@pytest.mark.parametrize("isa", BUILT)
def test_which_taps_share_inputs(layer: Layer, kernel: str, across: list[int], isa: str) -> None:
    """The taps of a row of each phase."""
    assert [grid.across for grid in launched(layer, kernel, isa).grids] == across


@pytest.mark.parametrize(
    ("layer", "kernel", "apart"),
    [
        (Layer((1, 16, 12, 12), 16), "conv2d", [1]),
        (Layer((5, 32, 4, 4), 32), "conv2d", [1]),
        (Layer((1, 16, 12, 12), 16, stride=(2, 2)), "conv2d", [1]),
        (Layer((3, 16, 1, 9), 16), "conv2d", [1]),
        (Layer((1, 16, 12, 12), 16, padding=(0, 1, 0, 1)), "conv2d", [0]),
        (Layer((1, 16, 12, 12), 16, (1, 1), padding=(0, 0, 0, 0)), "conv2d", [0]),
        (Layer((1, 16, 12, 12), 16, stride=(2, 2)), "conv2d_input_grad", [0, 0, 1, 1]),
    ],
)
def test_which_rows_are_made_without_the_taps_on_the_padding(layer: Layer, kernel: str, apart: list[int]) -> None:
    isa = "avx2" if "avx2" in BUILT else BUILT[0]
    assert [grid.apart for grid in launched(layer, kernel, isa).grids] == apart


def launched(layer: Layer, kernel: str, isa: str) -> Direct:
    row = next(k for k in REGISTRY.kernels[kernel] if k.name == f"{kernel}_direct_f32_{isa}")
    extra = row.launch(problem_of(kernel, *layer.arrays(kernel))).extra
    assert isinstance(extra, Direct)
    return extra


def test_nothing_is_read_beyond_the_arrays(kernel: Kernel) -> None:
    for layer in (*random_layers(20, seed=11), *LAYERS.values()):
        run_kernel(kernel, *layer.arrays(kernel.op), memory=Fenced)


@pytest.mark.parametrize("kernel", [pytest.param((isa, "conv2d"), id=isa) for isa in BUILT], indirect=True)
def test_what_is_not_finite_stays_in_its_channels(kernel: Kernel) -> None:
    """A NaN passes the clamp; no lane behind the channels is touched by it (run_kernel looks)."""
    layer = Layer((1, 10, 5, 6), 11, fused={"clamp": (0.0, 6.0)})
    (x, weight), attrs = layer.arrays("conv2d")
    x[0, 3, 1, 1], x[0, 9, 4, 5] = np.nan, np.inf
    (got,) = run_kernel(kernel, [x, weight], attrs)
    with np.errstate(invalid="ignore"):
        (want,) = OPS["conv2d"].reference([x, weight], attrs)
    assert np.isnan(got[0, :, 0:3, 0:3]).all()
    np.testing.assert_allclose(got, want, atol=1e-5)
