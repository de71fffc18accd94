"""Which positions of an axis lie inside an image, found by division: for the loops of the kernels over windows."""

from __future__ import annotations


def first_inside(start: int, step: int) -> int:
    """The first position p with start + p * step >= 0."""
    return max(0, -(start // step))


def end_inside(start: int, step: int, size: int, positions: int) -> int:
    """One behind the last position p < positions with start + p * step < size."""
    return min(positions, (size - 1 - start) // step + 1)
