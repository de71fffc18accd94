"""Which kernel a call has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.kernels import REGISTRY, Kernel, Problem
from normengine.kernels.compiled import BUILT
from normengine.ops import Builder
from normengine.passes import decompose
from normengine.plan import make_plan

X, WEIGHT = (1, 64, 8, 8), (64, 64, 3, 3)
WINDOW: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}


def kernels_of_a_plan(constant: bool) -> list[str]:
    b = Builder()
    array = np.zeros(WEIGHT, np.float32)
    weight = b.constant(array) if constant else b.input("weight", Spec(WEIGHT))
    y = b.add("conv2d", b.input("x", Spec(X)), weight, **WINDOW)
    return [call.kernel for call in make_plan(b.graph([y])).calls if call.op == "conv2d"]


@pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")
def test_packing_that_is_done_once_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem("conv2d", (X, WEIGHT, None, None), (X,), WINDOW)
    kernels = [k for k in REGISTRY.kernels["conv2d"] if k.isa == BUILT[-1] and k.supports(problem)]
    assert {"direct", "winograd4", "winograd2"} <= {k.algorithm for k in kernels}
    for kernel in kernels:
        assert 0 < kernel.packing_cost(problem) < kernel.cost(problem), kernel.name

    def work(kernel: Kernel) -> float:
        return kernel.cost(problem) - kernel.packing_cost(problem)

    monkeypatch.setenv("NORMENGINE_ISA", BUILT[-1])
    often, once = kernels_of_a_plan(constant=False), kernels_of_a_plan(constant=True)
    assert often == [min(kernels, key=lambda k: k.cost(problem)).name]
    assert once == [min(kernels, key=work).name] != often


@pytest.mark.skipif(not BUILT, reason="no extension with kernels was built")
def test_constant_weights_of_another_shape_are_packed_once() -> None:
    """Signals are images of height 1, to which the weights are fitted by a view."""
    b = Builder()
    weight = b.constant(np.zeros((64, 64, 3), np.float32))
    window = {"stride": (1,), "padding": (1, 1), "dilation": (1,), "groups": 1}
    plan = make_plan(decompose(b.graph([b.add("conv1d", b.input("x", Spec((1, 64, 16))), weight, **window)])))
    assert [call.op for call in plan.setup] == ["conv2d"]
