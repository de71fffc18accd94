"""A row of the list of compiled kernels: one algorithm for one operator, in every instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ..base import Launch, Nothing, Problem, Record
from ..machine import TrafficCosts
from .launches import Sizes

Supports = Callable[[Problem], bool]
Cost = Callable[[Problem, Sizes], float]


def everything(problem: Problem) -> bool:
    return True


def traffic(problem: Problem, sizes: Sizes) -> float:
    """The cost of reading each input and writing each output once."""
    shapes = [s for s in (*problem.inputs, *problem.outputs) if s is not None]
    return TrafficCosts.value * sum(math.prod(shape) for shape in shapes)


def half(problem: Problem, sizes: Sizes) -> float:
    """Below :func:`traffic`: of a kernel that is made for what it supports."""
    return traffic(problem, sizes) / 2


def nothing(problem: Problem, sizes: Sizes) -> float:
    return 0.0


class Row(NamedTuple):
    """One algorithm for one operator: ``stages`` are names of functions in ``src_cy/``, ``extra`` is the record that
    its launches add, the other fields are those of :class:`~normengine.kernels.base.Kernel`, ``partial_sums``
    says whether it sums in groups of images, ``prefetches`` is its share of the multiply-adds if it prefetches."""

    op: str
    algorithm: str
    stages: tuple[str, ...]
    launch: Callable[[Problem, Sizes], Launch]
    extra: type[Record] = Nothing
    supports: Supports = everything
    cost: Cost = traffic
    packs: tuple[str, ...] = ()
    packing: Cost = nothing
    blocked: tuple[str, ...] = ()
    tolerance: float | None = None
    partial_sums: bool = False
    prefetches: float = 0.0
    writes_late: bool = False
    dtype: str = "float32"
