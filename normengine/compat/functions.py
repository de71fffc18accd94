"""What ported code calls as ``torch.cat`` and its kin: on tensors in ``forward``, on NumPy arrays elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import shapes
from ..nn.eager import function
from ..nn.functional.activation import as_traced
from ..nn.tensor import Tensor


@function
def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """The tensors one after the other along ``dim``; their other extents are equal."""
    parts = [as_traced(t) for t in tensors]
    if not parts:
        raise ValueError("cat needs at least one tensor")
    return parts[0]._apply("concat", *parts[1:], axis=shapes.axis_of(dim, parts[0].ndim))


concat = concatenate = cat


@function
def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """The tensors, of one shape, one after the other along a new axis ``dim``."""
    return cat([as_traced(t).unsqueeze(dim) for t in tensors], shapes.axis_of(dim, as_traced(tensors[0]).ndim + 1))


@function
def add(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """``input + alpha * other``."""
    return as_traced(input).add(as_traced(other), alpha=alpha)


@function
def sub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """``input - alpha * other``."""
    return as_traced(input).sub(as_traced(other), alpha=alpha)


@function
def mul(input: Any, other: Any) -> Any:
    """``input * other``."""
    return as_traced(input) * as_traced(other)


@function
def div(input: Any, other: Any) -> Any:
    """``input / other``."""
    return as_traced(input) / as_traced(other)


@function
def matmul(input: Any, other: Any) -> Any:
    """(..., I) times (I, O)."""
    return as_traced(input) @ as_traced(other)


mm = matmul


@function
def neg(input: Any) -> Any:
    """``-input``."""
    return -as_traced(input)


@function
def pow(input: Any, exponent: float) -> Any:
    """``input ** exponent`` for integers, 0.5 and -0.5."""
    return as_traced(input) ** exponent


@function
def square(input: Any) -> Any:
    """``input * input``."""
    return as_traced(input).square()


@function
def abs(input: Any) -> Any:
    """|input|."""
    return as_traced(input).abs()


@function
def exp(input: Any) -> Any:
    """e to the power of the input."""
    return as_traced(input).exp()


@function
def log(input: Any) -> Any:
    """The natural logarithm."""
    return as_traced(input).log()


@function
def sqrt(input: Any) -> Any:
    """The square root."""
    return as_traced(input).sqrt()


@function
def rsqrt(input: Any) -> Any:
    """1 / sqrt(input)."""
    return as_traced(input).rsqrt()


@function
def relu(input: Any) -> Any:
    """max(x, 0)."""
    return as_traced(input).relu()


@function
def sigmoid(input: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return as_traced(input).sigmoid()


@function
def tanh(input: Any) -> Any:
    """Hyperbolic tangent."""
    return as_traced(input).tanh()


@function
def softmax(input: Any, dim: int) -> Any:
    """exp(x) / sum(exp(x)) along ``dim``."""
    return as_traced(input).softmax(dim)


@function
def log_softmax(input: Any, dim: int) -> Any:
    """x - log(sum(exp(x))) along ``dim``."""
    return as_traced(input).log_softmax(dim)


@function
def mean(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The mean over ``dim`` (an int or several), or over all axes."""
    return as_traced(input).mean(dim, keepdim)


@function
def sum(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The sum over ``dim`` (an int or several), or over all axes."""
    return as_traced(input).sum(dim, keepdim)


@function
def reshape(input: Any, shape: Any) -> Any:
    """The same elements in ``shape``, one extent of which may be -1."""
    return as_traced(input).reshape(shape)


@function
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """The axes ``start_dim`` to ``end_dim`` made one."""
    return as_traced(input).flatten(start_dim, end_dim)


@function
def permute(input: Any, dims: Any) -> Any:
    """The axes in the order ``dims``."""
    return as_traced(input).permute(dims)


@function
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two axes exchanged."""
    return as_traced(input).transpose(dim0, dim1)


@function
def squeeze(input: Any, dim: Any = None) -> Any:
    """Without the axes of extent 1, or without those of ``dim`` that have extent 1."""
    return as_traced(input).squeeze(dim)


@function
def unsqueeze(input: Any, dim: int) -> Any:
    """With a new axis of extent 1 at ``dim``."""
    return as_traced(input).unsqueeze(dim)


@function
def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    """Parts of a size (the last may be smaller), or of the sizes in a list, along ``dim``."""
    return as_traced(tensor).split(split_size_or_sections, dim)


@function
def chunk(input: Any, chunks: int, dim: int = 0) -> Any:
    """At most ``chunks`` parts of equal extent (the last may be smaller) along ``dim``."""
    return as_traced(input).chunk(chunks, dim)


@function
def unbind(input: Any, dim: int = 0) -> Any:
    """The slices along ``dim``, without that axis."""
    return as_traced(input).unbind(dim)


def numel(input: Any) -> int:
    """The number of elements."""
    return int(input.numel()) if hasattr(input, "numel") else int(input.size)


def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor of a trace."""
    return isinstance(obj, Tensor)
