"""Operator overloading: Python's arithmetic operators for whatever can be a side of a tensor operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

R = TypeVar("R")


class Arithmetic(Generic[R]):
    """Python's operators in terms of ``_binary(op, other, swapped)``, where ``op`` is add, sub, mul, div or matmul;
    results are ``R``."""

    __slots__ = ()

    def _binary(self, op: str, other: ArrayLike, swapped: bool = False) -> R:
        raise NotImplementedError

    def __add__(self, other: ArrayLike) -> R:
        return self._binary("add", other)

    def __radd__(self, other: ArrayLike) -> R:
        return self._binary("add", other, True)

    def __sub__(self, other: ArrayLike) -> R:
        return self._binary("sub", other)

    def __rsub__(self, other: ArrayLike) -> R:
        return self._binary("sub", other, True)

    def __mul__(self, other: ArrayLike) -> R:
        return self._binary("mul", other)

    def __rmul__(self, other: ArrayLike) -> R:
        return self._binary("mul", other, True)

    def __truediv__(self, other: ArrayLike) -> R:
        return self._binary("div", other)

    def __rtruediv__(self, other: ArrayLike) -> R:
        return self._binary("div", other, True)

    def __matmul__(self, other: ArrayLike) -> R:
        return self._binary("matmul", other)

    def __rmatmul__(self, other: ArrayLike) -> R:
        return self._binary("matmul", other, True)


ArrayLike: TypeAlias = "Arithmetic[Any] | np.ndarray | np.generic | float | Sequence[Any]"
"""What is taken as an array: a tensor or parameter, a NumPy array, a number, or numbers in nested sequences."""
