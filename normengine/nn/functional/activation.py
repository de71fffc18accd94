"""Activation functions. Each takes tensors in ``forward`` and NumPy arrays elsewhere, float32 of any shape."""

from __future__ import annotations

from ...settings import finite
from ..arithmetic import ArrayLike
from ..context import current
from ..eager import function
from ..tensor import Tensor

__all__ = [
    "gelu",
    "hardsigmoid",
    "hardswish",
    "leaky_relu",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]


def as_traced(x: ArrayLike) -> Tensor:
    """``x`` as a tensor of the current trace."""
    tracer = current()
    assert tracer is not None
    return tracer.tensor(x)


def inplace_result(input: ArrayLike, output: Tensor, inplace: bool) -> Tensor:
    """``output``; where ``inplace`` is set, every holder of the tensor ``input`` sees it too, as in PyTorch."""
    return input._become(output) if inplace and isinstance(input, Tensor) else output


@function
def relu(input: ArrayLike, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return inplace_result(input, as_traced(input).relu(), inplace)


@function
def leaky_relu(input: ArrayLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    slope = finite(negative_slope, "leaky_relu: negative_slope")
    return inplace_result(input, as_traced(input)._apply("leaky_relu", negative_slope=slope), inplace)


@function
def relu6(input: ArrayLike, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return inplace_result(input, as_traced(input)._apply("relu6"), inplace)


@function
def sigmoid(input: ArrayLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    return as_traced(input).sigmoid()


@function
def tanh(input: ArrayLike) -> Tensor:
    """Hyperbolic tangent."""
    return as_traced(input).tanh()


@function
def silu(input: ArrayLike, inplace: bool = False) -> Tensor:
    """x * sigmoid(x) (Elfwing et al., 2017; "swish")."""
    return inplace_result(input, as_traced(input)._apply("silu"), inplace)


@function
def gelu(input: ArrayLike, approximate: str = "none") -> Tensor:
    """x * Phi(x) with the normal distribution function Phi, or its ``"tanh"`` approximation (Hendrycks, 2016)."""
    ops = {"none": "gelu", "tanh": "gelu_tanh"}
    if approximate not in ops:
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return as_traced(input)._apply(ops[approximate])


@function
def hardswish(input: ArrayLike, inplace: bool = False) -> Tensor:
    """x * min(max(x + 3, 0), 6) / 6 (Howard et al., 2019)."""
    return inplace_result(input, as_traced(input)._apply("hardswish"), inplace)


@function
def hardsigmoid(input: ArrayLike, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6 (Howard et al., 2019)."""
    return inplace_result(input, (as_traced(input) + 3.0)._apply("relu6") / 6.0, inplace)


@function
def mish(input: ArrayLike, inplace: bool = False) -> Tensor:
    """x * tanh(log(1 + exp(x))) (Misra, 2019)."""
    return inplace_result(input, as_traced(input)._apply("mish"), inplace)


@function
def softmax(input: ArrayLike, dim: int | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along ``dim``."""
    x = as_traced(input)
    return x.softmax(_usual_dim(x) if dim is None else dim)


@function
def log_softmax(input: ArrayLike, dim: int | None = None) -> Tensor:
    """x - log(sum(exp(x))) along ``dim``."""
    x = as_traced(input)
    return x.log_softmax(_usual_dim(x) if dim is None else dim)


def _usual_dim(x: Tensor) -> int:
    """PyTorch's choice where no ``dim`` is given."""
    return 0 if x.ndim in (0, 1, 3) else 1
