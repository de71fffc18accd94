"""The arguments of the operators that sample images, as :mod:`.signatures` has those of the others."""

from __future__ import annotations

from .base import REGISTRY, Parameters, Problem, Shape, Signature
from .signatures import shape_of

SAMPLINGS = {"linear": 0, "nearest": 1, "cubic": 2}
PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}


class Resample:
    """Images and the size of the results; ``keeps_columns`` says that columns stay as they are."""

    n: int
    c: int
    h: int
    w: int
    oh: int
    ow: int
    keeps_columns: int


class GridSample:
    """Images and the size of the results, of depth 1 where they have two axes, and how they are sampled: ``mode`` and
    ``padding`` count those of :data:`SAMPLINGS` and :data:`PADDINGS`."""

    n: int
    c: int
    d: int
    h: int
    w: int
    od: int
    oh: int
    ow: int
    dims: int
    mode: int
    padding: int
    corners: int


def _resample2d(problem: Problem) -> Parameters:
    return (*shape_of(problem, 0), *problem.outputs[0][2:], int(problem.attrs["keeps_columns"]))


def _sampled(x: Shape, y: Shape, problem: Problem) -> Parameters:
    attrs, flat = problem.attrs, (1,) * (5 - len(x))
    how = SAMPLINGS[attrs["mode"]], PADDINGS[attrs["padding_mode"]], int(attrs["align_corners"])
    return (*x[:2], *flat, *x[2:], *flat, *y[2:], len(x) - 2, *how)


def _grid_sample(problem: Problem) -> Parameters:
    return _sampled(shape_of(problem, 0), problem.outputs[0], problem)


def _grid_sample_input_grad(problem: Problem) -> Parameters:
    return _sampled(problem.outputs[0], shape_of(problem, 0), problem)


def _grid_sample_grid_grad(problem: Problem) -> Parameters:
    return _sampled(shape_of(problem, 1), shape_of(problem, 0), problem)


for _signature in (
    Signature(
        "resample2d",
        ("x", "row_taps", "row_weights", "column_taps", "column_weights"),
        ("y",),
        (Resample,),
        _resample2d,
        integers=("row_taps", "column_taps"),
    ),
    Signature("grid_sample", ("x", "grid"), ("y",), (GridSample,), _grid_sample),
    Signature("grid_sample_input_grad", ("dy", "grid"), ("dx",), (GridSample,), _grid_sample_input_grad),
    Signature("grid_sample_grid_grad", ("dy", "x", "grid"), ("dgrid",), (GridSample,), _grid_sample_grid_grad),
):
    REGISTRY.declare(_signature)
