"""What the families share: checks with messages, broadcasting, and float64 references of elementwise functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..graph import MAX_RANK, MEMORY, Node, Spec, Value
from .inference import Arrays, Attrs, Infer, OperatorError, Strides

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


_operands = elementwise_infer("left operand", "right operand")


def binary(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    """Two float32 operands, or two int64 ones."""
    if [spec.dtype for spec in specs] == ["int64", "int64"]:
        return (Spec(broadcast([spec.shape for spec in specs]), "int64"),)
    return _operands(specs, attrs)


def exact(function: np.ufunc) -> Reference:
    """``function`` on integers as such, on others as float64."""
    on_numbers = elementwise_reference(function)

    def reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
        if all(array.dtype.kind in "iu" for array in arrays):
            return (np.asarray(function(*arrays)),)
        return on_numbers(arrays, attrs)

    return reference


def real(array: np.ndarray) -> np.ndarray:
    """``array`` as float64."""
    return np.asarray(array, dtype=np.float64)


def only(grads: Sequence[Value | None]) -> Value:
    """The gradient of an operator's single output."""
    (grad,) = grads
    assert grad is not None
    return grad


def first_input(node: Node) -> tuple[int, ...]:
    """The samples rule of an operator whose first input has them, the others being the same for all."""
    return (0,)


def all_inputs(node: Node) -> tuple[int, ...]:
    """The samples rule of an operator all of whose inputs have them."""
    return tuple(range(len(node.inputs)))


def dense_strides(shape: Sequence[int]) -> Strides:
    """Row-major strides, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def place(node: Node) -> str:
    """What to call a node in an error."""
    return f"{node.op} '{node.layer}'" if node.layer else node.op


def depends_on_batch(a: Node, b: Node, *names: str) -> OperatorError:
    """The error for a node whose attributes ``names`` have no form for every batch size."""
    values = ", ".join(f"{name} {a.attrs[name]} and {b.attrs[name]}" for name in names)
    return OperatorError(f"{place(a)} depends on the batch size: {values} at batch 2 and 3")


def extents_depend_on_batch(a: Node, b: Node, name: str) -> OperatorError:
    """The same for extents that could be left open."""
    shapes = f"inputs {a.inputs[0].shape} and {b.inputs[0].shape}"
    return OperatorError(f"{depends_on_batch(a, b, name)} for {shapes}; let -1 stand for what varies")
