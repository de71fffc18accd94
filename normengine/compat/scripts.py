"""What training scripts call beside their model: devices, switches of gradients, and functions of arrays."""

from __future__ import annotations

import builtins
from types import SimpleNamespace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ..nn.arithmetic import ArrayLike
from ..nn.array import Array, Found
from ..nn.context import current
from ..nn.module import check_placement
from ..nn.reductions import Found as FoundInForward
from ..nn.tensor import Tensor
from ..nn.trace import enable_grad as enable_grad
from ..nn.trace import inference_mode as inference_mode
from ..nn.trace import is_grad_enabled as is_grad_enabled
from ..nn.trace import set_grad_enabled as set_grad_enabled
from ..typing import Device, DType, Ints

T = TypeVar("T")
Extreme: TypeAlias = Array | Tensor | Found | FoundInForward[Tensor]
"""One element or one of each row, or these and where they are."""
float, long, bool = np.float32, np.int64, np.bool_


class device(str):
    """The CPU, which is all there is: ``device("cpu")``, which equals ``"cpu"``. Raises ValueError for others."""

    type = "cpu"

    def __new__(cls, type: object = "cpu", index: int | None = None) -> device:
        """``"cpu"``, whatever the index."""
        name = str(type)
        if name.partition(":")[0] != "cpu":
            check_placement(name)
        return super().__new__(cls, "cpu")

    def __repr__(self) -> str:
        return "device(type='cpu')"


def Variable(data: T, requires_grad: builtins.bool = False, volatile: builtins.bool = False) -> T:
    """``data`` as it is: tensors and variables are one."""
    return data


backends = SimpleNamespace(cudnn=SimpleNamespace(benchmark=False, deterministic=True, enabled=False))
"""What scripts set for GPUs; nothing reads it."""
autograd = SimpleNamespace(Variable=Variable)


def _either(input: ArrayLike) -> Array | Tensor:
    """A tensor in ``forward``, an array elsewhere."""
    tracer = current()
    return np.asarray(input).view(Array) if tracer is None else tracer.tensor(input)


def _array(input: ArrayLike, what: str) -> Array:
    if current() is not None:
        raise TypeError(
            f"{what} works on arrays, not in forward(): a network of this package has no such operator; "
            "call it on what the model returns"
        )
    return np.asarray(input).view(Array)


def max(input: ArrayLike, dim: Ints | ArrayLike | None = None, keepdim: builtins.bool = False) -> Extreme:
    """The largest element; with ``dim`` the largest along it and where they are; with a tensor the larger of two
    elements."""
    return _extreme(_either(input), "max", dim, keepdim)


def min(input: ArrayLike, dim: Ints | ArrayLike | None = None, keepdim: builtins.bool = False) -> Extreme:
    """The smallest element; with ``dim`` the smallest along it and where they are; with a tensor the smaller of two
    elements."""
    return _extreme(_either(input), "min", dim, keepdim)


def _extreme(x: Array | Tensor, name: str, dim: Ints | ArrayLike | None, keepdim: builtins.bool) -> Extreme:
    if isinstance(x, Array) and not (dim is None or isinstance(dim, (int, np.integer))):
        return (np.maximum if name == "max" else np.minimum)(x, np.asarray(dim)).view(Array)
    of_x = getattr(x, name)
    found: Extreme = of_x() if dim is None else of_x(dim=dim, keepdim=keepdim)
    return found


def argmax(input: ArrayLike, dim: int | None = None, keepdim: builtins.bool = False) -> Array | Tensor:
    """Where the largest element of an array is, or those along ``dim`` are."""
    found: Array | Tensor = _either(input).argmax(dim=dim, keepdim=keepdim)
    return found


def argmin(input: ArrayLike, dim: int | None = None, keepdim: builtins.bool = False) -> Array | Tensor:
    """Where the smallest element of an array is, or those along ``dim`` are."""
    found: Array | Tensor = _either(input).argmin(dim=dim, keepdim=keepdim)
    return found


def topk(
    input: ArrayLike, k: int, dim: int = -1, largest: builtins.bool = True, sorted: builtins.bool = True
) -> Found | FoundInForward[Tensor]:
    """The ``k`` largest (or smallest) along ``dim``, in order, and where they are."""
    found: Found | FoundInForward[Tensor] = _either(input).topk(k, dim, largest)
    return found


def eq(input: ArrayLike, other: ArrayLike) -> Array:
    """Where two arrays are equal."""
    return _array(input, "eq") == other


def where(condition: ArrayLike, input: Any = None, other: Any = None) -> Any:
    """``input`` where ``condition`` holds, else ``other``; the places where it holds if neither is given."""
    holds = _array(condition, "where")
    return np.nonzero(holds) if input is None else np.where(holds, input, other).view(Array)


def clamp(input: ArrayLike, min: npt.ArrayLike | None = None, max: npt.ArrayLike | None = None) -> Array:
    """The elements of an array, none below ``min`` or above ``max``."""
    return _array(input, "clamp").clamp(min, max)


def norm(
    input: ArrayLike, p: builtins.float | str = 2, dim: Ints | None = None, keepdim: builtins.bool = False
) -> Array | Tensor:
    """``sum(|x|^p)^(1/p)``."""
    found: Array | Tensor = _either(input).norm(p, dim, keepdim)
    return found


def eye(n: int, m: int | None = None, *, dtype: DType = None, device: Device = None) -> Array:
    """Ones on the diagonal of zeros, float32."""
    check_placement(device)
    return np.eye(n, m, dtype=dtype or np.float32).view(Array)


def randperm(n: int, *, generator: Any = None, device: Device = None) -> Array:
    """The numbers 0 to n - 1 in a random order, from the generator of ``manual_seed``; int64."""
    from ..nn import random

    check_placement(device)
    return np.asarray((generator or random.generator()).permutation(n)).view(Array)
