"""Gradients of whole graphs against finite differences, and what is refused."""

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import Builder, evaluate
from normengine.passes import differentiate


def test_a_small_network_against_finite_differences():
    rng = np.random.default_rng(1)
    b = Builder()
    x = b.input("x", Spec((4, 2, 6, 6)))
    y = b.input("y", Spec((4,), "int64"))
    shapes = {"w": (3, 2, 3, 3), "g": (3,), "s": (3,), "v": (5, 27)}
    wrt = [b.state_value(n, Spec(shape)) for n, shape in shapes.items()]
    h = b.add("conv2d", x, wrt[0], stride=(2, 2), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)
    h, _, _ = b.add_multi("batch_norm_train", h, wrt[1], wrt[2], eps=1e-5)
    h = b.add("add", b.add("tanh", h), b.add("sigmoid", h))
    h = b.add("linear", b.add("reshape", h, shape=(0, -1)), wrt[3])
    loss = b.add("cross_entropy", h, y, label_smoothing=0.1, ignore_index=-100, reduction="mean")
    grads = differentiate(b, loss, wrt)
    graph = b.graph([loss, *grads])
    feeds = {x: rng.standard_normal(x.shape), y: rng.integers(0, 5, 4)}
    feeds |= {v: rng.standard_normal(v.shape) for v in wrt}
    got = evaluate(graph, feeds)
    for value, grad in zip(wrt, grads):
        direction = rng.standard_normal(value.shape)
        ends = [evaluate(graph, feeds | {value: feeds[value] + h * direction})[loss] for h in (1e-5, -1e-5)]
        assert np.isclose((ends[0] - ends[1]) / 2e-5, np.vdot(got[grad], direction), rtol=1e-6, atol=1e-8), value.name


def test_several_uses_add_up_and_no_use_is_none():
    b = Builder()
    a, unused = b.input("a", Spec((3,))), b.input("u", Spec((3,)))
    loss = b.add("reduce_sum", b.add("add", b.add("mul", a, a), a), axes=(0,), keepdims=False)
    grad, nothing = differentiate(b, loss, [a, unused])
    assert nothing is None
    point = np.array([1.0, -2.0, 3.0])
    assert np.allclose(evaluate(b.graph([grad]), {a: point, unused: point})[grad], 2 * point + 1)


def test_the_loss_must_be_a_scalar():
    b = Builder()
    a = b.input("a", Spec((3,)))
    with pytest.raises(ValueError, match=r"must be a scalar, got shape \(3,\)"):
        differentiate(b, b.add("relu", a), [a])


def test_an_operator_without_gradient_is_named():
    b = Builder()
    a = b.input("a", Spec((2, 3, 4, 4)))
    with b.at("stem.pool"):
        back = b.add("adaptive_avg_pool2d_grad", a, input_size=(8, 8), output_size=(4, 4))
    loss = b.add("reduce_sum", back, axes=(0, 1, 2, 3), keepdims=False)
    with pytest.raises(ValueError, match="adaptive_avg_pool2d_grad 'stem.pool' has no gradient"):
        differentiate(b, loss, [a])
