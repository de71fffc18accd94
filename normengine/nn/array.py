"""NumPy arrays with the methods of PyTorch's tensors: what ported code works on outside of ``forward``."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import shapes
from ..absent import missing
from ..typing import DType, Ints, Shaped
from . import random
from .arithmetic import ArrayLike

Number = float
"""``float``, which is also the name of a method here."""


class Found(NamedTuple):
    """Values and where they are along an axis, as ``max(dim=1)`` and ``topk`` give them."""

    values: Array
    indices: Array


class Size(int):
    """The number of elements, as NumPy has it; called, the shape or an extent of it, as PyTorch has it."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        """The shape, or its extent along ``dim``."""
        return self.shape if dim is None else self.shape[shapes.axis_of(dim, len(self.shape))]


class Scalar(float):
    """A float with the methods of a tensor of one number."""

    __slots__ = ()
    shape: tuple[int, ...] = ()

    def __getattr__(self, name: str) -> Any:
        raise missing("an array", name)

    def item(self) -> Number:
        """The number as a plain float."""
        return Number(self)

    def detach(self) -> Scalar:
        """The number itself: it carries no gradient."""
        return self

    cpu = clone = detach

    def tolist(self) -> Number:
        """The number as a plain float."""
        return Number(self)

    def numpy(self) -> np.ndarray:
        """The number as an array of no dimensions, float32."""
        return np.asarray(Number(self), np.float32)


def _torch_names(options: dict[str, Any]) -> dict[str, Any]:
    """NumPy's names of options in place of PyTorch's."""
    names = {"dim": "axis", "keepdim": "keepdims"}
    return {names.get(name, name): tuple(v) if isinstance(v, list) else v for name, v in options.items()}


def _reduction(name: str) -> Callable[..., Any]:
    """A reduction that takes ``dim`` and ``keepdim`` as well as ``axis`` and ``keepdims``."""
    of_numpy = getattr(np.ndarray, name)

    def reduce(self: Array, *args: object, **options: object) -> Any:
        if len(args) > 1 and isinstance(args[1], bool):
            args, options = args[:1], {**options, "keepdims": args[1]}
        return of_numpy(self, *args, **_torch_names(options))

    reduce.__name__ = name
    reduce.__doc__ = f"NumPy's ``{name}``; ``dim`` and ``keepdim`` are other names of ``axis`` and ``keepdims``."
    return reduce


def _spread(name: str) -> Callable[..., Any]:
    """``var`` or ``std``, PyTorch's where it is asked for in its words."""
    of_numpy = getattr(np.ndarray, name)

    def reduce(self: Array, *args: object, **options: object) -> Any:
        if not options.keys() & {"dim", "unbiased", "correction", "keepdim"}:
            return of_numpy(self, *args, **options)
        correction = options.pop("correction", 1) if options.pop("unbiased", True) else 0
        return of_numpy(self, *args, ddof=correction, **_torch_names(options))

    reduce.__name__ = name
    reduce.__doc__ = (
        f"NumPy's ``{name}``, which divides by n; with one of PyTorch's options (``dim``, ``keepdim``, ``unbiased``, "
        "``correction``) PyTorch's, which divides by n - 1 unless they say otherwise."
    )
    return reduce


def _extreme(name: str) -> Callable[..., Any]:
    """``max`` or ``min``: the values and their places where PyTorch's ``dim`` is given."""
    of_numpy, places = getattr(np.ndarray, name), getattr(np.ndarray, f"arg{name}")

    def reduce(self: Array, *args: Any, **options: Any) -> Any:
        if "dim" not in options:
            return of_numpy(self, *args, **_torch_names(options))
        axis, kept = operator.index(options.pop("dim")), bool(options.pop("keepdim", False))
        return Found(of_numpy(self, axis=axis, keepdims=kept, **options), places(self, axis=axis, keepdims=kept))

    reduce.__name__ = name
    reduce.__doc__ = f"NumPy's ``{name}``; with ``dim`` PyTorch's, the values and their indices."
    return reduce


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(x)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    return 1 / x


def _elementwise(function: Callable[..., Any]) -> Callable[[Array], Array]:
    """A method that gives what ``function`` makes of each element."""

    def compute(self: Array) -> Array:
        return function(self)

    compute.__name__ = function.__name__.strip("_")
    compute.__doc__ = f"``{compute.__name__}`` of each element."
    return compute


