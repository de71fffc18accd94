"""Elementwise operators of a file at infinities, NaN, zeros of both signs and large numbers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import normengine as ne

X = np.array(
    [-np.inf, -3e38, -1e4, -88, -3, -1, -1e-6, -0.0, 0, 1e-6, 1, 3, 6, 88, 1e4, 3e38, np.inf, np.nan], np.float32
)
node = helper.make_node


def one(op_type, second=None, **attributes):
    names = ["x"] if second is None else ["x", "c"]
    return [node(op_type, names, ["y"], **attributes)], {} if second is None else {"c": np.float32(second)}


ROWS = {
    **{
        name: one(name)
        for name in (
            "Relu",
            "Sigmoid",
            "Tanh",
            "Exp",
            "Erf",
            "Abs",
            "Softplus",
            "Mish",
            "Elu",
            "Selu",
            "Celu",
            "HardSigmoid",
        )
    },
    "HardSwish of finite numbers": (
        [node("Clip", ["x", "low"], ["f"]), node("HardSwish", ["f"], ["y"])],
        {"low": np.float32(-3e38)},
    ),
    **{f"PRelu {slope}": one("PRelu", slope) for slope in (0.5, -1, 0)},
    "Clip": ([node("Clip", ["x", "low", "high"], ["y"])], {"low": np.float32(-1), "high": np.float32(2)}),
    "Clip to 6": ([node("Clip", ["x", "low", "high"], ["y"])], {"low": np.float32(0), "high": np.float32(6)}),
    **{f"Pow {power}": one("Pow", power) for power in (2, 3, -1, -2)},
    **{f"{op} {c}": one(op, c) for op in ("Max", "Min") for c in (0, np.inf, np.nan)},
    "Max of both": ([node("Neg", ["x"], ["n"]), node("Max", ["x", "n"], ["y"])], {}),
}


@pytest.mark.parametrize("name", ROWS)
def test_extremes(name, model, reference):
    nodes, weights = ROWS[name]
    content = model(nodes, {"x": ("N",)}, ["y"], weights, 18)
    (want,) = reference(content, {"x": X})
    got = ne.InferenceSession(content)(X)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_roots_as_powers(model):
    """The powers of -0 are those of 0, as IEEE 754 has them."""
    for power, want in ((0.5, [0, 0, 2, np.inf]), (-0.5, [np.inf, np.inf, 0.5, 0])):
        session = ne.InferenceSession(
            model([node("Pow", ["x", "p"], ["y"])], {"x": ("N",)}, ["y"], {"p": np.float32(power)})
        )
        assert session(np.array([-0.0, 0, 4, np.inf], np.float32)).tolist() == want
