"""Convolutions of any parameters, drawn and, where one fails, made smaller by Hypothesis, on every kernel that takes
them: within the errors that direct sums and Winograd may have, the same bits in any order of the tasks, and nothing
read or written outside the arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from guarded import problem_of, run_kernel, scattered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normengine.kernels import REGISTRY
from normengine.kernels.compiled import BUILT
from normengine.ops import OPS, OperatorError

pytestmark = pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")
FEW = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

extents = st.integers(1, 20)
small = st.integers(1, 5)


@dataclass(frozen=True)
class Layer:
    """A convolution of ``x`` with ``weight``; ``ends`` says what follows: nothing, a bias, or all there is."""

    x: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    window: dict[str, Any]
    ends: int
    seed: int

    def arrays(self, op: str) -> tuple[list[np.ndarray], dict[str, Any]]:
        rng = np.random.default_rng(self.seed)
        x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in (self.x, self.weight))
        (shape,) = problem_of("conv2d", [x, weight], self.window).outputs
        y = rng.standard_normal(shape).astype(np.float32)
        if op == "conv2d_input_grad":
            return [y, weight], {**self.window, "input_size": self.x[2:]}
        if op == "conv2d_weight_grad":
            return [y, x], {**self.window, "kernel_size": self.weight[2:]}
        more = [rng.standard_normal(self.weight[0]).astype(np.float32), y][: self.ends]
        fused = {"residual": True, "clamp": (-1.0, 2.0)} if self.ends == 2 else {}
        return [x, weight, *more], {**self.window, **fused}


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Layers of every kind: half of them as networks have them, half with anything that the operator allows."""
    usual = draw(st.booleans())
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    channels, outputs = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    if draw(st.integers(0, 4)) == 0:
        groups, channels, outputs = draw(st.integers(1, 20)), 1, 1
    side = draw(st.sampled_from([1, 3, 3, 5]))
    kernel = (side, side) if usual else (draw(small), draw(small))
    pad = st.just(side // 2) if usual else st.integers(0, 4)
    window = {
        "stride": (draw(st.integers(1, 2)),) * 2 if usual else (draw(small), draw(small)),
        "padding": (draw(pad),) * 4 if usual else tuple(draw(st.tuples(pad, pad, pad, pad))),
        "dilation": (1, 1) if usual else (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "groups": groups,
    }
    x = draw(st.integers(1, 4)), groups * channels, draw(extents), draw(extents)
    weight = groups * outputs, channels, *kernel
    return Layer(x, weight, window, draw(st.integers(0, 2)), draw(st.integers(0, 9)))


def allowed(algorithm: str, op: str, layer: Layer, results: int) -> float:
    """The relative norm of the error that a kernel may have: it grows with the sums, Winograd's with its tiles."""
    terms = {
        "conv2d": np.prod(layer.weight[1:]),
        "conv2d_input_grad": np.prod(layer.weight) / layer.weight[1] / layer.window["groups"],
        "conv2d_weight_grad": results,
    }[op]
    if "winograd" not in algorithm:
        return float(1e-6 * np.sqrt(max(16.0, terms) / 16))
    tiles = max(1.0, results / 16)
    return 2e-5 * (max(1.0, (tiles / 64) ** 0.4) if op == "conv2d_weight_grad" else 1.0)


@pytest.mark.parametrize("op", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"])
@given(layer=layers())
@FEW
def test_every_kernel_on_any_layer(op: str, layer: Layer) -> None:
    try:
        arrays, attrs = layer.arrays(op)
    except OperatorError:
        return  # the kernel is larger than the image
    whole = {name: value for name, value in attrs.items() if name != "clamp"}
    (want,), (unclamped,) = OPS[op].reference(arrays, attrs), OPS[op].reference(arrays, whole)
    problem = problem_of(op, arrays, attrs)
    for kernel in REGISTRY.kernels[op]:
        if kernel.isa not in BUILT or not kernel.supports(problem):
            continue
        (got,) = run_kernel(kernel, arrays, attrs)
        (again,) = run_kernel(kernel, arrays, attrs, scattered)
        assert got.tobytes() == again.tobytes(), kernel.name
        bound = allowed(kernel.algorithm, op, layer, arrays[0].size // arrays[0].shape[1])
        scale = max(float(np.linalg.norm(unclamped)), 1e-6)
        assert float(np.linalg.norm(got - want)) / scale <= bound, kernel.name
