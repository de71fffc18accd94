"""Axes read backwards: a view of the input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Strides
from .builder import Builder
from .rules import only, real, require_axis
from .table import register


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    axes: tuple[int, ...] = attrs["axes"]
    for axis in axes:
        require_axis("axis", axis, x)
    if len(set(axes)) < len(axes):
        raise OperatorError(f"axes {axes} name an axis twice")
    return (x,)


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    return (np.ascontiguousarray(np.flip(real(x) if x.dtype.kind == "f" else x, attrs["axes"])),)


def _gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    return [builder.add("flip", only(grads), axes=node.attrs["axes"])]


def _samples(node: Node) -> tuple[int, ...]:
    return () if 0 in node.attrs["axes"] else (0,)


def _view(node: Node, offset: int, strides: Strides) -> tuple[int, Strides]:
    shape, axes = node.inputs[0].shape, node.attrs["axes"]
    last = sum((shape[axis] - 1) * strides[axis] for axis in axes)
    return offset + last, tuple(-s if axis in axes else s for axis, s in enumerate(strides))


def _draw_integers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(-9, 9, (4, 3))]


register(
    Op(
        "flip",
        _infer,
        _reference,
        _gradient,
        cases=lambda: (
            Case(((7,),), {"axes": (0,)}),
            Case(((2, 3, 5, 4),), {"axes": (2, 3)}),
            Case(((2, 17, 5, 4),), {"axes": (1,)}),
            Case(((3, 1, 4),), {"axes": (0, 1)}),
            Case(draw=_draw_integers, attrs={"axes": (1,)}, differentiable=False),
        ),
        tolerance=0.0,
        samples=_samples,
        view=_view,
        integers="any",
    ),
)
