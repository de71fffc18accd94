"""Weighted sums of pixels along rows and columns, by tables: what :mod:`.resize` and its gradient are computed by.

``y[n, c, i, j] = sum over p, q of rows[i, p] * columns[j, q] * x[n, c, p, q]``. Of a sparse matrix such as ``rows``
the input ``taps`` has, for each of its rows, where its entries start and at the end where all end, then the place of
each entry; ``weights`` are the entries. ``span`` is how many neighbouring rows an output has at most, ``entries`` how
many columns, and ``keeps_columns`` says that those stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .interpolation import Interpolation, Taps, taps_of
from .rules import first_input, real, require_dtype, require_layout
from .table import register


def resampled(builder: Builder, x: Value, rows: Taps, columns: Taps) -> Value:
    """``x`` (N, C, H, W) with rows and columns made anew."""
    if rows.is_identity and columns.is_identity:
        return x
    given = (builder.constant(table) for axis in (rows, columns) for table in tables(axis))
    return builder.add("resample2d", x, *given, **attributes(rows, columns))


def attributes(rows: Taps, columns: Taps) -> Attrs:
    """Beside the size of the result, what kernels cut their work by."""
    return {
        "output_size": (rows.outputs, columns.outputs),
        "span": _span(rows),
        "entries": columns.most,
        "keeps_columns": columns.is_identity,
    }


def tables(axis: Taps) -> tuple[np.ndarray, np.ndarray]:
    """Taps int64 and weights float32 of an axis; at least one weight, since arrays without elements are none."""
    weights = axis.weights if len(axis.weights) else np.zeros(1)
    with np.errstate(over="ignore"):
        return np.concatenate([axis.starts, axis.places]), weights.astype(np.float32)


def _span(axis: Taps) -> int:
    """The most neighbouring inputs that lie between the first and the last one of an output."""
    counts = np.diff(axis.starts)
    if not counts.any():
        return 1
    first = axis.starts[:-1][counts > 0]
    last = axis.starts[1:][counts > 0] - 1
    return int((axis.places[last] - axis.places[first]).max()) + 1


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, row_taps, row_weights, column_taps, column_weights = specs
    require_layout("input", x, "(N, C, H, W)")
    for name, taps, weights in (("row", row_taps, row_weights), ("column", column_taps, column_weights)):
        require_dtype(f"{name} taps", taps, "int64")
        require_layout(f"{name} weights", weights, "(entries)")
        if taps.rank != 1:
            raise OperatorError(f"{name} taps must be a list of starts and places, got shape {taps.shape}")
    return (Spec((*x.shape[:2], *attrs["output_size"])),)


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    y, given = real(arrays[0]), arrays[1:]
    for axis, outputs in enumerate(attrs["output_size"]):
        taps, weights = given[2 * axis : 2 * axis + 2]
        starts, places = taps[: outputs + 1], taps[outputs + 1 :]
        y = Taps(y.shape[2 + axis], starts, places, real(weights)).applied(y, 2 + axis)
    return (y,)


def _operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    """Two for each entry of a column in each row that is read, and of a row in each column that is made."""
    (n, c, h, _), (*_, oh, ow) = inputs[0], outputs[0]
    return 2 * n * c * (min(h, oh) * inputs[4][0] + ow * inputs[2][0])


def _axis(size: int, outputs: int, mode: str, **settings: object) -> Interpolation:
    plain = Interpolation(
        size, outputs, outputs / size, (0.0, 1.0), mode, "half_pixel", "floor", -0.75, False, False, False
    )
    return plain._replace(**settings)  # type: ignore[arg-type]


def _problems() -> tuple[tuple[tuple[int, ...], Taps, Taps], ...]:
    nearest, linear = (taps_of(_axis(5, 10, mode)) for mode in ("nearest", "linear"))
    thrice, cubic = taps_of(_axis(4, 12, "nearest")), taps_of(_axis(7, 9, "cubic"))
    less = taps_of(_axis(19, 4, "linear", antialias=True))
    cropped = taps_of(_axis(7, 6, "linear", transformation="tf_crop_and_resize", crop=(-0.5, 0.8)))
    whole = Taps.identity(6)
    return (
        ((2, 19, 5, 5), nearest, nearest),
        ((2, 19, 5, 5), linear, linear),
        ((1, 3, 10, 10), nearest.transposed(), nearest.transposed()),
        ((1, 3, 10, 10), linear.transposed(), linear.transposed()),
        ((2, 5, 4, 7), thrice, cubic),
        ((2, 5, 7, 4), cubic, thrice),
        ((1, 17, 19, 6), less, whole),
        ((1, 33, 6, 19), whole, less),
        ((1, 2, 4, 4), less.transposed(), less.transposed()),
        ((1, 4, 7, 7), cropped, cropped),
        ((1, 1, 6, 6), cropped.transposed(), cropped.transposed()),
        ((1, 1, 1, 1), taps_of(_axis(1, 1, "cubic")), taps_of(_axis(1, 3, "linear"))),
        ((1, 2, 3, 40), taps_of(_axis(3, 2, "nearest")), taps_of(_axis(40, 67, "linear"))),
    )


def _case(shape: tuple[int, ...], rows: Taps, columns: Taps) -> Case:
    def draw(rng: np.random.Generator) -> list[np.ndarray]:
        x = rng.standard_normal(shape).astype(np.float32)
        return [x, *tables(rows), *tables(columns)]

    return Case(attrs=attributes(rows, columns), draw=draw)


register(
    Op(
        "resample2d",
        _infer,
        _reference,
        cases=lambda: tuple(_case(*problem) for problem in _problems()),
        kind="resampling",
        operations=_operations,
        samples=first_input,
    )
)
