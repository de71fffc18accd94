"""NumPy arrays for code that was written for PyTorch's tensors."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import shapes
from . import random

Number = float
"""``float``, which is also the name of a method here."""


class Array(np.ndarray):
    """A NumPy array with those of PyTorch's methods that model files call outside of ``forward``.

    Parameters' ``data`` and what ``torch.zeros`` and its kin return are such arrays. Where NumPy has a method of the
    same name it is NumPy's, except that ``view`` takes a shape as well.
    """

    # in place, as initialization code writes

    def zero_(self) -> Array:
        return self.fill_(0.0)

    def fill_(self, value: Number) -> Array:
        self[...] = value
        return self

    def copy_(self, source: Any) -> Array:
        self[...] = np.asarray(source)
        return self

    def normal_(self, mean: Number = 0.0, std: Number = 1.0) -> Array:
        return self.copy_(random.generator().normal(mean, std, self.shape))

    def uniform_(self, a: Number = 0.0, b: Number = 1.0) -> Array:
        return self.copy_(random.generator().uniform(a, b, self.shape))

    def add_(self, other: Any) -> Array:
        return self.copy_(self + other)

    def sub_(self, other: Any) -> Array:
        return self.copy_(self - other)

    def mul_(self, other: Any) -> Array:
        return self.copy_(self * other)

    def div_(self, other: Any) -> Array:
        return self.copy_(self / other)

    def clamp_(self, min: Number | None = None, max: Number | None = None) -> Array:
        return self.copy_(np.clip(self, min, max))

    # shapes, as buffers are prepared

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """The elements in the shape that the ints give, one of which may be -1; with a dtype or type, NumPy's view."""
        if args and all(isinstance(a, (int, np.integer, tuple, list)) for a in args):
            return self.reshape(shapes.numbers(args))
        return super().view(*args, **kwargs)

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return int(super().size)

    def unsqueeze(self, dim: int) -> Array:
        return np.expand_dims(self, operator.index(dim)).view(Array)

    def permute(self, *dims: Any) -> Array:
        return self.transpose(shapes.numbers(dims))

    def expand(self, *sizes: Any) -> Array:
        return np.broadcast_to(self, shapes.expanded(self.shape, shapes.numbers(sizes))).view(Array)

    # types and places

    def float(self) -> Array:
        return self.astype(np.float32).view(Array)

    def long(self) -> Array:
        return self.astype(np.int64).view(Array)

    def numpy(self) -> np.ndarray:
        """The same memory as a plain NumPy array."""
        return np.asarray(self)

    def clone(self) -> Array:
        return self.copy()

    def detach(self) -> Array:
        return self

    cpu = contiguous = detach
