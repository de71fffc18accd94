"""Elements at indices along an axis: ``gather``, whose indices are the same for all else, and ``gather_elements``,
whose indices are one for each element.

An index counts from the end of the axis where it is negative. One beyond the axis means its last element, or its first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .rules import only, real, require_axis, require_float32
from .table import register

Grads = Sequence["Value | None"]


def _require(x: Spec, indices: Spec, axis: int) -> None:
    if x.dtype not in ("float32", "int64"):
        raise OperatorError(f"input must be float32 or int64, got {x.dtype}")
    if indices.dtype != "int64":
        raise OperatorError(f"indices must be int64, got {indices.dtype}")
    require_axis("axis", axis, x)
    if x.shape[axis] == 0:
        raise OperatorError(f"axis {axis} of shape {x.shape} has no elements")


def _require_same(shape: tuple[int, ...], indices: Spec, axis: int) -> None:
    places = indices.shape
    if len(shape) != len(places) or shape[:axis] + shape[axis + 1 :] != places[:axis] + places[axis + 1 :]:
        raise OperatorError(f"indices of shape {places} must have shape {shape} but for axis {axis}")


def _gather_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x, indices), axis = specs, attrs["axis"]
    _require(x, indices, axis)
    return (Spec((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype),)


def _elements_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x, indices), axis = specs, attrs["axis"]
    _require(x, indices, axis)
    _require_same(x.shape, indices, axis)
    return (Spec(indices.shape, x.dtype),)


def _gather_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (dy, indices), axis, rank = specs, attrs["axis"], specs[1].rank
    require_float32("gradient", dy)
    if dy.shape[axis : axis + rank] != indices.shape:
        raise OperatorError(f"indices of shape {indices.shape} must be axes {axis} and on of shape {dy.shape}")
    return (Spec((*dy.shape[:axis], attrs["extent"], *dy.shape[axis + rank :])),)


def _elements_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (dy, indices), axis = specs, attrs["axis"]
    require_float32("gradient", dy)
    _require_same(indices.shape, Spec(dy.shape), axis)
    return (Spec((*dy.shape[:axis], attrs["extent"], *dy.shape[axis + 1 :])),)


def _places(indices: np.ndarray, extent: int) -> np.ndarray:
    return np.clip(np.where(indices < 0, indices + extent, indices), 0, extent - 1)


def _moved(x: np.ndarray) -> np.ndarray:
    return real(x) if x.dtype.kind == "f" else x


def _gather_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x, indices), axis = arrays, attrs["axis"]
    return (np.take(_moved(x), _places(indices, x.shape[axis]), axis=axis),)


def _elements_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x, indices), axis = arrays, attrs["axis"]
    return (np.take_along_axis(_moved(x), _places(indices, x.shape[axis]), axis),)


def _gather_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (dy, indices), axis, extent = arrays, attrs["axis"], attrs["extent"]
    before, behind = dy.shape[:axis], dy.shape[axis + indices.ndim :]
    dx = np.zeros((extent, *before, *behind))
    rows = np.moveaxis(real(dy).reshape(*before, -1, *behind), axis, 0)
    np.add.at(dx, _places(indices, extent).reshape(-1), rows)
    return (np.ascontiguousarray(np.moveaxis(dx, 0, axis)),)


def _elements_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (dy, indices), axis, extent = arrays, attrs["axis"], attrs["extent"]
    dx = np.zeros((*dy.shape[:axis], extent, *dy.shape[axis + 1 :]))
    at = list(np.indices(indices.shape))
    at[axis] = _places(indices, extent)
    np.add.at(dx, tuple(at), real(dy))
    return (dx,)


def _gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    (x, indices), axis = node.inputs, node.attrs["axis"]
    if grads[0] is None:
        return [None, None]
    return [builder.add(f"{node.op}_grad", grads[0], indices, axis=axis, extent=x.shape[axis]), None]


def _gather_grad_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("gather", only(grads), node.inputs[1], axis=node.attrs["axis"]), None]


def _elements_grad_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("gather_elements", only(grads), node.inputs[1], axis=node.attrs["axis"]), None]


def _gather_samples(node: Node) -> tuple[int, ...]:
    """Those of the input; along axis 0 those of the indices, for which the input is a table."""
    if node.attrs["axis"]:
        return (0,)
    return (1,) if node.inputs[1].shape else ()


def _gather_grad_samples(node: Node) -> tuple[int, ...]:
    return (0,) if node.attrs["axis"] else ()


def _elements_samples(node: Node) -> tuple[int, ...]:
    return (0, 1) if node.attrs["axis"] else ()


def _case(shape: tuple[int, ...], places: tuple[int, ...], axis: int, extent: int | None = None) -> Case:
    """Indices from either end; ``extent`` makes it a gradient's, whose indices reach beyond both."""

    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        x = rng.standard_normal(shape).astype(np.float32)
        n, beyond = extent or shape[axis], 0 if extent is None else 2
        return [x, rng.integers(-n - beyond, n + beyond, places)]

    return Case(attrs={"axis": axis} if extent is None else {"axis": axis, "extent": extent}, draw=draw)


def _whole_numbers(shape: tuple[int, ...], places: tuple[int, ...], axis: int) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        return [rng.integers(-(2**60), 2**60, shape), rng.integers(0, shape[axis], places)]

    return Case(attrs={"axis": axis}, draw=draw, differentiable=False)


register(
    Op(
        "gather",
        _gather_infer,
        _gather_reference,
        _gradient,
        cases=lambda: (
            _case((7,), (), 0),
            _case((7, 3), (4,), 0),
            _case((2, 5, 3), (2, 3), 1),
            _case((2, 4, 300), (6,), 1),
            _case((2, 3, 4), (1,), 2),
            _whole_numbers((5, 3), (4,), 0),
        ),
        kind="reorders",
        samples=_gather_samples,
        tolerance=0.0,
        integers="any",
    ),
    Op(
        "gather_grad",
        _gather_grad_infer,
        _gather_grad_reference,
        _gather_grad_gradient,
        cases=lambda: (
            _case((3,), (), 0, 7),
            _case((9, 3), (9,), 0, 4),
            _case((2, 2, 3, 3), (2, 3), 1, 5),
            _case((2, 6, 300), (6,), 1, 4),
        ),
        kind="reorders",
        samples=_gather_grad_samples,
        integers="any",
    ),
    Op(
        "gather_elements",
        _elements_infer,
        _elements_reference,
        _gradient,
        cases=lambda: (
            _case((7,), (3,), 0),
            _case((7, 3), (4, 3), 0),
            _case((2, 5, 3), (2, 8, 3), 1),
            _case((2, 4, 300), (2, 1, 300), 1),
            _case((2, 3, 4), (2, 3, 2), 2),
            _whole_numbers((5, 3), (4, 3), 0),
        ),
        kind="reorders",
        samples=_elements_samples,
        tolerance=0.0,
        integers="any",
    ),
    Op(
        "gather_elements_grad",
        _elements_grad_infer,
        _elements_grad_reference,
        _elements_grad_gradient,
        cases=lambda: (
            _case((3,), (3,), 0, 7),
            _case((9, 3), (9, 3), 0, 4),
            _case((2, 6, 3), (2, 6, 3), 1, 5),
            _case((2, 6, 300), (2, 6, 300), 1, 4),
        ),
        kind="reorders",
        samples=_elements_samples,
        integers="any",
    ),
)
