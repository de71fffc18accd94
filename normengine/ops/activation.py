"""Activation functions and their derivatives, all elementwise.

``<name>_grad(dy, v)`` takes the activation's output where that suffices (relu, relu6, sigmoid, tanh), else its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Node, Value
from .base import Case, OnnxMapping, Op, Scalar
from .builder import Builder
from .rules import elementwise_infer, elementwise_reference, only
from .special import erf
from .table import register

_TANH_SCALE = math.sqrt(2.0 / math.pi)
_TANH_CUBIC = 0.044715
_ALPHA = {"alpha": "alpha"}

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_GAMMA = 1.0507009873554804934193349852946
"""What keeps mean 0 and variance 1 from layer to layer (Klambauer et al., 2017)."""


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def relu_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(y > 0, dy, 0.0)


def leaky_relu(x: np.ndarray, negative_slope: float) -> np.ndarray:
    """x where x > 0, else negative_slope * x."""
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_grad(dy: np.ndarray, x: np.ndarray, negative_slope: float) -> np.ndarray:
    return np.where(x > 0, dy, negative_slope * dy)


def relu6(x: np.ndarray) -> np.ndarray:
    """min(max(x, 0), 6)."""
    return np.clip(x, 0.0, 6.0)


def relu6_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where((y > 0) & (y < 6), dy, 0.0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return np.exp(-np.logaddexp(0.0, -x))


def sigmoid_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    return dy * y * (1.0 - y)


def tanh_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    return dy * (1.0 - y * y)


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x)."""
    return x * sigmoid(x)


def silu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    s = sigmoid(x)
    return dy * s * (1.0 + x * (1.0 - s))


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016)."""
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def gelu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return dy * (0.5 * (1.0 + erf(x / math.sqrt(2.0))) + x * density)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))."""
    return 0.5 * x * (1.0 + np.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x**3)))


def gelu_tanh_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    t = np.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x**3))
    inner = _TANH_SCALE * (1.0 + 3.0 * _TANH_CUBIC * x * x)
    return dy * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)


def hardswish(x: np.ndarray) -> np.ndarray:
    """x * min(max(x + 3, 0), 6) / 6 (Howard et al., 2019)."""
    return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0


def hardswish_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.where(x <= -3, 0.0, np.where(x < 3, dy * (x / 3.0 + 0.5), dy))


def mish(x: np.ndarray) -> np.ndarray:
    """x * tanh(log(1 + exp(x))) (Misra, 2019)."""
    return x * np.tanh(np.logaddexp(0.0, x))


def mish_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    t = np.tanh(np.logaddexp(0.0, x))
    return dy * (t + x * sigmoid(x) * (1.0 - t * t))


def elu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2016)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def elu_grad(dy: np.ndarray, x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, dy, dy * alpha * np.exp(np.minimum(x, 0.0)))


