"""Reshaping layers: those that change shapes only."""

from __future__ import annotations

from collections.abc import Sequence

from .functional.activation import as_traced
from .module import Module
from .tensor import Tensor

__all__ = ["Flatten", "Unflatten"]


class Flatten(Module):
    """The axes ``start_dim`` to ``end_dim`` made one; by default all but the first."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with the axes made one."""
        return as_traced(x).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis ``dim`` split into axes of ``unflattened_size``, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with the axis split."""
        return as_traced(x).unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
