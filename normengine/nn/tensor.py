"""The tensor that a model's ``forward`` sees while it is traced: it has a shape and records what is done to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import shapes
from ..absent import missing
from ..graph import Value
from ..typing import DType, Ints
from .arithmetic import ArrayLike
from .recorder import Recorder
from .reductions import Reductions

_NO_VALUES = (
    "a traced tensor that depends on the input has no values: {} cannot work in forward(); decide by shapes and "
    "settings, or compute with tensor operations"
)


def _is_whole(other: ArrayLike) -> bool:
    """Whether arithmetic of an int64 tensor with it stays whole."""
    if isinstance(other, Tensor):
        return bool(other._value.dtype == "int64")
    return isinstance(other, (int, np.integer))


Number = float
"""``float``, which is also the name of a method here."""


class Tensor(Reductions["Tensor"]):
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
        """The extents."""
        return self._value.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's element type: float32, or int64 for labels and counts."""
        return np.dtype(self._value.dtype)

    def dim(self) -> int:
        """The number of dimensions."""
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
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

    def __array__(self, dtype: DType = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._values("conversion to a NumPy array"), dtype, copy=copy)

    def __lt__(self, other: Any) -> np.ndarray:
        return self._values("a comparison") < other

    def __le__(self, other: Any) -> np.ndarray:
        return self._values("a comparison") <= other

    def __gt__(self, other: Any) -> np.ndarray:
        return self._values("a comparison") > other

    def __ge__(self, other: Any) -> np.ndarray:
        return self._values("a comparison") >= other

    def item(self) -> Any:
        """The value of a tensor of one element, if it does not depend on the inputs."""
        return self._values("tensor.item()").item()

    def numpy(self) -> np.ndarray:
        """The values, if they do not depend on the inputs."""
        return self._values("tensor.numpy()")

    def tolist(self) -> Any:
        """The values as nested lists of numbers."""
        return self._values("tensor.tolist()").tolist()

    # arithmetic

    def _apply(self, op: str, *others: Tensor, **attrs: object) -> Tensor:
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
            return left._product(right)
        return left._apply(op, right)

    def _become(self, other: Tensor) -> Tensor:
        if other.shape != self.shape:
            raise self._tracer.error(f"an in-place operation cannot change shape {self.shape} to {other.shape}")
        self._value = other._value
        return self

    def __iadd__(self, other: ArrayLike) -> Tensor:
        """``self + other``, in place."""
        return self._become(self + other)

    def __isub__(self, other: ArrayLike) -> Tensor:
        """``self - other``, in place."""
        return self._become(self - other)

    def __imul__(self, other: ArrayLike) -> Tensor:
        """``self * other``, in place."""
        return self._become(self * other)

    def __itruediv__(self, other: ArrayLike) -> Tensor:
        """``self / other``, in place."""
        return self._become(self / other)

    add_, sub_, mul_, div_ = __iadd__, __isub__, __imul__, __itruediv__

    def floor_(self) -> Tensor:
        """``floor``, in place."""
        return self._become(self.floor())

    def bernoulli_(self, p: ArrayLike = 0.5) -> Tensor:
        """1 with probability ``p`` (a number, or a tensor that broadcasts), else 0, drawn anew in each step."""
        return self._become(self._tracer.bernoulli(self._tracer.real(p).expand(self.shape)))

    def uniform_(self, a: Number = 0.0, b: Number = 1.0) -> Tensor:
        """Draws from U(a, b), anew in each step."""
        return self._become(self._tracer.draw("random_uniform", self.shape) * (b - a) + a)

    def normal_(self, mean: Number = 0.0, std: Number = 1.0) -> Tensor:
        """Draws from N(mean, std^2), anew in each step."""
        return self._become(self._tracer.draw("random_normal", self.shape) * std + mean)

    def new_full(self, size: Ints, fill_value: ArrayLike, **options: object) -> Tensor:
        """``fill_value`` everywhere, in a shape of its own."""
        return self._tracer.real(fill_value).expand(shapes.numbers((size,)))

    def new_zeros(self, *size: Ints, **options: object) -> Tensor:
        """Zeros, float32, in a shape of its own."""
        return self.new_full(shapes.numbers(size), self._tracer.constant(0.0))

    def new_ones(self, *size: Ints, **options: object) -> Tensor:
        """Ones, float32, in a shape of its own."""
        return self.new_full(shapes.numbers(size), self._tracer.constant(1.0))

    new_empty = new_zeros

    def add(self, other: Any, *, alpha: Number = 1) -> Tensor:
        """``self + alpha * other``."""
        return self + (other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: Number = 1) -> Tensor:
        """``self - alpha * other``."""
        return self - (other if alpha == 1 else other * alpha)

    def mul(self, other: ArrayLike) -> Tensor:
        """``self * other``."""
        return self * other

    def div(self, other: ArrayLike) -> Tensor:
        """``self / other``."""
        return self / other

    def matmul(self, other: ArrayLike) -> Tensor:
        """``self @ other``: (..., M, K) times (..., K, N), whose leading axes broadcast; vectors are a row on the left,
        a column on the right."""
        return self @ other

    mm = bmm = matmul

    def __neg__(self) -> Tensor:
        """``-self``."""
        return self._apply("neg")

    neg = __neg__

    def __pos__(self) -> Tensor:
        return self

    def __pow__(self, exponent: ArrayLike) -> Tensor:
        if not isinstance(exponent, (int, Number, np.number)):
            return NotImplemented
        if exponent < 0:
            return self._apply("rsqrt") if exponent == -0.5 else self._tracer.constant(1.0) / self**-exponent
        if exponent == 0.5:
            return self.sqrt()
        if not math.isfinite(exponent):
            raise self._tracer.error(f"x ** {exponent}: the exponent must be a finite number")
        if exponent != int(exponent) or exponent > 64:
            return self._apply("pow", self._tracer.constant(float(exponent)))
        return self._power(int(exponent))

    def _power(self, exponent: int) -> Tensor:
        if exponent == 0:
            return self * self._tracer.constant(0.0) + self._tracer.constant(1.0)
        if exponent == 1:
            return self
        half = self._power(exponent // 2)
        return half * half * self if exponent % 2 else half * half

    def pow(self, exponent: ArrayLike) -> Tensor:
        """``self ** exponent`` for a number; NaN where the base is negative and the exponent no integer."""
        return self**exponent

    def floor(self) -> Tensor:
        """The largest integer that is not above the element."""
        return self._apply("floor")

    def square(self) -> Tensor:
        """``self * self``."""
        return self * self

    def sqrt(self) -> Tensor:
        """The square root."""
        return self._apply("sqrt")

    def rsqrt(self) -> Tensor:
        """1 / sqrt(x)."""
        return self._apply("rsqrt")

    def exp(self) -> Tensor:
        """e to the power of x."""
        return self._apply("exp")

    def log(self) -> Tensor:
        """The natural logarithm."""
        return self._apply("log")

    def abs(self) -> Tensor:
        """|x| = relu(x) + relu(-x)."""
        return self.relu() + (-self).relu()

    __abs__ = abs

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return self._apply("relu")

    def relu_(self) -> Tensor:
        """``relu``, in place."""
        return self._become(self.relu())

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return self._apply("sigmoid")

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return self._apply("tanh")

    def softmax(self, dim: int) -> Tensor:
        """exp(x) / sum(exp(x)) along ``dim``."""
        return self._apply("softmax", axis=shapes.axis_of(dim, self.ndim))

    def log_softmax(self, dim: int) -> Tensor:
        """x - log(sum(exp(x))) along ``dim``."""
        return self._apply("log_softmax", axis=shapes.axis_of(dim, self.ndim))

    # shapes

    def _reshaped(self, shape: tuple[int, ...]) -> Tensor:
        return self if shape == self.shape else self._apply("reshape", shape=shape)

    def reshape(self, *shape: Ints) -> Tensor:
        """The same elements in a shape, one extent of which may be -1."""
        return self._reshaped(shapes.resolve(self.shape, shapes.numbers(shape)))

    view = reshape

    def view_as(self, other: Tensor) -> Tensor:
        """The elements in the shape of ``other``."""
        return self.view(other.shape)

    reshape_as = view_as

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes ``start_dim`` to ``end_dim`` made one."""
        if not self.shape:
            return self._reshaped((1,))
        return self._reshaped(shapes.flattened(self.shape, start_dim, end_dim))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        """The axis ``dim`` split into axes of ``sizes``, one of which may be -1."""
        axis = shapes.axis_of(dim, self.ndim)
        parts = shapes.resolve((self.shape[axis],), shapes.numbers((tuple(sizes),)))
        return self._reshaped((*self.shape[:axis], *parts, *self.shape[axis + 1 :]))

    def squeeze(self, dim: Ints | None = None) -> Tensor:
        """Without the axes of extent 1, or without those of ``dim`` that have extent 1."""
        axes = shapes.axes_of(dim, self.ndim)
        return self._reshaped(tuple(n for axis, n in enumerate(self.shape) if n != 1 or axis not in axes))

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new axis of extent 1 at ``dim``."""
        axis = shapes.axis_of(dim, self.ndim + 1)
        return self._reshaped((*self.shape[:axis], 1, *self.shape[axis:]))

    def permute(self, *dims: Ints) -> Tensor:
        """The axes in the order ``dims``."""
        given = shapes.numbers(dims)
        axes = tuple(shapes.axis_of(d, self.ndim) for d in given)
        if sorted(axes) != list(range(self.ndim)):
            raise ValueError(f"permute needs each of the {self.ndim} dims of shape {self.shape} once, got {given}")
        return self if axes == tuple(range(self.ndim)) else self._apply("permute", axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes exchanged."""
        axes = list(range(self.ndim))
        first, second = shapes.axis_of(dim0, self.ndim), shapes.axis_of(dim1, self.ndim)
        axes[first], axes[second] = axes[second], axes[first]
        return self.permute(axes)

    def t(self) -> Tensor:
        """The transpose; a vector as it is."""
        if self.ndim > 2:
            raise ValueError(f"t() takes a tensor of at most 2 dimensions, got shape {self.shape}")
        return self.permute(*reversed(range(self.ndim)))

    T = property(t)

    def expand(self, *sizes: Ints) -> Tensor:
        """Repeated along axes of extent 1 until the shape is ``sizes``, where -1 keeps an extent."""
        shape = shapes.expanded(self.shape, shapes.numbers(sizes))
        return self if shape == self.shape else self._apply("expand", shape=shape)

    def expand_as(self, other: Tensor) -> Tensor:
        """Repeated along axes of extent 1 until the shape is that of ``other``."""
        return self.expand(other.shape)

    def __getitem__(self, index: object) -> Tensor:
        if isinstance(index, (Tensor, np.ndarray, list)):
            raise IndexError("a tensor is indexed by ints, slices, None and Ellipsis, not by arrays")
        chosen = shapes.select(index, self.shape)
        part = self
        if (chosen.starts, chosen.stops) != ((0,) * self.ndim, self.shape) or set(chosen.steps) - {1}:
            part = self._apply("slice", starts=chosen.starts, stops=chosen.stops, steps=chosen.steps)
        return part._reshaped(chosen.shape)

    def __setitem__(self, index: object, value: ArrayLike) -> None:
        raise TypeError("parts of a traced tensor cannot be assigned; put the parts together with torch.cat")

    def _parts(self, extents: list[int], dim: int) -> tuple[Tensor, ...]:
        axis = shapes.axis_of(dim, self.ndim)
        before = (slice(None),) * axis
        return tuple(self[before + (slice(start, stop),)] for start, stop in shapes.ranges(extents))

    def split(self, split_size: Ints, dim: int = 0) -> tuple[Tensor, ...]:
        """Parts of ``split_size`` (the last may be smaller), or of the sizes in a list, along ``dim``."""
        return self._parts(shapes.split_extents(self.size(dim), split_size), dim)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most ``chunks`` parts of equal extent (the last may be smaller) along ``dim``."""
        if chunks < 1:
            raise ValueError(f"chunk needs a positive number of chunks, got {chunks}")
        return self.split(-(-self.size(dim) // chunks), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices along ``dim``, without that axis."""
        axis = shapes.axis_of(dim, self.ndim)
        return tuple(part.squeeze(axis) for part in self.split(1, axis))

    # what changes nothing here

    def contiguous(self, *args: object, **kwargs: object) -> Tensor:
        """This tensor: the memory layout is the engine's own affair."""
        return self

    cpu = contiguous

    def clone(self, *args: object, **kwargs: object) -> Tensor:
        """Another tensor of the same value, which in-place methods change by itself."""
        return Tensor(self._tracer, self._value)

    def float(self) -> Tensor:
        """As float32."""
        return self if self._value.dtype == "float32" else self._apply("cast", dtype="float32")

    def to(self, *args: object, **kwargs: object) -> Tensor:
        """This tensor; integers become float32 where that is asked for."""
        wanted = [a for a in (*args, *kwargs.values()) if not isinstance(a, (str, bool, Tensor))]
        if any(a is np.float32 or a is Number or a == np.dtype(np.float32) for a in wanted):
            return self.float()
        return self

    def type_as(self, other: Tensor) -> Tensor:
        """As float32 where ``other`` is, else this tensor."""
        return self.float() if other.dtype == np.float32 else self

    @property
    def data(self) -> Tensor:
        """As :meth:`detach`."""
        return self.detach()

    def detach(self) -> Tensor:
        """The same values, through which no gradient flows."""
        return self._tracer.detached(self)
