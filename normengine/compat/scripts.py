"""What training scripts call beside their model: devices, switches of gradients, and functions of arrays."""

from __future__ import annotations

import builtins
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..nn.arithmetic import ArrayLike
from ..nn.array import Array, Found
from ..nn.context import current
from ..nn.module import check_placement
from ..nn.trace import enable_grad as enable_grad
from ..nn.trace import inference_mode as inference_mode
from ..nn.trace import is_grad_enabled as is_grad_enabled
from ..nn.trace import set_grad_enabled as set_grad_enabled
from ..typing import Device, DType, Ints

T = TypeVar("T")
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


def _array(input: ArrayLike, what: str) -> Array:
    if current() is not None:
        raise TypeError(
            f"{what} works on arrays, not in forward(): a network of this package has no such operator; "
            "call it on what the model returns"
        )
    return np.asarray(input).view(Array)


def max(input: ArrayLike, dim: Ints | None = None, keepdim: builtins.bool = False) -> Any:
    """The largest element of an array; with ``dim`` the largest along it and where they are."""
    array = _array(input, "max")
    return array.max() if dim is None else array.max(dim=dim, keepdim=keepdim)


def min(input: ArrayLike, dim: Ints | None = None, keepdim: builtins.bool = False) -> Any:
    """The smallest element of an array; with ``dim`` the smallest along it and where they are."""
    array = _array(input, "min")
    return array.min() if dim is None else array.min(dim=dim, keepdim=keepdim)


def argmax(input: ArrayLike, dim: Ints | None = None, keepdim: builtins.bool = False) -> Array:
    """Where the largest element of an array is, or those along ``dim`` are."""
    return _array(input, "argmax").argmax(dim=dim, keepdim=keepdim)


def argmin(input: ArrayLike, dim: Ints | None = None, keepdim: builtins.bool = False) -> Array:
    """Where the smallest element of an array is, or those along ``dim`` are."""
    return _array(input, "argmin").argmin(dim=dim, keepdim=keepdim)


def topk(input: ArrayLike, k: int, dim: int = -1, largest: builtins.bool = True, sorted: builtins.bool = True) -> Found:
    """The ``k`` largest (or smallest) along ``dim``, in order, and where they are."""
    return _array(input, "topk").topk(k, dim, largest)


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


def norm(input: ArrayLike, p: Any = 2, dim: Ints | None = None, keepdim: builtins.bool = False) -> Array:
    """``sum(|x|^p)^(1/p)`` of an array."""
    return _array(input, "norm").norm(p, dim, keepdim)


def eye(n: int, m: int | None = None, *, dtype: DType = None, device: Device = None) -> Array:
    """Ones on the diagonal of zeros, float32."""
    check_placement(device)
    return np.eye(n, m, dtype=dtype or np.float32).view(Array)


def randperm(n: int, *, generator: Any = None, device: Device = None) -> Array:
    """The numbers 0 to n - 1 in a random order, from the generator of ``manual_seed``; int64."""
    from ..nn import random

    check_placement(device)
    return np.asarray((generator or random.generator()).permutation(n)).view(Array)
