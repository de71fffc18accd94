"""The larger and the smaller of two values, elementwise: what clipping is made of. NaN goes through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .base import Case, Op, Scalar
from .builder import Builder
from .reduce import sum_to
from .rules import binary, exact, only
from .table import register

Grads = Sequence["Value | None"]

_SHAPES = (((3, 17), (3, 17)), ((2, 3, 4, 5), ()), ((2, 3, 4, 5), (3, 1, 1)), ((4, 1, 6), (5, 1)))


def _draw_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [2**53 + rng.integers(-2, 3, (3, 1, 17)), 2**53 + rng.integers(-2, 3, (4, 1))]


_CASES = (*map(Case, _SHAPES), Case(draw=_draw_integers, differentiable=False))


def _gradient(builder: Builder, node: Node, dz: Value, larger: Value, smaller: Value) -> Grads:
    """What is chosen, where ``larger > smaller`` the left operand, gets the gradient; of equal ones each gets half, as
    in PyTorch."""
    one, half, zero = (builder.constant(v) for v in (1.0, 0.5, 0.0))
    tied = builder.add("where", builder.add("greater", smaller, larger), zero, half)
    left = builder.add("mul", dz, builder.add("where", builder.add("greater", larger, smaller), one, tied))
    both = (left, builder.add("sub", dz, left))
    return [sum_to(builder, part, v.shape) for part, v in zip(both, node.inputs, strict=True)]


def _maximum_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    return _gradient(builder, node, only(grads), a, b)


def _minimum_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    a, b = node.inputs
    return _gradient(builder, node, only(grads), b, a)


register(
    Op(
        "maximum",
        binary,
        exact(np.maximum),
        _maximum_gradient,
        scalar=Scalar("maximum", operations=4),
        cases=lambda: _CASES,
        integers="all",
    ),
    Op(
        "minimum",
        binary,
        exact(np.minimum),
        _minimum_gradient,
        scalar=Scalar("minimum", operations=4),
        cases=lambda: _CASES,
        integers="all",
    ),
)
