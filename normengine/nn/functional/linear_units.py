"""Activation functions with settings: exponential and learned slopes, thresholds and gates."""

from __future__ import annotations

from ... import shapes
from ...settings import finite
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced, inplace_result, sigmoid, softmax, tanh

__all__ = [
    "celu",
    "elu",
    "glu",
    "hardshrink",
    "hardtanh",
    "logsigmoid",
    "prelu",
    "selu",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_GAMMA = 1.0507009873554804934193349852946

_SOFT = 18.0
"""Where log(1 + exp(x)) is x in float32."""


@function
def prelu(input: ArrayLike, weight: ArrayLike) -> Tensor:
    """x where x > 0, else weight * x (He et al., 2015): ``weight`` is one number, or one for each channel (axis 1).

    Raises ValueError for a weight of another shape.
    """
    x, slope = as_traced(input), as_traced(weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if slope.ndim > 1 or slope.numel() not in (1, channels):
        raise x._tracer.error(f"weight must be (1,) or ({channels},) for input {x.shape}, got shape {slope.shape}")
    return x._apply("prelu", slope.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else slope.reshape(()))


@function
def elu(input: ArrayLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2016)."""
    return inplace_result(input, as_traced(input)._apply("elu", alpha=finite(alpha, "elu: alpha")), inplace)


@function
def selu(input: ArrayLike, inplace: bool = False) -> Tensor:
    """1.0507 * elu(x) with alpha 1.6733, which keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    made = as_traced(input)._apply("selu", alpha=_SELU_ALPHA, gamma=_SELU_GAMMA)
    return inplace_result(input, made, inplace)


@function
def celu(input: ArrayLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron, 2017). Raises ValueError for an alpha of 0."""
    if finite(alpha, "celu: alpha") == 0:
        raise ValueError("celu: alpha must not be 0, by which the input is divided")
    return inplace_result(input, as_traced(input)._apply("celu", alpha=float(alpha)), inplace)


@function
def softplus(input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x where beta * x > threshold."""
    beta, threshold = finite(beta, "softplus: beta"), finite(threshold, "softplus: threshold")
    if beta == 0:
        raise ValueError("softplus: beta must not be 0, by which is divided")
    x = as_traced(input)
    scaled = x if beta == 1 else x * beta
    soft = scaled._apply("softplus")
    soft = soft if beta == 1 else soft / beta
    if threshold >= _SOFT:
        return soft
    limit = x._tracer.constant(threshold)
    return scaled._apply("greater", limit)._apply("where", x, soft)


@function
def softsign(input: ArrayLike) -> Tensor:
    """x / (1 + |x|)."""
    return as_traced(input)._apply("softsign")


@function
def hardtanh(input: ArrayLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val). Raises ValueError unless min_val <= max_val."""
    low, high = finite(min_val, "hardtanh: min_val"), finite(max_val, "hardtanh: max_val")
    if low > high:
        raise ValueError(f"hardtanh: min_val must not be above max_val, got {min_val} and {max_val}")
    x = as_traced(input)
    made = x._apply("relu6") if (low, high) == (0, 6) else x._apply("hardtanh", min_val=low, max_val=high)
    return inplace_result(input, made, inplace)


@function
def hardshrink(input: ArrayLike, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return as_traced(input)._apply("shrink", lambd=finite(lambd, "hardshrink: lambd", low=0.0), bias=0.0)


@function
def softshrink(input: ArrayLike, lambd: float = 0.5) -> Tensor:
    """x - lambd above lambd, x + lambd below -lambd, 0 between. Raises ValueError for a negative lambd."""
    bound = finite(lambd, "softshrink: lambd", low=0.0)
    return as_traced(input)._apply("shrink", lambd=bound, bias=bound)


@function
def tanhshrink(input: ArrayLike) -> Tensor:
    """x - tanh(x)."""
    x = as_traced(input)
    return x - tanh(x)


@function
def logsigmoid(input: ArrayLike) -> Tensor:
    """log(1 / (1 + exp(-x)))."""
    return -((-as_traced(input))._apply("softplus"))


@function
def threshold(input: ArrayLike, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value."""
    settings = {"threshold": finite(threshold, "threshold: threshold"), "value": finite(value, "threshold: value")}
    return inplace_result(input, as_traced(input)._apply("threshold", **settings), inplace)


@function
def glu(input: ArrayLike, dim: int = -1) -> Tensor:
    """a * sigmoid(b), a and b the halves of x along ``dim`` (Dauphin et al., 2017). Raises ValueError for an odd
    extent."""
    x = as_traced(input)
    extent = x.shape[shapes.axis_of(dim, x.ndim)] if x.ndim else 1
    if extent % 2:
        raise x._tracer.error(f"glu halves dim {dim}, which must have an even extent, got shape {x.shape}")
    a, b = x.chunk(2, dim)
    return a * sigmoid(b)


@function
def softmin(input: ArrayLike, dim: int | None = None) -> Tensor:
    """softmax(-x) along ``dim``."""
    return softmax(-as_traced(input), dim)
