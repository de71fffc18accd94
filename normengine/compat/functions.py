"""What ported code calls as ``torch.cat`` and its kin: on tensors in ``forward``, on NumPy arrays elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import shapes
from ..nn.arithmetic import ArrayLike
from ..nn.eager import function
from ..nn.functional.activation import as_traced
from ..nn.tensor import Tensor
from ..ops.einsum import einsum as summed
from ..typing import Ints, Shaped


@function
def cat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """The tensors one after the other along ``dim``; their other extents are equal."""
    parts = [as_traced(t) for t in tensors]
    if not parts:
        raise ValueError("cat needs at least one tensor")
    return parts[0]._apply("concat", *parts[1:], axis=shapes.axis_of(dim, parts[0].ndim))


concat = concatenate = cat


@function
def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """The tensors, of one shape, one after the other along a new axis ``dim``."""
    return cat([as_traced(t).unsqueeze(dim) for t in tensors], shapes.axis_of(dim, as_traced(tensors[0]).ndim + 1))


@function
def add(input: ArrayLike, other: ArrayLike, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``."""
    return as_traced(input).add(as_traced(other), alpha=alpha)


@function
def sub(input: ArrayLike, other: ArrayLike, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``."""
    return as_traced(input).sub(as_traced(other), alpha=alpha)


@function
def mul(input: ArrayLike, other: ArrayLike) -> Tensor:
    """``input * other``."""
    return as_traced(input) * as_traced(other)


@function
def div(input: ArrayLike, other: ArrayLike) -> Tensor:
    """``input / other``."""
    return as_traced(input) / as_traced(other)


@function
def matmul(input: ArrayLike, other: ArrayLike) -> Tensor:
    """(..., M, K) times (..., K, N), whose leading axes broadcast; vectors are a row on the left, a column on the
    right."""
    return as_traced(input) @ as_traced(other)


mm = matmul


@function
def bmm(input: ArrayLike, mat2: ArrayLike) -> Tensor:
    """(B, M, K) times (B, K, N)."""
    a, b = as_traced(input), as_traced(mat2)
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0]:
        raise ValueError(f"bmm takes (B, M, K) and (B, K, N), got shapes {a.shape} and {b.shape}")
    return a @ b


@function
def einsum(equation: str, *operands: ArrayLike) -> Tensor:
    """The sum that an equation such as ``"bij,bjk->bik"`` describes; the operands may be in one list."""
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    tensors = [as_traced(operand) for operand in given]
    if not tensors:
        raise ValueError("einsum needs at least one operand")
    return summed(tensors[0]._tracer.add, equation, tensors)


@function
def neg(input: ArrayLike) -> Tensor:
    """``-input``."""
    return -as_traced(input)


@function
def pow(input: ArrayLike, exponent: float) -> Tensor:
    """``input ** exponent`` for integers, 0.5 and -0.5."""
    return as_traced(input) ** exponent


@function
def square(input: ArrayLike) -> Tensor:
    """``input * input``."""
    return as_traced(input).square()


@function
def abs(input: ArrayLike) -> Tensor:
    """|input|."""
    return as_traced(input).abs()


@function
def exp(input: ArrayLike) -> Tensor:
    """e to the power of the input."""
    return as_traced(input).exp()


@function
def log(input: ArrayLike) -> Tensor:
    """The natural logarithm."""
    return as_traced(input).log()


@function
def sqrt(input: ArrayLike) -> Tensor:
    """The square root."""
    return as_traced(input).sqrt()


@function
def rsqrt(input: ArrayLike) -> Tensor:
    """1 / sqrt(input)."""
    return as_traced(input).rsqrt()


@function
def relu(input: ArrayLike) -> Tensor:
    """max(x, 0)."""
    return as_traced(input).relu()


@function
def softmax(input: ArrayLike, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along ``dim``."""
    return as_traced(input).softmax(dim)


@function
def log_softmax(input: ArrayLike, dim: int) -> Tensor:
    """x - log(sum(exp(x))) along ``dim``."""
    return as_traced(input).log_softmax(dim)


@function
def mean(input: ArrayLike, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """The mean over ``dim`` (an int or several), or over all axes."""
    return as_traced(input).mean(dim, keepdim)


@function
def sum(input: ArrayLike, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """The sum over ``dim`` (an int or several), or over all axes."""
    return as_traced(input).sum(dim, keepdim)


@function
def prod(input: ArrayLike, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """The product over ``dim`` (an int or several), or over all axes."""
    return as_traced(input).prod(dim, keepdim)


@function
def amax(input: ArrayLike, dim: Ints = (), keepdim: bool = False) -> Tensor:
    """The largest element over ``dim`` (an int or several), or over all axes."""
    return as_traced(input).amax(dim, keepdim)


@function
def amin(input: ArrayLike, dim: Ints = (), keepdim: bool = False) -> Tensor:
    """The smallest element over ``dim`` (an int or several), or over all axes."""
    return as_traced(input).amin(dim, keepdim)


@function
def logsumexp(input: ArrayLike, dim: Ints, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over ``dim`` (an int or several)."""
    return as_traced(input).logsumexp(dim, keepdim)


@function
def var(
    input: ArrayLike,
    dim: Ints | None = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """The variance over ``dim`` (an int or several), or over all axes, divided by n - ``correction``: 1, or 0 where it
    is not ``unbiased``."""
    return as_traced(input).var(dim, unbiased, keepdim, correction=correction)


@function
def std(
    input: ArrayLike,
    dim: Ints | None = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """The square root of :func:`var`."""
    return as_traced(input).std(dim, unbiased, keepdim, correction=correction)


@function
def gather(input: ArrayLike, dim: int, index: ArrayLike) -> Tensor:
    """``input[..., index[..., i], ...]`` along ``dim``; an index beyond the axis means its last element, or first."""
    return as_traced(input).gather(dim, index)


@function
def index_select(input: ArrayLike, dim: int, index: ArrayLike) -> Tensor:
    """The slices along ``dim`` that ``index`` names; one beyond the axis means its last slice, or its first."""
    return as_traced(input).index_select(dim, index)


@function
def reshape(input: ArrayLike, shape: Ints) -> Tensor:
    """The same elements in ``shape``, one extent of which may be -1."""
    return as_traced(input).reshape(shape)


@function
def flatten(input: ArrayLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes ``start_dim`` to ``end_dim`` made one."""
    return as_traced(input).flatten(start_dim, end_dim)


@function
def permute(input: ArrayLike, dims: Ints) -> Tensor:
    """The axes in the order ``dims``."""
    return as_traced(input).permute(dims)


@function
def transpose(input: ArrayLike, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    return as_traced(input).transpose(dim0, dim1)


@function
def squeeze(input: ArrayLike, dim: Ints | None = None) -> Tensor:
    """Without the axes of extent 1, or without those of ``dim`` that have extent 1."""
    return as_traced(input).squeeze(dim)


@function
def unsqueeze(input: ArrayLike, dim: int) -> Tensor:
    """With a new axis of extent 1 at ``dim``."""
    return as_traced(input).unsqueeze(dim)


@function
def split(tensor: ArrayLike, split_size_or_sections: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of a size (the last may be smaller), or of the sizes in a list, along ``dim``."""
    return as_traced(tensor).split(split_size_or_sections, dim)


@function
def chunk(input: ArrayLike, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of equal extent (the last may be smaller) along ``dim``."""
    return as_traced(input).chunk(chunks, dim)


@function
def unbind(input: ArrayLike, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along ``dim``, without that axis."""
    return as_traced(input).unbind(dim)


def numel(input: Shaped) -> int:
    """The number of elements."""
    return math.prod(input.shape)


def is_tensor(obj: object) -> bool:
    """Whether ``obj`` is a tensor of a trace."""
    return isinstance(obj, Tensor)
