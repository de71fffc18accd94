"""What tensors do along axes: sums and extremes, where they are, spreads and norms."""

from __future__ import annotations

import math
from typing import Generic, NamedTuple, TypeVar, cast

from .. import shapes
from ..ops.matmul import Shaped, product
from ..settings import LARGEST, finite
from ..typing import Ints
from .arithmetic import Arithmetic, ArrayLike
from .recorder import Recorder

R = TypeVar("R", bound=Shaped)


class Found(NamedTuple, Generic[R]):
    """Values and where they are along an axis, int64."""

    values: R
    indices: R


class Reductions(Arithmetic[R]):
    """PyTorch's reductions of tensors ``R``. ``dim`` is an axis or several, all where none is given; ``keepdim`` keeps
    them with extent 1."""

    __slots__ = ()
    _tracer: Recorder[R]

    def _this(self) -> R:
        return cast("R", self)

    def _axes(self, dim: Ints | None) -> tuple[int, ...]:
        return shapes.axes_of(None if dim == () else dim, len(self._this().shape))

    def _axis(self, dim: int) -> int:
        return shapes.axis_of(dim, len(self._this().shape))

    def _reduced(self, op: str, x: R, dim: Ints | None, keepdim: bool) -> R:
        return self._tracer.add(op, x, axes=self._axes(dim), keepdims=bool(keepdim))

    def _product(self, other: R) -> R:
        return product(self._tracer.add, self._this(), other)

    def mean(self, dim: Ints | None = None, keepdim: bool = False) -> R:
        """The mean over ``dim`` (an int or several), or over all axes."""
        return self._reduced("reduce_mean", self._this(), dim, keepdim)

    def sum(self, dim: Ints | None = None, keepdim: bool = False) -> R:
        """The sum over ``dim`` (an int or several), or over all axes."""
        return self._reduced("reduce_sum", self._this(), dim, keepdim)

    def prod(self, dim: Ints | None = None, keepdim: bool = False) -> R:
        """The product over ``dim``, or over all axes."""
        return self._reduced("reduce_prod", self._this(), dim, keepdim)

    def amax(self, dim: Ints | None = None, keepdim: bool = False) -> R:
        """The largest element over ``dim``, or over all axes; equal ones share its gradient."""
        return self._reduced("reduce_max", self._this(), dim, keepdim)

    def amin(self, dim: Ints | None = None, keepdim: bool = False) -> R:
        """The smallest element over ``dim``, or over all axes; equal ones share its gradient."""
        add = self._tracer.add
        return add("neg", self._reduced("reduce_max", add("neg", self._this()), dim, keepdim))

    def max(self, dim: int | ArrayLike | None = None, keepdim: bool = False) -> R | Found[R]:
        """The largest element; with ``dim`` those along it and where they are, the first of equal ones; with a tensor
        the larger of two elements."""
        return self.amax() if dim is None else self._extreme("maximum", False, dim, keepdim)

    def min(self, dim: int | ArrayLike | None = None, keepdim: bool = False) -> R | Found[R]:
        """The smallest element; with ``dim`` those along it and where they are, the first of equal ones; with a tensor
        the smaller of two elements."""
        return self.amin() if dim is None else self._extreme("minimum", True, dim, keepdim)

    def _extreme(self, of_two: str, least: bool, dim: int | ArrayLike, keepdim: bool) -> R | Found[R]:
        if not isinstance(dim, int):
            return self._tracer.add(of_two, self._this(), self._tracer.real(dim))
        add, axis, places = self._tracer.add, self._axis(dim), self._places(least, dim, True)
        found = Found(add("gather_elements", self._this(), places, axis=axis), places)
        if keepdim:
            return found
        shape = (*places.shape[:axis], *places.shape[axis + 1 :])
        return Found(*(add("reshape", part, shape=shape) for part in found))

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> R:
        """Where the largest element is along ``dim``, or among all; int64, the first of equal ones."""
        return self._places(False, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> R:
        """Where the smallest element is along ``dim``, or among all; int64, the first of equal ones."""
        return self._places(True, dim, keepdim)

    def _places(self, least: bool, dim: int | None, keepdim: bool) -> R:
        add, x = self._tracer.add, self._this()
        x = add("neg", x) if least else x
        if dim is not None:
            return add("argmax", x, axis=self._axis(dim), keepdims=bool(keepdim), last=False)
        place = add("argmax", add("reshape", x, shape=(-1,)), axis=0, keepdims=False, last=False)
        return add("reshape", place, shape=(1,) * len(x.shape)) if keepdim else place

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Found[R]:
        """The ``k`` largest (or smallest) along ``dim``, in order, and where they are."""
        axis = self._axis(dim)
        return Found(*self._tracer.add_multi("topk", self._this(), axis=axis, k=int(k), largest=bool(largest)))

    def gather(self, dim: int, index: ArrayLike) -> R:
        """``self[..., index[..., i], ...]`` along ``dim``; an index beyond the axis means its last element, or its
        first."""
        return self._tracer.add("gather_elements", self._this(), self._tracer.tensor(index), axis=self._axis(dim))

    def index_select(self, dim: int, index: ArrayLike) -> R:
        """The slices along ``dim`` that ``index``, a vector, names; an index beyond the axis means its last slice, or
        its first."""
        return self._tracer.add("gather", self._this(), self._tracer.tensor(index), axis=self._axis(dim))

    def var(
        self, dim: Ints | None = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
    ) -> R:
        """The variance over ``dim``, or over all axes: squares of what is centered, divided by n - ``correction``: 1,
        or 0 where it is not ``unbiased``."""
        if isinstance(dim, bool):
            return self.var(None, dim, keepdim, correction=correction)
        axes, x, add = self._axes(dim), self._this(), self._tracer.add
        count = math.prod(x.shape[axis] for axis in axes) - (int(unbiased) if correction is None else correction)
        if count < 1:
            raise self._tracer.error(f"var over dims {axes} of shape {x.shape} divides by {count}; give a correction")
        centered = add("sub", x, self.mean(axes, keepdim=True))
        squares = self._reduced("reduce_sum", add("mul", centered, centered), axes, keepdim)
        return add("mul", squares, self._tracer.constant(1 / count))

    def std(
        self, dim: Ints | None = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
    ) -> R:
        """The square root of :meth:`var`."""
        return self._tracer.add("sqrt", self.var(dim, unbiased, keepdim, correction=correction))

    def logsumexp(self, dim: Ints, keepdim: bool = False) -> R:
        """log(sum(exp(x))) over ``dim``, where nothing overflows."""
        add, constant, x = self._tracer.add, self._tracer.constant, self._this()
        top = self._tracer.detached(self.amax(dim, keepdim=True))
        infinite = add("greater", add("abs", top), constant(LARGEST))
        top = add("where", infinite, constant(0.0), top)
        total = self._reduced("reduce_sum", add("exp", add("sub", x, top)), dim, keepdim)
        return add("add", add("log", total), add("reshape", top, shape=total.shape))

    def norm(self, p: float | str | None = "fro", dim: Ints | None = None, keepdim: bool = False) -> R:
        """``sum(|x|^p)^(1/p)`` over ``dim``, or over all elements; ``"fro"`` is 2, infinity gives the largest |x|. Its
        gradient is 0 where all elements are."""
        add, constant, x = self._tracer.add, self._tracer.constant, self._this()
        power = 2.0 if p in ("fro", None) else float(cast("float", p))
        if math.isinf(power):
            size = add("abs", x) if power > 0 else add("neg", add("abs", x))
            most = self._reduced("reduce_max", size, dim, keepdim)
            return most if power > 0 else add("neg", most)
        if finite(power, "norm: p", low=0) == 0:
            raise ValueError("norm: p must not be 0; count what is not 0 instead")
        total = self._reduced("reduce_sum", self._raised(add("abs", x), power), dim, keepdim)
        some = add("greater", total, constant(0.0))
        root = self._raised(add("where", some, total, constant(1.0)), 1 / power)
        return add("where", some, root, constant(0.0))

    def _raised(self, x: R, exponent: float) -> R:
        """``x ** exponent`` of what is not negative."""
        add = self._tracer.add
        if exponent == 1:
            return x
        if exponent in (0.5, 2):
            return add("sqrt", x) if exponent == 0.5 else add("mul", x, x)
        return add("exp", add("mul", add("log", x), self._tracer.constant(exponent)))
