"""What the families share: checks with messages, broadcasting, and float64 references of elementwise functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..graph import MAX_RANK, MEMORY, Spec, Value
from .inference import Arrays, Attrs, Infer, OperatorError

Reference = Callable[[Arrays, Attrs], tuple[np.ndarray, ...]]


def require_float32(name: str, spec: Spec) -> None:
    if spec.dtype != "float32":
        raise OperatorError(f"{name} must be float32, got {spec.dtype}; convert with x.astype(np.float32)")


def require_dtype(name: str, spec: Spec, dtype: str) -> None:
    if spec.dtype != dtype:
        raise OperatorError(f"{name} must be {dtype}, got {spec.dtype}; convert with x.astype(np.{dtype})")


def require_layout(name: str, spec: Spec, layout: str) -> None:
    """The spec must be float32 and have one extent for each letter of ``layout``, such as ``(N, C, H, W)``."""
    if spec.rank != layout.count(",") + 1:
        raise OperatorError(f"{name} must be {layout}, got shape {spec.shape}")
    require_float32(name, spec)


def require_shape(name: str, spec: Spec, shape: tuple[int, ...]) -> None:
    if spec.shape != shape:
        raise OperatorError(f"{name} must have shape {shape}, got {spec.shape}")


def require_axis(name: str, axis: int, spec: Spec) -> None:
    if not 0 <= axis < spec.rank:
        raise OperatorError(f"{name} {axis} is not one of the {spec.rank} axes of shape {spec.shape}")


def require_positive(name: str, numbers: tuple[int, ...]) -> None:
    if any(n < 1 for n in numbers):
        raise OperatorError(f"{name} must be positive, got {numbers}")


def require_size(name: str, spec: Spec) -> None:
    """The array must have few enough axes, and a machine of this size must be able to hold it."""
    if spec.rank > MAX_RANK:
        raise OperatorError(f"{name} has {spec.rank} axes, at most {MAX_RANK} are supported; merge some of them")
    if spec.nbytes > MEMORY:
        raise OperatorError(
            f"{name} of shape {spec.shape} takes {spec.nbytes} bytes, more than this machine's {MEMORY}"
        )


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """NumPy's broadcasting rule, its refusal as an :class:`OperatorError`."""
    rank = max(map(len, shapes), default=0)
    aligned = [{n for n in extents if n != 1} for extents in zip(*((1,) * (rank - len(s)) + s for s in shapes))]
    if any(len(extents) > 1 or min(extents, default=1) < 0 for extents in aligned):
        given = " and ".join(map(str, shapes))
        raise OperatorError(f"shapes {given} do not broadcast: aligned at the last axis, extents must be equal or 1")
    return tuple(extents.pop() if extents else 1 for extents in aligned)


def elementwise_infer(*names: str) -> Infer:
    """The shape rule of an elementwise operator on float32 inputs called ``names`` in messages."""

    def infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
        for name, spec in zip(names, specs, strict=True):
            require_float32(name, spec)
        return (Spec(broadcast([s.shape for s in specs])),)

    return infer


def elementwise_reference(function: Callable[..., np.ndarray]) -> Reference:
    """``function`` on the inputs as float64 arrays and the attributes as keywords."""

    @np.errstate(all="ignore")
    def reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
        return (np.asarray(function(*(real(a) for a in arrays), **attrs)),)

    return reference


def real(array: np.ndarray) -> np.ndarray:
    """``array`` as float64."""
    return np.asarray(array, dtype=np.float64)


def only(grads: Sequence[Value | None]) -> Value:
    """The gradient of an operator's single output."""
    (grad,) = grads
    assert grad is not None
    return grad
