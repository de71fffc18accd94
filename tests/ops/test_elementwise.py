"""Elementwise operators: values at kinks and extremes, the sum that undoes broadcasting, gradients that are free."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Builder, evaluate, sum_to


def test_relu_family_at_its_kinks() -> None:
    x = np.array([-3.0, 0.0, 3.0, 6.0])
    dy = np.ones(4)
    np.testing.assert_array_equal(OPS["relu_grad"].reference([dy, np.maximum(x, 0)], {})[0], [0, 0, 1, 1])
    np.testing.assert_array_equal(OPS["relu6_grad"].reference([dy, np.clip(x, 0, 6)], {})[0], [0, 0, 1, 0])
    slope = {"negative_slope": -0.5}
    np.testing.assert_array_equal(OPS["leaky_relu"].reference([x], slope)[0], [1.5, 0, 3, 6])
    np.testing.assert_array_equal(OPS["leaky_relu_grad"].reference([dy, x], slope)[0], [-0.5, -0.5, 1, 1])
    limits = {"min_val": 0.0, "max_val": 3.0}
    np.testing.assert_array_equal(OPS["hardtanh_grad"].reference([dy, np.clip(x, 0, 3)], limits)[0], [0, 0, 0, 0])
    shrunk = {"lambd": 3.0, "bias": 1.0}
    np.testing.assert_array_equal(OPS["shrink"].reference([x], shrunk)[0], [0, 0, 0, 5])
    np.testing.assert_array_equal(OPS["shrink_grad"].reference([dy, x], shrunk)[0], [0, 0, 0, 1])
    limit = {"threshold": 3.0, "value": 9.0}
    np.testing.assert_array_equal(OPS["threshold"].reference([x], limit)[0], [9, 9, 9, 6])
    np.testing.assert_array_equal(OPS["threshold_grad"].reference([dy, x], limit)[0], [0, 0, 0, 1])
    np.testing.assert_array_equal(OPS["hardswish"].reference([x], {})[0], [0, 0, 3, 6])
    np.testing.assert_array_equal(OPS["hardswish_grad"].reference([dy, x], {})[0], [0, 0.5, 1, 1])


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("sigmoid", 1.0, 0.7310585786300049),
        ("tanh", 0.5, 0.46211715726000973),
        ("silu", 1.0, 0.7310585786300049),
        ("gelu", 1.0, 0.8413447460685429),
        ("gelu_tanh", 1.0, 0.8411919906082768),
        ("sigmoid", -1000.0, 0.0),
        ("sigmoid", 1000.0, 1.0),
        ("silu", -1000.0, 0.0),
        ("gelu", -40.0, 0.0),
    ],
)
def test_published_values(name: str, x: float, expected: float) -> None:
    assert OPS[name].reference([np.array(x)], {})[0] == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    "name",
    [
        *("relu", "leaky_relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh", "hardswish", "mish"),
        *(
            "elu",
            "selu",
            "celu",
            "softsign",
            "hard_sigmoid",
            "hardtanh",
            "threshold",
            "shrink",
            "sign",
            "ceil",
            "round",
        ),
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "round"),
    ],
)
def test_nan_stays_nan(name: str) -> None:
    attrs = OPS[name].cases()[0].attrs
    assert np.isnan(OPS[name].reference([np.array(np.nan)], attrs)[0])


@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((2, 3, 4), (2, 3, 4)),
        ((2, 3, 4), ()),
        ((2, 3, 4), (3, 1)),
        ((2, 3, 4), (1, 3, 4)),
        ((2, 3, 4), (1, 1, 1)),
        ((1, 3), (1, 1, 3)[1:]),
        ((1, 1, 3), (3,)),
    ],
)
def test_sum_to_is_the_adjoint_of_broadcasting(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    builder = Builder()
    grad = builder.input("grad", Spec(shape))
    total = sum_to(builder, grad, target)
    assert total.shape == target
    g, x = rng.standard_normal(shape), rng.standard_normal(target)
    result = evaluate(builder.graph([total]), {grad: g})[total]
    assert float((result * x).sum()) == pytest.approx(float((g * np.broadcast_to(x, shape)).sum()))


def test_no_nodes_where_nothing_was_broadcast() -> None:
    builder = Builder()
    x, y, g = (builder.input(name, Spec((2, 3))) for name in "xyg")
    assert sum_to(builder, g, (2, 3)) is g
    builder.add("add", x, y)
    gradient = OPS["add"].gradient
    assert gradient is not None
    assert list(gradient(builder, builder.nodes[0], [g])) == [g, g]
    assert len(builder.nodes) == 1


def test_cast_of_integers_has_no_gradient() -> None:
    builder = Builder()
    labels, g = builder.input("labels", Spec((3,), "int64")), builder.input("g", Spec((3,)))
    builder.add("cast", labels, dtype="float32")
    gradient = OPS["cast"].gradient
    assert gradient is not None
    assert list(gradient(builder, builder.nodes[0], [g])) == [None]
