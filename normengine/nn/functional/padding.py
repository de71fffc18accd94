"""Padding: numbers around a tensor, or its own elements."""

from __future__ import annotations

from collections.abc import Sequence

from ... import shapes
from ...settings import finite
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["pad"]

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@function
def pad(input: ArrayLike, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """A tensor with more around it: ``pad`` is (before, after) of the last axis, then of the one before it, and so on;
    negative numbers cut off instead.

    With ``mode`` "constant" what is added is ``value``, by default 0; with "reflect" it is the tensor reflected at its
    first and last elements, "replicate" repeats these, and "circular" goes on at the other end.

    Raises:
        ValueError: the mode is another one, ``value`` is given with a mode that has none or is not finite, ``pad`` is
            not two numbers an axis, or an axis is too short: reflection needs more elements than it adds on a side,
            going round as many.
    """
    x: Tensor = as_traced(input)
    numbers = shapes.numbers((tuple(pad),))
    if mode not in _MODES:
        raise ValueError(f"pad: mode must be {', '.join(map(repr, _MODES))}, got {mode!r}")
    if mode != "constant" and value is not None:
        raise ValueError(f"pad: mode {mode!r} has no value, got {value}; leave it out")
    if len(numbers) % 2 or len(numbers) > 2 * x.ndim:
        raise ValueError(f"pad takes (before, after) for up to {x.ndim} axes of shape {x.shape}, got {numbers}")
    fill = finite(value or 0.0, "pad: value")
    around = [(0, 0)] * (x.ndim - len(numbers) // 2) + list(zip(numbers[-2::-2], numbers[::-2], strict=True))
    _check_extents(x.shape, around, mode)
    cut = tuple(slice(max(0, -b), n - max(0, -a)) for (b, a), n in zip(around, x.shape, strict=True))
    x = x[cut]
    before, after = (tuple(max(0, pair[side]) for pair in around) for side in (0, 1))
    if not any((*before, *after)):
        return x
    return x._apply("pad", before=before, after=after, mode=_MODES[mode], value=fill)


def _check_extents(shape: Sequence[int], around: Sequence[tuple[int, int]], mode: str) -> None:
    """Raise ValueError where an axis has not the elements that would be put beside it."""
    spare = {"reflect": 1, "circular": 0}.get(mode)
    for axis, (n, sides) in enumerate(zip(shape, around, strict=True)):
        if spare is not None and max(sides) > n - spare:
            rule = "fewer than" if spare else "at most as many as"
            raise ValueError(
                f"pad: mode {mode!r} adds {rule} the elements of an axis, got {sides} for axis {axis} of shape {shape}"
            )
