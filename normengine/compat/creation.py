"""Arrays made from scratch, under PyTorch's names: what ``torch.zeros`` and its kin are to ported code.

They are NumPy arrays with some of PyTorch's methods: :class:`~normengine.nn.array.Array`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..conversion import converted
from ..nn import random
from ..nn.arithmetic import ArrayLike
from ..nn.array import Array
from ..nn.context import current
from ..nn.module import check_placement
from ..shapes import numbers
from ..typing import Device, DType, Ints, Shaped

_KINDS = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}


def _dtype(dtype: DType, device: Device, default: npt.DTypeLike = np.float32) -> npt.DTypeLike:
    check_placement(device)
    return default if dtype is None else dtype


def zeros(*size: Ints, dtype: DType = None, device: Device = None) -> Array:
    """Zeros, float32 by default; the shape as ints or as one tuple."""
    return np.zeros(numbers(size), _dtype(dtype, device)).view(Array)


def ones(*size: Ints, dtype: DType = None, device: Device = None) -> Array:
    """Ones, float32 by default."""
    return np.ones(numbers(size), _dtype(dtype, device)).view(Array)


def empty(*size: Ints, dtype: DType = None, device: Device = None) -> Array:
    """An array to be overwritten; it holds zeros."""
    return zeros(*size, dtype=dtype, device=device)


def full(size: Ints, fill_value: float, *, dtype: DType = None, device: Device = None) -> Array:
    """``fill_value`` everywhere, float32 by default."""
    return np.full(numbers((size,)), fill_value, _dtype(dtype, device)).view(Array)


def zeros_like(input: Shaped, *, dtype: DType = None, device: Device = None) -> Array:
    """Zeros of the shape and dtype of an array, parameter or tensor."""
    return np.zeros(input.shape, _dtype(dtype, device, input.dtype)).view(Array)


def ones_like(input: Shaped, *, dtype: DType = None, device: Device = None) -> Array:
    """Ones of the shape and dtype of an array, parameter or tensor."""
    return np.ones(input.shape, _dtype(dtype, device, input.dtype)).view(Array)


def tensor(data: ArrayLike, *, dtype: DType = None, device: Device = None) -> Array:
    """A copy of ``data`` as an array: floating point becomes float32, integers int64."""
    array = np.array(data)
    if dtype is None and array.dtype.kind in _KINDS:
        array = converted(array, _KINDS[array.dtype.kind], "tensor: data")
    return array.astype(_dtype(dtype, device, array.dtype)).view(Array)


def from_numpy(array: np.ndarray) -> Array:
    """``array`` as it is, sharing its memory."""
    return array.view(Array)


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: DType = None, device: Device = None
) -> Array:
    """``start``, ``start + step``, ... below ``end``: int64, or float32 where one of them is no integer."""
    first, last = (0, start) if end is None else (start, end)
    array = np.arange(first, last, step)
    return array.astype(_dtype(dtype, device, _KINDS[array.dtype.kind])).view(Array)


def linspace(start: float, end: float, steps: int, *, dtype: DType = None, device: Device = None) -> Array:
    """``steps`` equally spaced numbers from ``start`` to ``end``, both included."""
    return np.linspace(start, end, steps).astype(_dtype(dtype, device)).view(Array)


def _drawn(op: str, shape: tuple[int, ...], dtype: DType, device: Device) -> Any:
    """Random numbers: in ``forward`` a tensor, drawn anew in each step, elsewhere an array."""
    tracer = current()
    if tracer is not None:
        check_placement(device, dtype)
        return tracer.draw(op, shape)
    generator = random.generator()
    array = generator.random(shape) if op == "random_uniform" else generator.standard_normal(shape)
    return np.asarray(array).astype(_dtype(dtype, device)).view(Array)


def randn(*size: Ints, dtype: DType = None, device: Device = None) -> Any:
    """Draws from N(0, 1), from the generator of ``manual_seed``; in ``forward`` a tensor, as dropout's masks a function
    of (seed, step, layer, element) that is drawn anew in each step."""
    return _drawn("random_normal", numbers(size), dtype, device)


def rand(*size: Ints, dtype: DType = None, device: Device = None) -> Any:
    """Draws from U(0, 1), otherwise as :func:`randn`."""
    return _drawn("random_uniform", numbers(size), dtype, device)


def randn_like(input: Shaped, *, dtype: DType = None, device: Device = None) -> Any:
    """:func:`randn` of the shape of an array, parameter or tensor."""
    return randn(*input.shape, dtype=dtype, device=device)


def rand_like(input: Shaped, *, dtype: DType = None, device: Device = None) -> Any:
    """:func:`rand` of the shape of an array, parameter or tensor."""
    return rand(*input.shape, dtype=dtype, device=device)


def bernoulli(input: ArrayLike) -> Any:
    """1 with the probability that ``input`` holds, else 0, for each element; drawn as :func:`randn` draws."""
    tracer = current()
    if tracer is not None:
        return tracer.bernoulli(tracer.tensor(input))
    shares = np.asarray(input, np.float32)
    return (random.generator().random(shares.shape) < shares).astype(np.float32).view(Array)


def randint(low: int, high: Any = None, size: Any = None, *, device: Device = None) -> Array:
    """Integers in ``low..high-1`` (``0..low-1`` for two arguments), int64: ``randint(10, (32,))``."""
    if size is None:
        low, high, size = 0, low, high
    check_placement(device)
    return random.generator().integers(low, high, numbers((tuple(size),))).view(Array)