def selu(x: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    """gamma * elu(x) (Klambauer et al., 2017)."""
    return gamma * elu(x, alpha)


def selu_grad(dy: np.ndarray, x: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    return gamma * elu_grad(dy, x, alpha)


def celu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron, 2017)."""
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0.0, x / alpha)))


def celu_grad(dy: np.ndarray, x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, dy, dy * np.exp(np.where(x > 0, 0.0, x / alpha)))


def softsign(x: np.ndarray) -> np.ndarray:
    """x / (1 + |x|)."""
    return x / (1.0 + np.abs(x))


def softsign_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    return dy / (1.0 + np.abs(x)) ** 2


def hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """min(max(alpha * x + beta, 0), 1)."""
    return np.clip(alpha * x + beta, 0.0, 1.0)


def hard_sigmoid_grad(dy: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.where((y > 0) & (y < 1), alpha * dy, 0.0)


def hardtanh(x: np.ndarray, min_val: float, max_val: float) -> np.ndarray:
    """min(max(x, min_val), max_val)."""
    return np.clip(x, min_val, max_val)


def hardtanh_grad(dy: np.ndarray, y: np.ndarray, min_val: float, max_val: float) -> np.ndarray:
    return np.where((y > min_val) & (y < max_val), dy, 0.0)


def threshold(x: np.ndarray, threshold: float, value: float) -> np.ndarray:
    """x where x > threshold, else value."""
    return np.where(x <= threshold, value, x)


def threshold_grad(dy: np.ndarray, x: np.ndarray, threshold: float, value: float) -> np.ndarray:
    return np.where(x <= threshold, 0.0, dy)


def shrink(x: np.ndarray, lambd: float, bias: float) -> np.ndarray:
    """x + bias below -lambd, x - bias above lambd, 0 between."""
    return np.where(x < -lambd, x + bias, np.where(x <= lambd, 0.0, x - bias))


def shrink_grad(dy: np.ndarray, x: np.ndarray, lambd: float, bias: float) -> np.ndarray:
    return np.where((x < -lambd) | ~(x <= lambd), dy, 0.0)


def _draw_wide(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [(4.0 * rng.standard_normal((3, 67))).astype(np.float32)]


def _draw_extreme(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [np.array([-1e4, -90.0, -20.0, -1e-6, 0.0, 1e-6, 20.0, 90.0, 1e4], np.float32)]


def _cases(attrs: dict[str, Any]) -> tuple[Case, ...]:
    return (
        Case(((2, 3, 5, 7),), attrs),
        Case(((),), attrs),
        Case(attrs=attrs, draw=_draw_wide),
        Case(attrs=attrs, draw=_draw_extreme, differentiable=False),
    )


def _grad_cases(forward: Callable[..., np.ndarray] | None, attrs: dict[str, Any]) -> tuple[Case, ...]:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        dy, x = rng.standard_normal((2, 3, 67)).astype(np.float32)
        x = 4.0 * x if forward is None else forward(4.0 * x, **attrs)
        return [dy, x.astype(np.float32)]

    return (Case(attrs=attrs, draw=draw),)


def _activation(
    name: str,
    function: Callable[..., np.ndarray],
    derivative: Callable[..., np.ndarray],
    from_output: bool,
    operations: tuple[int, int],
    onnx: OnnxMapping | None = None,
    attrs: dict[str, Any] | None = None,
    cheap: bool = False,
    clamp: tuple[float, float] | None = None,
    evaluator_is_exact: bool = True,
) -> tuple[Op, Op]:
    """The operator ``name`` and its ``<name>_grad``, of so many ``operations`` each; ``clamp`` are the limits that it
    holds values within, where it does nothing else."""
    attrs = attrs or {}

    def gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
        known = node.outputs[0] if from_output else node.inputs[0]
        return [builder.add(f"{name}_grad", only(grads), known, **node.attrs)]

    return (
        Op(
            name,
            elementwise_infer("input"),
            elementwise_reference(function),
            gradient,
            Scalar(name, tuple(attrs), operations=operations[0], cheap=cheap),
            onnx=onnx,
            cases=lambda: _cases(attrs),
            becomes=None if clamp is None else ("clamp", clamp),
            evaluator_is_exact=evaluator_is_exact,
        ),
        Op(
            f"{name}_grad",
            elementwise_infer("output gradient", "output" if from_output else "input"),
            elementwise_reference(derivative),
            scalar=Scalar(f"{name}_grad", tuple(attrs), operations=operations[1], cheap=cheap),
            cases=lambda: _grad_cases(function if from_output else None, attrs),
        ),
    )


register(
    *_activation("relu", relu, relu_grad, True, (2, 2), OnnxMapping("Relu"), cheap=True, clamp=(0.0, math.inf)),
    *_activation(
        "leaky_relu",
        leaky_relu,
        leaky_relu_grad,
        False,
        (3, 3),
        OnnxMapping("LeakyRelu", {"negative_slope": "alpha"}, {"alpha": 0.01}),
        {"negative_slope": 0.1},
        cheap=True,
    ),
    *_activation("relu6", relu6, relu6_grad, True, (4, 4), cheap=True, clamp=(0.0, 6.0)),
    *_activation("sigmoid", sigmoid, sigmoid_grad, True, (35, 3), OnnxMapping("Sigmoid")),
    *_activation("tanh", np.tanh, tanh_grad, True, (54, 3), OnnxMapping("Tanh")),
    *_activation("silu", silu, silu_grad, False, (35, 40)),
    *_activation("gelu", gelu, gelu_grad, False, (53, 90)),
    *_activation("gelu_tanh", gelu_tanh, gelu_tanh_grad, False, (62, 72)),
    *_activation("hardswish", hardswish, hardswish_grad, False, (7, 7)),
    *_activation("mish", mish, mish_grad, False, (39, 79)),
    *_activation("elu", elu, elu_grad, False, (52, 36), OnnxMapping("Elu", _ALPHA, {"alpha": 1.0}), {"alpha": 0.7}),
    *_activation(
        "selu",
        selu,
        selu_grad,
        False,
        (53, 37),
        OnnxMapping("Selu", {**_ALPHA, "gamma": "gamma"}, {"alpha": SELU_ALPHA, "gamma": SELU_GAMMA}),
        {"alpha": SELU_ALPHA, "gamma": SELU_GAMMA},
    ),
    *_activation("celu", celu, celu_grad, False, (53, 36), attrs={"alpha": 0.7}),
    *_activation(
        "softsign",
        softsign,
        softsign_grad,
        False,
        (3, 4),
        OnnxMapping("Softsign"),
        evaluator_is_exact=False,  # it fails on a single number
    ),
    *_activation(
        "hard_sigmoid",
        hard_sigmoid,
        hard_sigmoid_grad,
        True,
        (6, 5),
        OnnxMapping("HardSigmoid", {**_ALPHA, "beta": "beta"}, {"alpha": 0.2, "beta": 0.5}),
        {"alpha": 0.3, "beta": 0.4},
        cheap=True,
    ),
    *_activation(
        "hardtanh", hardtanh, hardtanh_grad, True, (4, 4), attrs={"min_val": -0.8, "max_val": 1.5}, cheap=True
    ),
    *_activation(
        "threshold", threshold, threshold_grad, False, (2, 2), attrs={"threshold": 0.3, "value": -0.5}, cheap=True
    ),
    *_activation(
        "shrink",
        shrink,
        shrink_grad,
        False,
        (7, 5),
        OnnxMapping("Shrink", {"lambd": "lambd", "bias": "bias"}, {"lambd": 0.5, "bias": 0.0}),
        {"lambd": 0.6, "bias": 0.2},
        cheap=True,
    ),
)
