"""Checks of the parameters that are to be computed of others, and of what is assigned to these."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from ...conversion import converted
from ..array import Array
from ..module import Module
from ..parameter import Parameter

M = TypeVar("M", bound=Module)


def parameter_of(module: Module, name: str, place: str) -> Parameter:
    """The parameter of that name; ``place`` begins messages.

    Raises TypeError for what is no module, ValueError where there is none, or one that is computed of others already.
    """
    if not isinstance(module, Module):
        raise TypeError(f"{place}: module must be an nn.Module, got {type(module).__name__}")
    kind = type(module).__name__
    if name in module._derived:
        raise ValueError(
            f"{place}: '{name}' of {kind} is computed of other parameters already; remove that parametrization first"
        )
    parameter = module._parameters.get(name)
    if parameter is None:
        named = ", ".join(key for key, held in module._parameters.items() if held is not None)
        raise ValueError(f"{place}: {kind} has no parameter '{name}', choose from: {named or 'none'}")
    return parameter


def weight_of(module: Module, name: str, place: str) -> Parameter:
    """As :func:`parameter_of`; ValueError for less than two dimensions."""
    weight = parameter_of(module, name, place)
    if weight.ndim < 2:
        raise ValueError(
            f"{place}: '{name}' of {type(module).__name__} must be a weight (O, I, ...) of at least 2 dimensions, "
            f"got shape {weight.shape}"
        )
    return weight


def as_float32(array: object, what: str) -> Array:
    """A float32 copy in C order; ``what`` begins messages."""
    return np.array(converted(np.asarray(array), np.float32, what), order="C").view(Array)


def as_value(array: object, shape: tuple[int, ...], place: str) -> Array:
    """What is assigned to a computed weight of ``shape``, as a float32 array of its own; ValueError for another one."""
    value = as_float32(array, place)
    if value.shape != shape:
        raise ValueError(f"{place}: the array must have shape {shape}, got {value.shape}")
    return value
