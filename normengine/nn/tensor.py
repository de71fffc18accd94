"""The tensor that a model's ``forward`` sees while it is traced: it has a shape and records what is done to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import shapes
from ..absent import missing
from ..graph import Value
from .arithmetic import Arithmetic
from .recorder import Recorder

_NO_VALUES = (
    "a traced tensor that depends on the input has no values: {} cannot work in forward(); decide by shapes and "
    "settings, or compute with tensor operations"
)


def _is_whole(other: Any) -> bool:
    """Whether arithmetic of an int64 tensor with it stays whole."""
    if isinstance(other, Tensor):
        return bool(other._value.dtype == "int64")
    return isinstance(other, (int, np.integer))


Number = float
"""``float``, which is also the name of a method here."""


class Tensor(Arithmetic):
    """One value of the graph being traced, with PyTorch's methods.

    Arithmetic takes tensors, parameters, Python numbers and NumPy arrays (which become constants) and broadcasts as
    NumPy does. In-place methods (``+=``, ``relu_()``) change the tensor for everyone who holds it, as in PyTorch, but
    not the tensors that it was viewed from.
    """

    __slots__ = ("_tracer", "_value")
    __array_ufunc__: Any = None
    __array_priority__ = 1000
    requires_grad = True
    device = "cpu"

    def __init__(self, tracer: Recorder[Tensor], value: Value) -> None:
        self._tracer = tracer
        self._value = value

    def __repr__(self) -> str:
        return f"Tensor(shape={self.shape}, dtype={self._value.dtype})"

    # what is known of it

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._value.dtype)

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return math.prod(self.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its extent along ``dim``."""
        return self.shape if dim is None else self.shape[shapes.axis_of(dim, self.ndim)]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Tensor' object has no attribute '{name}'")
        raise missing("an array", name)

    # what it has not: values

    def _values(self, what: str) -> np.ndarray:
        """Its values where they do not depend on the inputs: draws, parameters, buffers and what is made of them."""
        array = self._tracer.values(self)
        if array is None:
            raise TypeError(_NO_VALUES.format(what))
        return array

    def __bool__(self) -> bool:
        return bool(self._values("`if tensor` or bool(tensor)").item())

    def __float__(self) -> Number:
        return Number(self._values("float(tensor)").item())

    def __int__(self) -> int:
        return int(self._values("int(tensor)").item())

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.asarray(self._values("conversion to a NumPy array"), *args, **kwargs)

    def __lt__(self, other: Any) -> Any:
        return self._values("a comparison") < other

    def __le__(self, other: Any) -> Any:
        return self._values("a comparison") <= other

    def __gt__(self, other: Any) -> Any:
        return self._values("a comparison") > other

    def __ge__(self, other: Any) -> Any:
        return self._values("a comparison") >= other

    def item(self) -> Any:
        return self._values("tensor.item()").item()

    def numpy(self) -> np.ndarray:
        return self._values("tensor.numpy()")

    def tolist(self) -> Any:
        return self._values("tensor.tolist()").tolist()

    # arithmetic

    def _apply(self, op: str, *others: Tensor, **attrs: Any) -> Tensor:
        return self._tracer.add(op, self, *others, **attrs)

    def _binary(self, op: str, other: Any, swapped: bool = False) -> Any:
        this, operand = self, None
        if self._value.dtype == "int64" and op in ("add", "sub", "mul") and _is_whole(other):
            operand = other if isinstance(other, Tensor) else self._tracer.integer(int(other))
        else:
            this, operand = self.float(), self._tracer.operand(other)
        if operand is None:
            return NotImplemented
        operand = operand if this._value.dtype == "int64" else operand.float()
        left, right = (operand, this) if swapped else (this, operand)
        if op == "matmul":
            return left._matmul(right)
        return left._apply(op, right)

    def _matmul(self, other: Tensor) -> Tensor:
        if self.ndim < 2 or other.ndim != 2:
            raise self._tracer.error(
                f"matmul takes (..., I) times (I, O), got shapes {self.shape} and {other.shape}; reshape them first"
            )
        rows = self.reshape(-1, self.shape[-1])
        product = rows._apply("matmul", other, transpose_a=False, transpose_b=False)
        return product.reshape(*self.shape[:-1], other.shape[1])

    def _become(self, other: Tensor) -> Tensor:
        if other.shape != self.shape:
            raise self._tracer.error(f"an in-place operation cannot change shape {self.shape} to {other.shape}")
        self._value = other._value
        return self

    def __iadd__(self, other: Any) -> Tensor:
        return self._become(self + other)

    def __isub__(self, other: Any) -> Tensor:
        return self._become(self - other)

    def __imul__(self, other: Any) -> Tensor:
        return self._become(self * other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._become(self / other)

    add_, sub_, mul_, div_ = __iadd__, __isub__, __imul__, __itruediv__

    def floor_(self) -> Tensor:
        return self._become(self.floor())

    def bernoulli_(self, p: Any = 0.5) -> Tensor:
        """1 with probability ``p`` (a number, or a tensor that broadcasts), else 0, drawn anew in each step."""
        return self._become(self._tracer.bernoulli(self._tracer.real(p).expand(self.shape)))

    def uniform_(self, a: Number = 0.0, b: Number = 1.0) -> Tensor:
        """Draws from U(a, b), anew in each step."""
        return self._become(self._tracer.draw("random_uniform", self.shape) * (b - a) + a)

    def normal_(self, mean: Number = 0.0, std: Number = 1.0) -> Tensor:
        """Draws from N(mean, std^2), anew in each step."""
        return self._become(self._tracer.draw("random_normal", self.shape) * std + mean)

    def new_full(self, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """``fill_value`` everywhere, in a shape of its own."""
        return self._tracer.real(fill_value).expand(shapes.numbers((size,)))

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        return self.new_full(shapes.numbers(size), self._tracer.constant(0.0))

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        return self.new_full(shapes.numbers(size), self._tracer.constant(1.0))

    new_empty = new_zeros

    def add(self, other: Any, *, alpha: Number = 1) -> Tensor:
        return self + (other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: Number = 1) -> Tensor:
        return self - (other if alpha == 1 else other * alpha)

    def mul(self, other: Any) -> Tensor:
        return self * other

    def div(self, other: Any) -> Tensor:
        return self / other

    def matmul(self, other: Any) -> Tensor:
        return self @ other

    mm = matmul

    def __neg__(self) -> Tensor:
        return self._apply("neg")

    neg = __neg__

    def __pos__(self) -> Tensor:
        return self

    def __pow__(self, exponent: Any) -> Tensor:
        if not isinstance(exponent, (int, Number, np.number)):
            return NotImplemented
        if exponent < 0:
            return self._apply("rsqrt") if exponent == -0.5 else self._tracer.constant(1.0) / self**-exponent
        if exponent == 0.5:
            return self.sqrt()
        if exponent != int(exponent) or exponent > 64:
            raise self._tracer.error(f"x ** {exponent}: exponents are integers up to 64, 0.5 or -0.5")
        return self._power(int(exponent))

    def _power(self, exponent: int) -> Tensor:
        if exponent == 0:
            return self * self._tracer.constant(0.0) + self._tracer.constant(1.0)
        if exponent == 1:
            return self
        half = self._power(exponent // 2)
        return half * half * self if exponent % 2 else half * half

    def pow(self, exponent: Any) -> Tensor:
        return self**exponent

    def floor(self) -> Tensor:
        return self._apply("floor")

    def square(self) -> Tensor:
        return self * self

    def sqrt(self) -> Tensor:
        return self._apply("sqrt")

    def rsqrt(self) -> Tensor:
        return self._apply("rsqrt")

    def exp(self) -> Tensor:
        return self._apply("exp")

    def log(self) -> Tensor:
        return self._apply("log")

    def abs(self) -> Tensor:
        """|x| = relu(x) + relu(-x)."""
        return self.relu() + (-self).relu()

    __abs__ = abs

    def relu(self) -> Tensor:
        return self._apply("relu")

    def relu_(self) -> Tensor:
        return self._become(self.relu())

    def sigmoid(self) -> Tensor:
        return self._apply("sigmoid")

    def tanh(self) -> Tensor:
        return self._apply("tanh")

    def softmax(self, dim: int) -> Tensor:
        return self._apply("softmax", axis=shapes.axis_of(dim, self.ndim))

    def log_softmax(self, dim: int) -> Tensor:
        return self._apply("log_softmax", axis=shapes.axis_of(dim, self.ndim))

    # reductions

    def mean(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return self._apply("reduce_mean", axes=shapes.axes_of(dim, self.ndim), keepdims=bool(keepdim))

    def sum(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return self._apply("reduce_sum", axes=shapes.axes_of(dim, self.ndim), keepdims=bool(keepdim))

    # shapes

    def _reshaped(self, shape: tuple[int, ...]) -> Tensor:
        return self if shape == self.shape else self._apply("reshape", shape=shape)

    def reshape(self, *shape: Any) -> Tensor:
        return self._reshaped(shapes.resolve(self.shape, shapes.numbers(shape)))

    view = reshape

    def view_as(self, other: Tensor) -> Tensor:
        return self.view(other.shape)

    reshape_as = view_as

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        if not self.shape:
            return self._reshaped((1,))
        return self._reshaped(shapes.flattened(self.shape, start_dim, end_dim))

    def unflatten(self, dim: int, sizes: Any) -> Tensor:
        axis = shapes.axis_of(dim, self.ndim)
        parts = shapes.resolve((self.shape[axis],), shapes.numbers((tuple(sizes),)))
        return self._reshaped((*self.shape[:axis], *parts, *self.shape[axis + 1 :]))

    def squeeze(self, dim: Any = None) -> Tensor:
        axes = shapes.axes_of(dim, self.ndim)
        return self._reshaped(tuple(n for axis, n in enumerate(self.shape) if n != 1 or axis not in axes))

    def unsqueeze(self, dim: int) -> Tensor:
        axis = shapes.axis_of(dim, self.ndim + 1)
        return self._reshaped((*self.shape[:axis], 1, *self.shape[axis:]))

    def permute(self, *dims: Any) -> Tensor:
        given = shapes.numbers(dims)
        axes = tuple(shapes.axis_of(d, self.ndim) for d in given)
        if sorted(axes) != list(range(self.ndim)):
            raise ValueError(f"permute needs each of the {self.ndim} dims of shape {self.shape} once, got {given}")
        return self if axes == tuple(range(self.ndim)) else self._apply("permute", axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        axes = list(range(self.ndim))
        first, second = shapes.axis_of(dim0, self.ndim), shapes.axis_of(dim1, self.ndim)
        axes[first], axes[second] = axes[second], axes[first]
        return self.permute(axes)

    def t(self) -> Tensor:
        if self.ndim > 2:
            raise ValueError(f"t() takes a tensor of at most 2 dimensions, got shape {self.shape}")
        return self.permute(*reversed(range(self.ndim)))

    T = property(t)

    def expand(self, *sizes: Any) -> Tensor:
        shape = shapes.expanded(self.shape, shapes.numbers(sizes))
        return self if shape == self.shape else self._apply("expand", shape=shape)

    def expand_as(self, other: Tensor) -> Tensor:
        return self.expand(other.shape)

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, (Tensor, np.ndarray, list)):
            raise IndexError("a tensor is indexed by ints, slices, None and Ellipsis, not by arrays")
        chosen = shapes.select(index, self.shape)
        part = self
        if (chosen.starts, chosen.stops) != ((0,) * self.ndim, self.shape) or set(chosen.steps) - {1}:
            part = self._apply("slice", starts=chosen.starts, stops=chosen.stops, steps=chosen.steps)
        return part._reshaped(chosen.shape)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("parts of a traced tensor cannot be assigned; put the parts together with torch.cat")

    def _parts(self, extents: list[int], dim: int) -> tuple[Tensor, ...]:
        axis = shapes.axis_of(dim, self.ndim)
        before = (slice(None),) * axis
        return tuple(self[before + (slice(start, stop),)] for start, stop in shapes.ranges(extents))

    def split(self, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of ``split_size`` (the last may be smaller), or of the sizes in a list, along ``dim``."""
        return self._parts(shapes.split_extents(self.size(dim), split_size), dim)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most ``chunks`` parts of equal extent (the last may be smaller) along ``dim``."""
        if chunks < 1:
            raise ValueError(f"chunk needs a positive number of chunks, got {chunks}")
        return self.split(-(-self.size(dim) // chunks), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        axis = shapes.axis_of(dim, self.ndim)
        return tuple(part.squeeze(axis) for part in self.split(1, axis))

    # what changes nothing here

    def contiguous(self, *args: Any, **kwargs: Any) -> Tensor:
        return self

    cpu = contiguous

    def clone(self, *args: Any, **kwargs: Any) -> Tensor:
        return Tensor(self._tracer, self._value)

    def float(self) -> Tensor:
        return self if self._value.dtype == "float32" else self._apply("cast", dtype="float32")

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """This tensor; integers become float32 where that is asked for."""
        wanted = [a for a in (*args, *kwargs.values()) if not isinstance(a, (str, bool, Tensor))]
        if any(a is np.float32 or a is Number or a == np.dtype(np.float32) for a in wanted):
            return self.float()
        return self

    def type_as(self, other: Tensor) -> Tensor:
        return self.float() if other.dtype == np.float32 else self

    @property
    def data(self) -> Tensor:
        """As :meth:`detach`."""
        return self.detach()

    def detach(self) -> Tensor:
        """The same values, through which no gradient flows."""
        return self._tracer.detached(self)
