"""Parameters: arrays that training changes in place."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..conversion import converted
from ..shapes import numbers
from ..typing import DType, Ints
from .arithmetic import Arithmetic, ArrayLike
from .array import Array
from .context import current
from .memory import side_by_side
from .tensor import Tensor

__all__ = ["Parameter"]

_PYTHON = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "matmul": operator.matmul,
}
_UFUNCS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.matmul: operator.matmul,
}


if TYPE_CHECKING:
    _Base = Tensor
else:
    _Base = Arithmetic


class Parameter(_Base):
    """A float32 array that training changes, in place: ``data`` stays the same object.

    Inside ``forward`` it behaves as a tensor, elsewhere its methods and operators are those of its NumPy array. Two
    parameters are equal only if they are one; a parameter that two modules hold is trained once. Those that are made
    one after the other lie side by side in memory, at multiples of 64 bytes.
    """

    __array_priority__ = 1000
    device = "cpu"
    grad = None

    def __init__(self, data: ArrayLike, requires_grad: bool = True) -> None:
        array = np.asarray(data)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"Parameter: data must be numbers, got an array of {array.dtype}")
        self._data = side_by_side(converted(array, np.float32, "Parameter: data")).view(Array)
        self.requires_grad = bool(requires_grad)

    @property
    def data(self) -> Any:
        """The array itself; assigning copies into it where the shape is the same. In ``forward`` a tensor through which
        no gradient flows."""
        tracer = current()
        return self._data if tracer is None else tracer.tensor(self).detach()

    @data.setter
    def data(self, value: ArrayLike) -> None:
        array = converted(np.asarray(value), np.float32, "Parameter: data")
        if array.shape == self._data.shape:
            self._data[...] = array
        else:
            self._data = side_by_side(array).view(Array)

    def __repr__(self) -> str:
        frozen = "" if self.requires_grad else ", requires_grad=False"
        return f"Parameter({np.array2string(self.numpy(), separator=', ')}{frozen})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return self._data.dtype

    def dim(self) -> int:
        """The number of dimensions."""
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
        return int(self._data.size)

    nelement = numel

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its extent along ``dim``."""
        return self.shape if dim is None else self.shape[dim]

    def numpy(self) -> np.ndarray:
        """The values as a plain NumPy array that shares this parameter's memory."""
        tracer = current()
        if tracer is not None:
            tracer.looked = True
        return self._data.view(np.ndarray)

    def __array__(self, dtype: DType = None, copy: bool | None = None) -> np.ndarray:
        if dtype is None or dtype == np.float32:
            return self.numpy().copy() if copy else self.numpy()
        return self.numpy().astype(dtype)

    def item(self) -> float:
        """The value of a parameter of one element."""
        return float(self.numpy().item())

    __float__ = item

    def tolist(self) -> Any:
        """The values as nested lists of numbers."""
        return self.numpy().tolist()

    def __len__(self) -> int:
        return len(self._data)

    def copy_(self, source: ArrayLike) -> Parameter:
        """Overwrite the values in place."""
        self._written("copy_")[...] = np.asarray(source)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Set whether the parameter is trained."""
        self.requires_grad = bool(requires_grad)
        return self

    def detach(self) -> Tensor:
        """In ``forward`` a tensor through which no gradient flows, elsewhere the parameter."""
        tracer = current()
        return tracer.tensor(self).detach() if tracer else self

    def cpu(self, *args: object, **kwargs: object) -> Tensor:
        """The parameter: everything is on the CPU."""
        return self

    contiguous = cpu

    def view(self, *shape: Ints) -> Any:
        """The elements in a shape, one extent of which may be -1."""
        tracer = current()
        return tracer.tensor(self).view(*shape) if tracer else self._data.reshape(numbers(shape))

    def clone(self, *args: object, **kwargs: object) -> Any:
        """A copy of the array; in ``forward`` a tensor."""
        tracer = current()
        return tracer.tensor(self) if tracer else self._data.copy()

    def _binary(self, op: str, other: ArrayLike, swapped: bool = False) -> Tensor:
        tracer = current()
        if tracer:
            return tracer.tensor(self)._binary(op, other, swapped)
        if isinstance(other, Tensor):
            return NotImplemented
        left, right = self._data, other._data if isinstance(other, Parameter) else other
        return _PYTHON[op](right, left) if swapped else _PYTHON[op](left, right)

    def _change(self, op: str, other: ArrayLike) -> Parameter:
        """An operator in place: outside of ``forward``, where it changes the array."""
        data = self._written(f"{op} in place")
        data[...] = _PYTHON[op](data, other._data if isinstance(other, Parameter) else other)
        return self

    def _written(self, what: str) -> Array:
        """The array, to be changed by ``what``."""
        tracer = current()
        if tracer is not None:
            raise tracer.error(
                f"{what}: forward() changes no parameter; compute a new tensor, or keep what changes in a buffer "
                "(register_buffer) and assign it"
            )
        return self._data

    def __iadd__(self, other: ArrayLike) -> Parameter:
        return self._change("add", other)

    def __isub__(self, other: ArrayLike) -> Parameter:
        return self._change("sub", other)

    def __imul__(self, other: ArrayLike) -> Parameter:
        return self._change("mul", other)

    def __itruediv__(self, other: ArrayLike) -> Parameter:
        return self._change("div", other)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._written("assignment to a part")[index] = value._data if isinstance(value, Parameter) else value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **kwargs: object) -> Any:
        tracer = current()
        if tracer is None:
            arrays = [x._data if isinstance(x, Parameter) else x for x in inputs]
            return getattr(ufunc, method)(*arrays, **kwargs)
        if method != "__call__" or ufunc not in _UFUNCS or kwargs:
            return NotImplemented
        return _UFUNCS[ufunc](*(tracer.operand(x) for x in inputs))

    def __neg__(self) -> Tensor:
        return 0.0 - self

    def __pow__(self, exponent: ArrayLike) -> Tensor:
        return self._here() ** exponent

    def __abs__(self) -> Tensor:
        return abs(self._here())

    def __getitem__(self, index: object) -> Tensor:
        return self._here()[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Parameter' object has no attribute '{name}'")
        if name.endswith("_") and hasattr(Array, name):
            return partial(self._call_in_place, name)
        return getattr(self._here(), name)

    def _call_in_place(self, name: str, *args: object, **options: object) -> Parameter:
        getattr(self._written(name), name)(*args, **options)
        return self

    def _here(self) -> Any:
        """The tensor in a trace, the array outside."""
        tracer = current()
        return tracer.tensor(self) if tracer else self._data
