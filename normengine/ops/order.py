"""Where the largest elements along an axis are, ``argmax``, and the first of them in order, ``topk``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .rules import first_input, real, require_axis, require_float32
from .table import register


def _argmax_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,), axis = specs, attrs["axis"]
    require_float32("input", x)
    require_axis("axis", axis, x)
    if x.shape[axis] == 0:
        raise OperatorError(f"the largest of none is asked for: axis {axis} of shape {x.shape}")
    kept = (1,) if attrs["keepdims"] else ()
    return (Spec((*x.shape[:axis], *kept, *x.shape[axis + 1 :]), "int64"),)


def _argmax_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, axis = real(arrays[0]), attrs["axis"]
    if attrs["last"]:
        places = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis, keepdims=attrs["keepdims"])
    else:
        places = np.argmax(x, axis=axis, keepdims=attrs["keepdims"])
    return (np.asarray(places, np.int64),)


def _topk_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,), axis, k = specs, attrs["axis"], attrs["k"]
    if x.dtype not in ("float32", "int64"):
        raise OperatorError(f"input must be float32 or int64, got {x.dtype}")
    require_axis("axis", axis, x)
    if not 1 <= k <= x.shape[axis]:
        raise OperatorError(f"k must be 1 to {x.shape[axis]}, the extent of axis {axis} of shape {x.shape}, got {k}")
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return Spec(shape, x.dtype), Spec(shape, "int64")


def _topk_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """NaN is larger than any number; of equal elements the first comes first."""
    (x,), axis, largest = arrays, attrs["axis"], attrs["largest"]
    missing = np.isnan(x)
    backwards = ~x if x.dtype.kind == "i" else -x
    order = np.lexsort((np.where(missing, 0, backwards if largest else x), missing ^ largest), axis=axis)
    places = np.take(order.astype(np.int64), range(attrs["k"]), axis=axis)
    return np.take_along_axis(real(x) if x.dtype.kind == "f" else x, places, axis), places


def _topk_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    (x,), (_, places), axis = node.inputs, node.outputs, node.attrs["axis"]
    if grads[0] is None or x.dtype != "float32":
        return [None]
    return [builder.add("gather_elements_grad", grads[0], places, axis=axis, extent=x.shape[axis])]


def _samples(node: Node) -> tuple[int, ...]:
    return first_input(node) if node.attrs["axis"] else ()


def _draw_ties(rng: np.random.Generator) -> Sequence[np.ndarray]:
    x = rng.integers(0, 3, (6, 9, 4)).astype(np.float32)
    x[0, 3, 1] = x[0, 5, 1] = np.nan
    x[1, :, 2] = -1e38
    return [x]


def _draw_whole_numbers(rng: np.random.Generator) -> Sequence[np.ndarray]:
    """Some of which differ by less than float64 tells."""
    x = 2**60 + rng.integers(0, 5, (6, 9, 4))
    x[0, :2, 0] = -(2**61), 2**61
    return [x]


_SHAPES = (((5,), 0), ((3, 10), 1), ((10, 3), 0), ((1, 1), 1), ((2, 7, 3, 5), 1), ((2, 3, 4, 5), 3), ((2, 40, 300), 1))

register(
    Op(
        "argmax",
        _argmax_infer,
        _argmax_reference,
        cases=lambda: (
            *(Case((s,), {"axis": a, "keepdims": k, "last": False}) for s, a in _SHAPES for k in (False, True)),
            *(Case(draw=_draw_ties, attrs={"axis": 1, "keepdims": False, "last": last}) for last in (False, True)),
        ),
        kind="statistics",
        samples=_samples,
        tolerance=0.0,
    ),
    Op(
        "topk",
        _topk_infer,
        _topk_reference,
        _topk_gradient,
        cases=lambda: (
            *(
                Case((s,), {"axis": a, "k": k, "largest": largest})
                for s, a in _SHAPES
                for k in dict.fromkeys((1, (s[a] + 1) // 2, s[a]))
                for largest in (True, False)
            ),
            *(
                Case(draw=draw, attrs={"axis": 1, "k": 6, "largest": largest}, differentiable=False)
                for draw in (_draw_ties, _draw_whole_numbers)
                for largest in (True, False)
            ),
        ),
        integers="any",
        kind="statistics",
        samples=_samples,
        tolerance=0.0,
    ),
)
