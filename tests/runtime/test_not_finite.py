"""What is not finite stays where the operators put it, through layers whose channels fill no whole blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normengine.graph import Graph, Spec, Value
from normengine.ops import Builder, evaluate
from normengine.runtime import compile_graph

CHANNELS = 7
POOL = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1,) * 4, "ceil_mode": False, "count_include_pad": True}


def window(side: int, stride: int = 1, groups: int = 1) -> dict[str, Any]:
    return {"stride": (stride,) * 2, "padding": (side // 2,) * 4, "dilation": (1, 1), "groups": groups}


def network() -> Graph:
    """Zero has no finite logarithm and reciprocal: lanes that are no channels must not hold them."""
    rng, builder = np.random.default_rng(0), Builder()

    def conv(x: Value, outputs: int, side: int, **more: int) -> Value:
        shape = outputs, x.shape[1] // more.get("groups", 1), side, side
        weight = builder.constant(rng.uniform(0.1, 1.0, shape).astype(np.float32))
        return builder.add("conv2d", x, weight, **window(side, **more))

    x = builder.input("x", Spec((3, 3, 12, 12)))
    x = builder.add("log", conv(x, CHANNELS, 5, stride=2))
    x = builder.add("div", builder.constant(np.float32(1)), conv(x, CHANNELS, 3, groups=CHANNELS, stride=2))
    x = builder.add("log", conv(x, 3 * CHANNELS, 1, groups=CHANNELS))
    x = builder.add("exp", builder.add("avg_pool2d", x, **POOL))
    return builder.graph([conv(x, 5, 1)])


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_lanes_that_hold_no_channel_spoil_nothing(value: float) -> None:
    graph = network()
    feed = np.random.default_rng(1).uniform(1.0, 2.0, (3, 3, 12, 12)).astype(np.float32)
    feed[1, 2, 11, 11] = value
    (got,) = compile_graph(graph).run({"x": feed})
    want = evaluate(graph, {graph.inputs[0]: feed})[graph.outputs[0]]
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    assert np.isfinite(got[[0, 2]]).all()
    np.testing.assert_allclose(got[[0, 2]], want[[0, 2]], rtol=1e-3)
