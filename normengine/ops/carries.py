"""How an affine map of each channel goes through an operator that computes none of its own: what a batch normalization
behind a pooling layer, a concatenation or a reshape is in front of it, and the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..graph import Node


class Affine(NamedTuple):
    """``scale * x + shift`` for each index of x along ``axis``, which is not the batch's: two (extent,) float64."""

    axis: int
    scale: np.ndarray
    shift: np.ndarray

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return bool(np.all(self.scale == 1) and not np.any(self.shift))


class NotCarried(Exception):
    """Why an affine map does not go through a node; the message, if any, goes on after the node's name."""


class Carries(NamedTuple):
    """Both raise :class:`NotCarried`.

    ``back(node, affine, constant)`` gives an affine map for each input, None for one that stays as it is, so that the
    node makes of them what ``affine`` would make of its output; ``constant`` says which inputs are constants.
    ``forth(node, position, affine)`` gives the map of the output that stands for one of the input at ``position``.
    """

    back: Callable[[Node, Affine, Sequence[bool]], Sequence[Affine | None]]
    forth: Callable[[Node, int, Affine], Affine]


Condition = Callable[[Node, Affine], None]
"""Raises :class:`NotCarried` where an affine map and a node do not commute."""


def always(node: Node, affine: Affine) -> None:
    """They commute."""


def where_positive(node: Node, affine: Affine) -> None:
    """A maximum commutes with what keeps the order."""
    if np.any(affine.scale < 0):
        raise NotCarried("takes maxima, and a scale is negative")


def where_padded_with_nothing(node: Node, affine: Affine) -> None:
    """A mean counts the zeros that it pads with, if it says so: they would have to be shifted too."""
    if node.attrs.get("count_include_pad") and any(node.attrs["padding"]) and np.any(affine.shift):
        raise NotCarried("counts the zeros that it pads with")


def along_axes(inputs_axes: Callable[[Node], Sequence[int | None]], condition: Condition = always) -> Carries:
    """Of an operator with one input, by the axis of it that each axis of the output holds as it is, None where it holds
    none."""

    def back(node: Node, affine: Affine, constant: Sequence[bool]) -> Sequence[Affine | None]:
        condition(node, affine)
        return [affine._replace(axis=_inner(inputs_axes(node)[affine.axis]))]

    def forth(node: Node, position: int, affine: Affine) -> Affine:
        condition(node, affine)
        axes = list(inputs_axes(node))
        return affine._replace(axis=_inner(axes.index(affine.axis) if affine.axis in axes else None))

    return Carries(back, forth)


def _inner(axis: int | None) -> int:
    if not axis:
        raise NotCarried("does not keep the channels apart")
    return axis


def of_channels(node: Node) -> Sequence[int | None]:
    """The axes of an operator that keeps images and channels alone."""
    return (0, 1, *[None] * (node.inputs[0].spec.rank - 2))


def of_all(node: Node) -> Sequence[int | None]:
    """The axes of an operator that keeps all of them."""
    return range(node.inputs[0].spec.rank)


def of_kept(node: Node) -> Sequence[int | None]:
    """The axes of an operator that reduces ``attrs["axes"]``."""
    axes, rank = node.attrs["axes"], node.inputs[0].spec.rank
    if node.attrs["keepdims"]:
        return [None if axis in axes else axis for axis in range(rank)]
    return [axis for axis in range(rank) if axis not in axes]


def of_permuted(node: Node) -> Sequence[int | None]:
    """The axes of an operator that puts them in the order ``attrs["axes"]``."""
    axes: Sequence[int] = node.attrs["axes"]
    return axes