def _in_place(name: str) -> Callable[..., Any]:
    """A method that writes what the method without the underscore gives."""

    def change(self: Array, *args: object, **options: object) -> Array:
        return self.copy_(getattr(self, name)(*args, **options))

    change.__name__ = f"{name}_"
    change.__doc__ = f"``{name}``, in place."
    return change


_bool = bool


class Array(np.ndarray):
    """A NumPy array with PyTorch's ordinary methods.

    What models give when they are called, parameters' ``data``, buffers, and what ``torch.zeros`` and its kin return
    are such arrays. Where NumPy has a method of the same name it is NumPy's; PyTorch's names of options (``dim``,
    ``keepdim``) may be used with it, and where these mean something else there, they do here: ``max(dim=1)`` gives
    values and indices, ``var(dim=1)`` divides by n - 1. ``size`` is the number of elements, ``size()`` the shape.
    """

    requires_grad = False
    grad = None

    def __getattr__(self, name: str) -> Any:
        raise missing("an array", name)

    device = "cpu"
    is_cuda = False

    @property
    def size(self) -> Size:
        """The number of elements; called, the shape or its extent along a dim."""
        size = Size(super().size)
        size.shape = self.shape
        return size

    @property
    def data(self) -> Any:
        """The array itself; assigning copies into it. (NumPy's buffer is ``memoryview(array)``.)"""
        return self

    @data.setter
    def data(self, value: ArrayLike) -> None:
        self[...] = np.asarray(value)

    # in place, as initialization and folding code writes

    def zero_(self) -> Array:
        """Overwrite all elements with 0."""
        return self.fill_(0.0)

    def fill_(self, value: ArrayLike) -> Array:
        """Overwrite all elements with ``value``."""
        self[...] = value
        return self

    def copy_(self, source: ArrayLike) -> Array:
        """Overwrite the elements with those of ``source``, which broadcasts."""
        self[...] = np.asarray(source)
        return self

    def normal_(self, mean: Number = 0.0, std: Number = 1.0) -> Array:
        """Overwrite the elements with draws from N(mean, std^2), from the generator of ``manual_seed``."""
        return self.copy_(random.generator().normal(mean, std, self.shape))

    def uniform_(self, a: Number = 0.0, b: Number = 1.0) -> Array:
        """Overwrite the elements with draws from U(a, b), from the generator of ``manual_seed``."""
        return self.copy_(random.generator().uniform(a, b, self.shape))

    def bernoulli_(self, p: ArrayLike = 0.5) -> Array:
        """1 with probability ``p``, else 0."""
        return self.copy_(random.generator().random(self.shape) < np.asarray(p))

    def masked_fill(self, mask: ArrayLike, value: ArrayLike) -> Array:
        """The elements, those where ``mask`` holds replaced by ``value``."""
        return np.where(np.asarray(mask, bool), np.asarray(value, self.dtype), self).view(Array)

    def scatter_(self, dim: int, index: npt.ArrayLike, src: npt.ArrayLike) -> Array:
        """``self[..., index[..., i], ...] = src[..., i]`` along ``dim``."""
        values = src if np.ndim(src) == 0 else np.asarray(src)[tuple(slice(n) for n in np.shape(index))]
        np.put_along_axis(self, np.asarray(index), values, dim)
        return self

    # arithmetic by name

    def add(self, other: ArrayLike, *, alpha: ArrayLike = 1) -> Array:
        """``self + alpha * other``."""
        return operator.add(self, other if alpha == 1 else alpha * np.asarray(other))

    def sub(self, other: ArrayLike, *, alpha: ArrayLike = 1) -> Array:
        """``self - alpha * other``."""
        return operator.sub(self, other if alpha == 1 else alpha * np.asarray(other))

    def mul(self, other: ArrayLike) -> Array:
        """``self * other``."""
        return operator.mul(self, other)

    def div(self, other: ArrayLike) -> Array:
        """``self / other``."""
        return operator.truediv(self, other)

    def lerp(self, end: ArrayLike, weight: ArrayLike) -> Any:
        """``self + weight * (end - self)``."""
        return self + weight * (np.asarray(end) - self)

    def addcmul(self, first: ArrayLike, second: ArrayLike, *, value: ArrayLike = 1) -> Array:
        """``self + value * first * second``."""
        return self + value * np.asarray(first) * np.asarray(second)

    def addcdiv(self, first: ArrayLike, second: ArrayLike, *, value: ArrayLike = 1) -> Array:
        """``self + value * first / second``."""
        return self + value * np.asarray(first) / np.asarray(second)

    def clamp(self, min: npt.ArrayLike | None = None, max: npt.ArrayLike | None = None) -> Any:
        """The elements, none below ``min`` or above ``max``."""
        return np.clip(self, min, max)

    def pow(self, exponent: ArrayLike) -> Array:
        """``self ** exponent``."""
        return operator.pow(self, exponent)

    sqrt, square, exp, log, abs = (_elementwise(f) for f in (np.sqrt, np.square, np.exp, np.log, np.abs))
    neg, floor, sign = (_elementwise(f) for f in (np.negative, np.floor, np.sign))
    rsqrt, reciprocal = _elementwise(_rsqrt), _elementwise(_reciprocal)

    def matmul(self, other: ArrayLike) -> Array:
        """``self @ other``."""
        return operator.matmul(self, other)

    mm = bmm = matmul

    def eq(self, other: ArrayLike) -> Array:
        """Where the elements are equal."""
        return self == other

    def ne(self, other: ArrayLike) -> Array:
        """Where the elements differ."""
        return self != other

    def lt(self, other: Any) -> Array:
        """Where the elements are less."""
        return operator.lt(self, other)

    def le(self, other: Any) -> Array:
        """Where the elements are less or equal."""
        return operator.le(self, other)

    def gt(self, other: Any) -> Array:
        """Where the elements are greater."""
        return operator.gt(self, other)

    def ge(self, other: Any) -> Array:
        """Where the elements are greater or equal."""
        return operator.ge(self, other)

    def norm(self, p: Number | str = 2, dim: Ints | None = None, keepdim: bool = False) -> Array:
        """``sum(|x|^p)^(1/p)`` over ``dim``, or over all elements."""
        axis = tuple(range(self.ndim)) if dim is None else tuple(dim) if isinstance(dim, list) else dim
        size = np.abs(np.asarray(self))
        if p in (math.inf, "inf"):
            return size.max(axis=axis, keepdims=keepdim).view(Array)
        power = 2.0 if p == "fro" else Number(p)
        return np.asarray((size**power).sum(axis=axis, keepdims=keepdim) ** (1 / power)).view(Array)

    add_, sub_, mul_, div_, lerp_ = (_in_place(name) for name in ("add", "sub", "mul", "div", "lerp"))
    addcmul_, addcdiv_, clamp_, pow_ = (_in_place(name) for name in ("addcmul", "addcdiv", "clamp", "pow"))
    sqrt_, rsqrt_, exp_, log_, abs_ = (_in_place(name) for name in ("sqrt", "rsqrt", "exp", "log", "abs"))
    neg_, floor_, masked_fill_ = (_in_place(name) for name in ("neg", "floor", "masked_fill"))

    # reductions and places

    sum, mean, prod, any, all = (_reduction(name) for name in ("sum", "mean", "prod", "any", "all"))
    cumsum, argmax, argmin = (_reduction(name) for name in ("cumsum", "argmax", "argmin"))
    var, std = _spread("var"), _spread("std")
    max, min = _extreme("max"), _extreme("min")
    amax, amin = _reduction("max"), _reduction("min")

    def logsumexp(self, dim: Ints, keepdim: bool = False) -> Array:
        """log(sum(exp(x))) over ``dim``."""
        axes = shapes.axes_of(dim, self.ndim)
        kept = np.asarray(np.logaddexp.reduce(np.asarray(self), axis=axes, keepdims=True))
        return (kept if keepdim else kept.squeeze(axes)).view(Array)

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Found:
        """The ``k`` largest (or smallest) along ``dim``, in order, and where they are."""
        order = np.argsort(-self if largest else self, axis=dim, kind="stable")
        indices = np.asarray(np.take(order, range(k), axis=dim)).view(Array)
        return Found(self.gather(dim, indices), indices)

    def gather(self, dim: int, index: ArrayLike) -> Any:
        """``self[..., index[..., i], ...]`` along ``dim``."""
        return np.take_along_axis(self, np.asarray(index), dim)

    def index_select(self, dim: int, index: ArrayLike) -> Any:
        """The slices along ``dim`` that ``index`` names."""
        return np.take(self, np.asarray(index), axis=dim)

    # shapes

    def view(self, *args: object, **kwargs: object) -> Any:
        """The elements in the shape that the ints give, one of which may be -1; with a dtype or type, NumPy's view."""
        if args and isinstance(args[0], (int, np.integer, tuple, list)):
            return self.reshape(shapes.numbers(args))
        return super().view(*args, **kwargs)

    def view_as(self, other: Shaped) -> Any:
        """The elements in the shape of ``other``."""
        return self.reshape(other.shape)

    reshape_as = view_as

    def dim(self) -> int:
        """The number of dimensions."""
        return self.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return int(super().size)

    nelement = numel

    def squeeze(self, *args: Any, **options: Any) -> Any:
        """NumPy's ``squeeze``; of ``dim`` the axes that have extent 1."""
        if "dim" in options:
            axes = shapes.axes_of(options["dim"], self.ndim)
            return super().squeeze(tuple(axis for axis in axes if self.shape[axis] == 1))
        return super().squeeze(*args, **options)

    def unsqueeze(self, dim: int) -> Array:
        """With a new axis of extent 1 at ``dim``."""
        return np.expand_dims(self, operator.index(dim)).view(Array)

    def flatten(self, *args: Any, **options: Any) -> Any:
        """NumPy's ``flatten``; with ``start_dim`` and ``end_dim`` (ints) PyTorch's."""
        if options.keys() & {"start_dim", "end_dim"} or (args and not isinstance(args[0], str)):
            bounds = dict(zip(("start_dim", "end_dim"), args, strict=False))
            return self.reshape(shapes.flattened(self.shape, **{"start_dim": 0, "end_dim": -1, **bounds, **options}))
        return super().flatten(*args, **options)

    def t(self) -> Array:
        """The transpose; a vector as it is."""
        return self.T

    def permute(self, *dims: Ints) -> Array:
        """The axes in the order ``dims``."""
        return self.transpose(shapes.numbers(dims))

    def expand(self, *sizes: Ints) -> Array:
        """Repeated along axes of extent 1 until the shape is ``sizes``, where -1 keeps an extent."""
        return np.broadcast_to(self, shapes.expanded(self.shape, shapes.numbers(sizes))).view(Array)

    def expand_as(self, other: Shaped) -> Array:
        """Repeated along axes of extent 1 until the shape is that of ``other``."""
        return self.expand(*other.shape)

    def repeat(self, *sizes: Any, **options: Any) -> Any:
        """NumPy's ``repeat``; with a size for each axis, of which there are two or more, PyTorch's: the array tiled."""
        if not options and len(sizes) > 1 and len(sizes) >= self.ndim:
            return np.tile(np.asarray(self), sizes).view(Array)
        return super().repeat(*sizes, **options)

    # types and places

    def float(self) -> Array:
        """As float32."""
        return self.astype(np.float32).view(Array)

    def long(self) -> Array:
        """As int64."""
        return self.astype(np.int64).view(Array)

    def int(self) -> Array:
        """As int32."""
        return self.astype(np.int32).view(Array)

    def bool(self) -> Array:
        """Where the elements are not 0."""
        return self.astype(np.bool_).view(Array)

    def type_as(self, other: Shaped) -> Array:
        """In the dtype of ``other``."""
        return self.astype(other.dtype).view(Array)

    def to(self, *args: Any, **options: Any) -> Array:
        """The array, in the dtype that is asked for; everything is on the CPU."""
        for wanted in (*args, *options.values()):
            if not isinstance(wanted, (str, _bool)) and wanted is not None and _is_dtype(wanted):
                return self.astype(wanted).view(Array)
        return self

    def numpy(self) -> np.ndarray:
        """The same memory as a plain NumPy array."""
        return np.asarray(self)

    def clone(self) -> Array:
        """A copy."""
        return self.copy()

    def new_zeros(self, *size: Ints, dtype: DType = None, **options: object) -> Array:
        """Zeros of a shape, in the dtype of this array."""
        return np.zeros(shapes.numbers(size), dtype or self.dtype).view(Array)

    def new_ones(self, *size: Ints, dtype: DType = None, **options: object) -> Array:
        """Ones of a shape, in the dtype of this array."""
        return np.ones(shapes.numbers(size), dtype or self.dtype).view(Array)

    def new_full(self, size: Ints, fill_value: ArrayLike, dtype: DType = None, **options: object) -> Array:
        """``fill_value`` everywhere in a shape, in the dtype of this array."""
        return np.full(shapes.numbers((size,)), fill_value, dtype or self.dtype).view(Array)

    def requires_grad_(self, requires_grad: _bool = True) -> Array:
        """Nothing: arrays carry no gradients; what is trained is an ``nn.Parameter``."""
        return self

    def detach(self) -> Array:
        """The array itself: it carries no gradient."""
        return self

    cpu = contiguous = detach
    new_empty = new_zeros


def _is_dtype(wanted: Any) -> bool:
    try:
        np.dtype(wanted)
    except TypeError:
        return False
    return True
