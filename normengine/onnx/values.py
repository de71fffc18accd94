"""Rules that the values of an imported graph obey, and how a padded one was made."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..graph import Spec, Value
from .limits import FileLimits
from .node import OnnxError
from .parse import Port

NARROW = {"uint8", "uint32"}
"""Integers that arithmetic reads as int64."""

INTEGERS = {"int64", *NARROW}


class Padding(NamedTuple):
    """How a padded value was made: ``source`` with ``before`` and ``after`` elements of ``fill`` on each axis."""

    source: Value
    before: tuple[int, ...]
    after: tuple[int, ...]
    fill: float


def as_declared(port: Port, array: np.ndarray) -> np.ndarray:
    """An input's array as known ones are: in its own type, but for 16-bit floats."""
    return array if port.dtype in ("float16", "bfloat16") else array.astype(port.dtype, copy=False)


def checked(spec: Spec, limits: FileLimits) -> Spec:
    """The spec of an array that the network computes, which has elements and not too many axes."""
    if spec.rank > limits.rank:
        limits.check("rank", spec.rank, f"an array has {spec.rank} axes")
    if spec.size == 0:
        raise OnnxError(f"an array of shape {spec.shape} has no elements, and networks compute with none of those")
    return spec