def _regrouped(shape: Sequence[int], affine: Affine, target: Sequence[int]) -> Affine:
    """The map on the same elements in the shape ``target``: along an axis that repeats as often, of longer or shorter
    runs."""
    run = math.prod(shape[affine.axis + 1 :])
    period = run * shape[affine.axis]
    fitting = [axis for axis in range(1, len(target)) if math.prod(target[axis:]) == period]
    if not fitting:
        raise NotCarried("does not keep the channels apart")
    axis = fitting[-1]
    new_run = math.prod(target[axis + 1 :])
    vectors = []
    for vector in (affine.scale, affine.shift):
        if new_run and run % new_run == 0:
            vectors.append(np.repeat(vector, run // new_run))
            continue
        rows = vector.reshape(target[axis], -1) if target[axis] and vector.size % target[axis] == 0 else None
        if rows is None or not run or new_run % run or np.any(rows != rows[:, :1]):
            raise NotCarried("joins channels of different scale or shift")
        vectors.append(rows[:, 0])
    return Affine(axis, vectors[0], vectors[1])


def _reshape_back(node: Node, affine: Affine, constant: Sequence[bool]) -> Sequence[Affine | None]:
    return [_regrouped(node.outputs[0].shape, affine, node.inputs[0].shape)]


def _reshape_forth(node: Node, position: int, affine: Affine) -> Affine:
    return _regrouped(node.inputs[0].shape, affine, node.outputs[0].shape)


RESHAPED = Carries(_reshape_back, _reshape_forth)
"""Of an operator that changes the shape alone."""


def _cut(node: Node, axis: int) -> slice:
    return slice(*(node.attrs[name][axis] for name in ("starts", "stops", "steps")))


def _slice_back(node: Node, affine: Affine, constant: Sequence[bool]) -> Sequence[Affine | None]:
    extent = node.inputs[0].shape[affine.axis]
    scale, shift = np.ones(extent), np.zeros(extent)  # what is cut off may be anything
    scale[_cut(node, affine.axis)], shift[_cut(node, affine.axis)] = affine.scale, affine.shift
    return [Affine(affine.axis, scale, shift)]


def _slice_forth(node: Node, position: int, affine: Affine) -> Affine:
    part = _cut(node, affine.axis)
    return Affine(affine.axis, affine.scale[part], affine.shift[part])


SLICED = Carries(_slice_back, _slice_forth)
"""Of an operator that keeps ``starts:stops:steps`` of each axis."""


def _parts(node: Node) -> list[slice]:
    """Where along the axis each input lies."""
    ends = np.cumsum([value.shape[node.attrs["axis"]] for value in node.inputs]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _concat_back(node: Node, affine: Affine, constant: Sequence[bool]) -> Sequence[Affine | None]:
    if affine.axis != node.attrs["axis"]:
        return [affine] * len(node.inputs)
    return [Affine(affine.axis, affine.scale[part], affine.shift[part]) for part in _parts(node)]


def _concat_forth(node: Node, position: int, affine: Affine) -> Affine:
    if affine.axis != node.attrs["axis"]:
        raise NotCarried("puts others beside it")
    extent, part = node.outputs[0].shape[affine.axis], _parts(node)[position]
    scale, shift = np.ones(extent), np.zeros(extent)
    scale[part], shift[part] = affine.scale, affine.shift
    return Affine(affine.axis, scale, shift)


CONCATENATED = Carries(_concat_back, _concat_forth)
"""Of an operator that puts its inputs one behind the other along ``attrs["axis"]``."""


def _operand(node: Node, affine: Affine, position: int, constant: Sequence[bool]) -> Affine:
    """The map along the axis of an input that broadcasts; of a constant, that may lie before its first axis."""
    value = node.inputs[position]
    axis = affine.axis - node.outputs[0].spec.rank + value.spec.rank
    if not constant[position] and (axis < 1 or value.shape[axis] != len(affine.scale)):
        raise NotCarried("repeats what it reads along the channels")
    return affine._replace(axis=axis)


def _not_forth(node: Node, position: int, affine: Affine) -> Affine:
    raise NotCarried  # no layer, which needs no words


def _sum_back(node: Node, affine: Affine, constant: Sequence[bool]) -> Sequence[Affine | None]:
    takes_shift = constant.index(True) if True in constant else 0
    scaled = affine._replace(shift=np.zeros_like(affine.shift))
    maps = [affine if i == takes_shift else scaled for i in range(len(node.inputs))]
    return [_operand(node, m, i, constant) for i, m in enumerate(maps)]


def _product_back(node: Node, affine: Affine, constant: Sequence[bool]) -> Sequence[Affine | None]:
    if np.any(affine.shift):
        raise NotCarried("multiplies, which no shift goes through")
    takes_scale = constant.index(True) if True in constant else 0
    return [_operand(node, affine, i, constant) if i == takes_scale else None for i in range(len(node.inputs))]


SUMMED = Carries(_sum_back, _not_forth)
"""Of a sum of two arrays: both are scaled, one of them is shifted."""

MULTIPLIED = Carries(_product_back, _not_forth)
"""Of a product of two arrays, one of which is scaled."""
