"""Einstein's summation, written out as diagonals, sums, transposes and products of matrices: no operator of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Generic, NamedTuple

from .base import OperatorError
from .matmul import Add, V

_SIDE = re.compile(r"[a-zA-Z]*(\.\.\.)?[a-zA-Z]*")
"""The letters of an operand, or of the result."""


class Terms(NamedTuple):
    """An equation for given ranks: a letter for each axis of each operand and of the result. The axes of an ellipsis
    are numbers from the last one, so that they are aligned there."""

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]


def parse(equation: str, ranks: Sequence[int]) -> Terms:
    """The equation ``"ij,jk->ik"`` for operands of the given ranks; without an arrow the result has the letters that
    occur once, in the order of the alphabet, behind the axes of the ellipsis.

    Raises :class:`OperatorError` for what is no such equation, and ranks that are not its.
    """
    text = re.sub(r"\s", "", equation)
    left, arrow, right = text.partition("->")
    sides = left.split(",")
    if not all(map(_SIDE.fullmatch, (*sides, right))):
        raise OperatorError(f"einsum equation {equation!r} must be letters and ellipses such as '...ij,jk->...ik'")
    if len(sides) != len(ranks):
        raise OperatorError(f"einsum equation {equation!r} is for {len(sides)} operands, got {len(ranks)}")
    operands = tuple(_letters(equation, side, rank) for side, rank in zip(sides, ranks, strict=True))
    rest = sorted({s for letters in operands for s in letters if s.isdigit()}, key=int, reverse=True)
    if not arrow:
        every = [s for letters in operands for s in letters]
        right = "".join(["..." if rest else "", *sorted(s for s in set(every) if s.isalpha() and every.count(s) == 1)])
    before, dots, behind = right.partition("...")
    result = (*before, *(rest if dots else ()), *behind)
    if len(set(result)) < len(result) or not set(result) <= {s for letters in operands for s in letters}:
        raise OperatorError(f"einsum equation {equation!r}: letters of the result occur once there, and in an operand")
    return Terms(operands, result)


def _letters(equation: str, side: str, rank: int) -> tuple[str, ...]:
    before, dots, behind = side.partition("...")
    more = rank - len(before) - len(behind)
    if more < 0 or (more and not dots):
        raise OperatorError(
            f"einsum equation {equation!r}: '{side}' does not name the axes of an operand of rank {rank}"
        )
    return (*before, *(str(n) for n in reversed(range(more))), *behind)


def einsum(add: Add[V], equation: str, operands: Sequence[V]) -> V:
    """The sum that ``equation`` describes, as in PyTorch, NumPy and ONNX; operands are multiplied from left to right.

    Raises :class:`OperatorError` for an equation or shapes that do not fit.
    """
    terms = parse(equation, [len(x.shape) for x in operands])
    extents: dict[str, int] = {}
    for letters, x in zip(terms.operands, operands, strict=True):
        for letter, extent in zip(letters, x.shape, strict=True):
            known = extents.setdefault(letter, extent)
            if extent != known and 1 not in (extent, known):
                raise OperatorError(f"einsum equation {equation!r}: axis '{letter}' has extents {known} and {extent}")
            extents[letter] = max(known, extent)
    factors = [
        _Factor(add, x, letters).distinct().without_ones(extents)
        for letters, x in zip(terms.operands, operands, strict=True)
    ]
    product = factors[0]
    for i, other in enumerate(factors[1:], 1):
        later = {s for factor in factors[i + 1 :] for s in factor.letters}
        product = product.times(other, later.union(terms.result))
    return product.only(terms.result).arranged(terms.result, extents)


class _Factor(Generic[V]):
    """A value whose axes have letters."""

    def __init__(self, add: Add[V], value: V, letters: Sequence[str]) -> None:
        self.add, self.value, self.letters = add, value, tuple(letters)

    def _with(self, value: V, letters: Sequence[str]) -> _Factor[V]:
        return _Factor(self.add, value, letters)

    def _extents(self, letters: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.value.shape[self.letters.index(s)] for s in letters)

    def reshaped(self, shape: tuple[int, ...]) -> V:
        return self.value if shape == self.value.shape else self.add("reshape", self.value, shape=shape)

    def permuted(self, letters: Sequence[str]) -> _Factor[V]:
        """Its axes in the order of the letters."""
        axes = tuple(self.letters.index(s) for s in letters)
        if axes == tuple(range(len(axes))):
            return self
        return self._with(self.add("permute", self.value, axes=axes), letters)

    def distinct(self) -> _Factor[V]:
        """The diagonal of axes that have the same letter."""
        for letter in self.letters:
            if self.letters.count(letter) > 1:
                return self._diagonal(letter).distinct()
        return self

    def _diagonal(self, letter: str) -> _Factor[V]:
        """Of the first two axes of that letter: each n + 1-th element of the two as one."""
        first, second = [axis for axis, s in enumerate(self.letters) if s == letter][:2]
        rest = [axis for axis in range(len(self.letters)) if axis not in (first, second)]
        n, shape = self.value.shape[first], tuple(self.value.shape[axis] for axis in rest)
        if self.value.shape[second] != n:
            raise OperatorError(f"einsum: the diagonal '{letter}' of extents {n} and {self.value.shape[second]}")
        turned = self.add("permute", self.value, axes=(first, second, *rest))
        flat = self.add("reshape", turned, shape=(n * n, *shape))
        every = {"starts": (0,) * (len(rest) + 1), "stops": (n * n, *shape), "steps": (n + 1, *(1,) * len(rest))}
        value = flat if n == 1 else self.add("slice", flat, **every)
        return self._with(value, (letter, *(self.letters[axis] for axis in rest)))

    def without_ones(self, extents: dict[str, int]) -> _Factor[V]:
        """Without axes that other factors have longer: it is the same along them."""
        kept = [s for s, n in zip(self.letters, self.value.shape, strict=True) if n == extents[s]]
        return self._with(self.reshaped(self._extents(kept)), kept)

    def only(self, letters: Sequence[str]) -> _Factor[V]:
        """Summed over the other axes."""
        axes = tuple(axis for axis, s in enumerate(self.letters) if s not in letters)
        if not axes:
            return self
        value = self.add("reduce_sum", self.value, axes=axes, keepdims=False)
        return self._with(value, [s for s in self.letters if s in letters])

    def times(self, other: _Factor[V], wanted: set[str]) -> _Factor[V]:
        """The product with another one, summed over the letters that are not wanted later."""
        a, b = self.only([*other.letters, *wanted]), other.only([*self.letters, *wanted])
        both = [s for s in a.letters if s in b.letters]
        kept, summed = [s for s in both if s in wanted], [s for s in both if s not in wanted]
        mine, theirs = ([s for s in f.letters if s not in both] for f in (a, b))
        letters = [*kept, *mine, *theirs]
        if not summed or not (mine or theirs):
            first, second = a.permuted([*both, *mine]), b.permuted([*both, *theirs])
            spread = (*second._extents(both), *(1,) * len(mine), *second._extents(theirs))
            value = self.add("mul", first.reshaped((*first.value.shape, *(1,) * len(theirs))), second.reshaped(spread))
            return self._with(value, [*both, *mine, *theirs]).only(letters)
        left, flip_a = a._as_matrices(kept, mine, summed)
        right, flip_b = b._as_matrices(kept, summed, theirs)
        y = self.add("matmul", left, right, transpose_a=flip_a, transpose_b=flip_b)
        shape = (*a._extents(kept), *a._extents(mine), *b._extents(theirs))
        return self._with(y if shape == y.shape else self.add("reshape", y, shape=shape), letters)

    def _as_matrices(self, kept: list[str], rows: list[str], columns: list[str]) -> tuple[V, bool]:
        """Matrices, and whether they are stored as their transposes, which they are where nothing moves then."""
        flip = self.letters == (*kept, *columns, *rows) and bool(rows) and bool(columns)
        first, second = (columns, rows) if flip else (rows, columns)
        turned = self.permuted([*kept, *first, *second])
        extents = [math.prod(self._extents(s)) for s in (first, second)]
        leading = (math.prod(self._extents(kept)),) if kept else ()
        return turned.reshaped((*leading, *extents)), flip

    def arranged(self, result: Sequence[str], extents: dict[str, int]) -> V:
        """The axes in the order of the result; those of extent 1 everywhere are in no factor, and come back."""
        value = self.permuted([s for s in result if s in self.letters])
        return value.reshaped(tuple(extents[s] for s in result))
