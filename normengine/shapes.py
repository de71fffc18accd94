"""Axes, extents and indices as users write them, made whole: pure functions on tuples of ints."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, SupportsIndex

Shape = tuple[int, ...]


def axis_of(dim: SupportsIndex, rank: int) -> int:
    """``dim`` counted from the front; IndexError unless ``-rank <= dim < rank``."""
    axis = operator.index(dim)
    if not -rank <= axis < max(rank, 1):
        raise IndexError(f"dim {axis} is out of range for a tensor of {rank} dimensions ({-rank} to {rank - 1})")
    return axis % rank if rank else 0


def axes_of(dim: Any, rank: int) -> tuple[int, ...]:
    """The axes that ``dim`` (None for all, an int or several) names, in ascending order, each once."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    given = [axis_of(d, rank) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(given)) != len(given):
        raise ValueError(f"dims {tuple(dim)} name an axis twice")
    return tuple(sorted(given)) if rank else ()


def numbers(given: Sequence[Any]) -> tuple[int, ...]:
    """The ints of ``f(1, 2)`` and of ``f((1, 2))`` alike."""
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = given[0]
    return tuple(operator.index(n) for n in given)


def pair(value: object, name: str) -> tuple[int, int]:
    """An int for both axes, or two ints: (height, width)."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) == 1:
        values *= 2
    try:
        height, width = (operator.index(v) for v in values)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an int or two ints (height, width), got {value!r}") from None
    return height, width


def per_axis(value: object, count: int, name: str) -> Shape:
    """An int for all of ``count`` axes, or as many ints; two are (height, width)."""
    if count == 2:
        return pair(value, name)
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    try:
        found = tuple(operator.index(v) for v in values)
    except TypeError:
        found = ()
    if len(found) not in (1, count):
        rule = "an int" if count == 1 else f"an int or {count} ints (depth, height, width)"
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return found * count if len(found) == 1 else found


def sample_shape(given: Sequence[int]) -> Shape:
    """The extents of one sample, all positive, as ints; raises ValueError for anything else."""
    try:
        shape = tuple(operator.index(n) for n in given)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(f"input_shape must be the positive extents of one sample, such as (3, 32, 32), got {given!r}")
    return shape


def resolve(shape: Shape, target: Shape) -> Shape:
    """``target`` of a view of ``shape`` with its one -1 replaced."""
    size = math.prod(shape)
    known = math.prod(n for n in target if n != -1)
    open_axes = target.count(-1)
    fits = known == size if open_axes == 0 else open_axes == 1 and known > 0 and size % known == 0
    if not fits or any(n < -1 for n in target):
        raise ValueError(f"a tensor of shape {shape} ({size} elements) cannot be viewed as {target}")
    return tuple(size // known if n == -1 else n for n in target)


def flattened(shape: Shape, start_dim: int, end_dim: int) -> Shape:
    """``shape`` with the axes ``start_dim`` to ``end_dim`` (both included) made one."""
    first, last = axis_of(start_dim, len(shape)), axis_of(end_dim, len(shape))
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} for shape {shape}")
    return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


def expanded(shape: Shape, target: Shape) -> Shape:
    """``target`` with -1 (keep the extent) replaced, for a tensor of ``shape`` aligned at the last axis."""
    padded = (1,) * (len(target) - len(shape)) + shape
    if len(padded) != len(target):
        raise ValueError(f"a tensor of shape {shape} cannot be expanded to the fewer axes of {target}")
    return tuple(old if new == -1 else new for old, new in zip(padded, target, strict=True))


class Selection(NamedTuple):
    """A basic index: the slice of every axis, and the shape in which its result is seen."""

    starts: Shape
    stops: Shape
    steps: Shape
    shape: Shape


def select(index: object, shape: Shape) -> Selection:
    """``index`` (ints, slices with positive step, None and one Ellipsis) applied to an array of ``shape``."""
    items: list[Any] = list(index) if isinstance(index, tuple) else [index]
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can hold one Ellipsis only")
    missing = len(shape) - sum(item is not None and item is not Ellipsis for item in items)
    if missing < 0:
        raise IndexError(f"index {index!r} has more axes than a tensor of shape {shape}")
    at = dots[0] if dots else len(items)
    items[at : at + len(dots)] = [slice(None)] * missing

    starts: list[int] = []
    stops: list[int] = []
    steps: list[int] = []
    seen: list[int] = []
    extents = iter(shape)
    for item in items:
        if item is None:
            seen.append(1)
            continue
        axis, extent = len(starts), next(extents)
        start, stop, step = _range(item, axis, extent)
        starts.append(start)
        stops.append(stop)
        steps.append(step)
        if isinstance(item, slice):
            seen.append(len(range(start, stop, step)))
    return Selection(tuple(starts), tuple(stops), tuple(steps), tuple(seen))


def _range(item: object, axis: int, extent: int) -> tuple[int, int, int]:
    if isinstance(item, slice):
        start, stop, step = item.indices(extent)
        if step < 1:
            raise IndexError(f"slice step {step} of axis {axis}: only positive steps are supported")
        if start >= stop:
            raise IndexError(f"slice {start}:{stop}:{step} of axis {axis} with extent {extent} selects nothing")
        return start, stop, step
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise IndexError(f"a tensor is indexed by ints, slices, None and Ellipsis, got {type(item).__name__}")
    at = operator.index(item)
    if not -extent <= at < extent:
        raise IndexError(f"index {at} is out of range for axis {axis} with extent {extent}")
    return at % extent, at % extent + 1, 1


def split_extents(extent: int, size: Any) -> list[int]:
    """The extents of the parts when an axis is split into parts of ``size``, or of the sizes in a list."""
    if isinstance(size, (tuple, list)):
        parts = [operator.index(n) for n in size]
        if sum(parts) != extent or any(n < 1 for n in parts):
            raise ValueError(f"split sizes {parts} must be positive and add up to the extent {extent}")
        return parts
    size = operator.index(size)
    if size < 1:
        raise ValueError(f"split size must be positive, got {size}")
    return [min(size, extent - start) for start in range(0, extent, size)]


def ranges(extents: Iterable[int]) -> list[tuple[int, int]]:
    """(start, stop) of parts that follow each other."""
    result, start = [], 0
    for extent in extents:
        result.append((start, start + extent))
        start += extent
    return result
