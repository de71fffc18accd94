"""Batch normalization: statistics far from zero, the published gradient, and what the outputs' gradients add to it."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec, Value
from normengine.ops import OPS, Builder, OperatorError, evaluate

EPS = {"eps": 1e-5}


def test_statistics_far_from_zero() -> None:
    x = (1e4 + np.random.default_rng(0).standard_normal((64, 2, 16, 16))).astype(np.float32)
    mean, var = OPS["batch_stats"].reference([x], {})
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)).astype(float), rtol=1e-12)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2, 3)).astype(float), rtol=1e-9)
    np.testing.assert_allclose(var, 1.0, atol=0.05)


def test_training_normalizes_with_the_biased_variance() -> None:
    x = np.array([[0.0], [2.0], [4.0]])
    y, mean, var = OPS["batch_norm_train"].reference([x, np.array([3.0]), np.array([1.0])], {"eps": 0.0})
    assert (mean, var) == (2.0, 8.0 / 3.0)
    np.testing.assert_allclose(y[:, 0], 1.0 + 3.0 * np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5))


def test_inference_uses_the_running_statistics() -> None:
    vectors = [np.array([v]) for v in (2.0, 0.5, 10.0, 4.0)]
    (y,) = OPS["batch_norm"].reference([np.array([[14.0]]), *vectors], {"eps": 0.0})
    assert y == 4.5


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)])
def test_training_gradient_is_the_published_formula(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape))
    weight = rng.standard_normal(3)
    axes = tuple(a for a in range(len(shape)) if a != 1)
    column = (-1, *[1] * (len(shape) - 2))
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    inverse = (1.0 / np.sqrt(var + 1e-5)).reshape(column)
    xhat = (x - mean.reshape(column)) * inverse
    average = lambda a: a.mean(axis=axes, keepdims=True)
    expected = weight.reshape(column) * inverse * (dy - average(dy) - xhat * average(dy * xhat))

    builder = Builder()
    x_value, dy_value = builder.input("x", Spec(shape)), builder.input("dy", Spec(shape))
    weight_value, bias_value = builder.input("weight", Spec((3,))), builder.input("bias", Spec((3,)))
    builder.add_multi("batch_norm_train", x_value, weight_value, bias_value, **EPS)
    gradient = OPS["batch_norm_train"].gradient
    assert gradient is not None
    grads = [g for g in gradient(builder, builder.nodes[0], [dy_value, None, None]) if g is not None]
    feeds = {x_value: x, dy_value: dy, weight_value: weight, bias_value: np.zeros(3)}
    values = evaluate(builder.graph(grads), feeds)
    np.testing.assert_allclose(values[grads[0]], expected, atol=1e-10)
    np.testing.assert_allclose(values[grads[1]], (dy * xhat).sum(axis=axes), atol=1e-10)
    np.testing.assert_allclose(values[grads[2]], dy.sum(axis=axes), atol=1e-10)


@pytest.mark.parametrize("output", [1, 2])
def test_gradient_of_the_statistics_alone(output: int) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((4, 3, 2, 2)), rng.standard_normal(3)
    builder = Builder()
    inputs = [builder.input("x", Spec(x.shape)), builder.input("w", Spec((3,))), builder.input("b", Spec((3,)))]
    g_value = builder.input("g", Spec((3,)))
    builder.add_multi("batch_norm_train", *inputs, **EPS)
    cotangents: list[Value | None] = [None, None, None]
    cotangents[output] = g_value
    gradient = OPS["batch_norm_train"].gradient
    assert gradient is not None
    dx, dweight, dbias = gradient(builder, builder.nodes[0], cotangents)
    assert dx is not None and dweight is None and dbias is None
    feeds = dict(zip([*inputs, g_value], [x, np.ones(3), np.ones(3), g], strict=True))
    result = evaluate(builder.graph([dx]), feeds)[dx]
    scale = 1.0 if output == 1 else 2.0 * (x - x.mean(axis=(0, 2, 3), keepdims=True))
    np.testing.assert_allclose(result, np.broadcast_to(g[:, None, None] / 16 * scale, x.shape), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1)])
def test_one_value_per_channel_is_refused_in_training_only(shape: tuple[int, ...]) -> None:
    vector = Spec((4,))
    with pytest.raises(OperatorError) as caught:
        OPS["batch_norm_train"].infer([Spec(shape), vector, vector], EPS)
    assert str(caught.value) == (
        f"expected more than 1 value per channel when training, got input shape {shape}; use a larger batch or eval()"
    )
    assert OPS["batch_norm"].infer([Spec(shape), vector, vector, vector, vector], EPS) == (Spec(shape),)


def test_counts_are_integers() -> None:
    assert OPS["count_step"].reference([np.array(2**53)], {})[0] == 2**53 + 1
    assert OPS["count_weight"].reference([np.array(4)], {})[0] == 0.25


def written_out(vectors, eps=1e-3):
    """The operators that a batch norm with constant statistics becomes, and their constants."""
    builder = Builder()
    x = builder.input("x", Spec((2, 2, 3, 3)))
    builder.add("batch_norm", x, *map(builder.constant, vectors), eps=eps)
    node = builder.nodes.pop()
    given = set(builder.constants)
    y = OPS["batch_norm"].decompose(builder, node)
    graph = builder.graph(y)
    made = [a for v, a in graph.constants.items() if v not in given]
    return [n.op for n in graph.nodes if n.op != "reshape"], made, graph


def test_constant_statistics_are_one_scale_and_one_shift() -> None:
    weight, bias, mean, var = (np.array(v, np.float32) for v in ([0.7, -2.0], [0.1, 3.0], [5.0, -0.3], [0.3, 2.0]))
    operators, made, _ = written_out([weight, bias, mean, var])
    assert operators == ["mul", "add"]
    scale = weight.astype(np.float64) / np.sqrt(var.astype(np.float64) + 1e-3)
    np.testing.assert_array_equal(made[0], scale.astype(np.float32))
    np.testing.assert_array_equal(made[1], (bias - mean * scale).astype(np.float32))


@pytest.mark.parametrize("mean, var", [([1e4, 0.0], [1.0, 1.0]), ([0.0, np.nan], [1.0, 1.0])])
def test_statistics_far_from_zero_or_not_finite_are_used_as_they_are(mean, var) -> None:
    vectors = [np.ones(2, np.float32), np.zeros(2, np.float32), np.array(mean, np.float32), np.array(var, np.float32)]
    operators, _, graph = written_out(vectors, eps=1e-5)
    assert operators == ["add", "rsqrt", "mul", "sub", "mul", "add"]
    x = 3.0 + np.random.default_rng(0).standard_normal((2, 2, 3, 3))
    (wanted,) = OPS["batch_norm"].reference([x, *vectors], EPS)
    np.testing.assert_allclose(evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]], wanted, rtol=1e-6)
