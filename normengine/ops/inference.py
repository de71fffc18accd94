"""Shape inference: what each operator's outputs are like, from what its inputs are like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Spec

Attrs = Mapping[str, Any]
Arrays = Sequence[np.ndarray]
Shapes = Sequence[tuple[int, ...]]
Strides = tuple[int, ...]
"""In elements."""
Infer = Callable[[Sequence[Spec], Attrs], tuple[Spec, ...]]
"""Gives the outputs' specs or raises :class:`OperatorError`."""

RULES: dict[str, Infer] = {}
"""The rule of each operator by its name, which :func:`~.table.register` enters."""


class OperatorError(ValueError):
    """An operator was given what its rule does not allow; the builder puts the layer's name before the message."""
