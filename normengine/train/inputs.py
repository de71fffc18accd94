"""Input validation of training: what may be given, and how it is converted."""

from __future__ import annotations

import numpy as np

from ..conversion import converted, one_array
from ..nn.module import Module
from ..optim import Optimizer


def as_input(given: object, what: str) -> np.ndarray:
    """``given`` as a C-contiguous float32 array with at least one sample; raises ValueError for anything else."""
    array = one_array(given, what)
    if array.dtype.kind in "iub":
        raise ValueError(f"{what} must be floating point, got {array.dtype}; convert with x.astype(np.float32) / 255")
    if array.dtype.kind != "f":
        raise ValueError(f"{what} must be float32, got {_kind(given, array)}; give an array of float32")
    return _filled(converted(array, np.float32, what), what)


def as_target(given: object, what: str) -> np.ndarray:
    """``given`` as C-contiguous int64 labels or float32 targets with at least one sample."""
    array = one_target(given, what)
    if array.dtype.kind not in "iubf":
        raise ValueError(f"{what} must be integer labels or float32 targets, got {_kind(given, array)}")
    return _filled(converted(array, np.int64 if array.dtype.kind in "iub" else np.float32, what), what)


def one_target(given: object, what: str) -> np.ndarray:
    """``given`` as one array; raises ValueError for several in a tuple."""
    return one_array(given, what, "; put several targets side by side into one, which the loss takes apart")


def _kind(given: object, array: np.ndarray) -> str:
    """What was given, where that is no array of numbers."""
    return f"a {type(given).__name__}" if array.dtype.kind == "O" and array is not given else str(array.dtype)


def _filled(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim == 0:
        raise ValueError(f"{what} must have one entry for each sample, got the single number {array}")
    if array.size == 0:
        raise ValueError(f"{what} is an empty batch, shape {array.shape}; give at least one sample")
    return array


def check_parts(what: str, model: object, loss: object, optimizer: object) -> None:
    """Raise TypeError unless these are a model, a loss and an optimizer, each made and in its place."""
    if not isinstance(model, Module):
        raise TypeError(f"{what}: model must be an nn.Module, got {_named(model)}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{what}: optimizer must be made by a class of normengine.optim, got {_named(optimizer)}")
    if isinstance(loss, (type, Optimizer)) or not callable(loss):
        raise TypeError(f"{what}: loss must be a function or a loss module such as nn.CrossEntropyLoss(), "
                        f"got {_named(loss)}")  # fmt: skip


def _named(given: object) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
