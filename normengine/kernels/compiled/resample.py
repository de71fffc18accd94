"""How weighted sums of pixels by tables split a problem, and what they cost."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ..base import Launch, Problem
from ..machine import ResampleCosts, whole_lines
from .launches import INT64, Sizes, ceil_div, tasks_wanted
from .row import Row

COST = ResampleCosts
FLOAT = 4
LANE = 4
"""Bytes of the number of a lane."""


class Held(NamedTuple):
    """The record of kernels whose planes are cut into so many tasks. Of the rows that they read, ``held`` are kept with
    their columns made anew until the next rows of results need them; before them in the workspace are ``vectors``
    floats, the table of columns for vectors of outputs of ``entries`` inputs each, none where there is no such table.
    """

    parts: int
    held: int
    entries: int
    vectors: int


def _lanes(sizes: Sizes, blocked: bool) -> int:
    return sizes["width"] if blocked else 1


def _planes(problem: Problem, lanes: int) -> int:
    n, c = problem.outputs[0][:2]
    return n * ceil_div(c, lanes)


def launch(problem: Problem, sizes: Sizes, blocked: bool) -> Launch:
    """Several tasks a plane where there are few planes."""
    lanes = _lanes(sizes, blocked)
    oh, ow = problem.outputs[0][2:]
    planes = _planes(problem, lanes)
    parts = min(oh, ceil_div(tasks_wanted(problem), planes))
    held = max(2, min(problem.attrs["span"], sizes["resample_held"]))
    rows = 0 if problem.attrs["keeps_columns"] else FLOAT * held * ow * lanes
    entries = 0 if blocked else _entries(problem, sizes)
    vector = sizes["width"] * (FLOAT + LANE) + INT64
    vectors = whole_lines(entries * ceil_div(ow, sizes["width"]) * vector)
    extra = Held(parts, held, entries, vectors // FLOAT)
    return Launch((planes * parts,), workspace=vectors + whole_lines(rows), extra=extra)


def _entries(problem: Problem, sizes: Sizes) -> int:
    """The inputs of an output where vectors of them can be permuted."""
    most: int = problem.attrs["entries"]
    permuted = sizes["resample_permutes"] and most <= sizes["resample_entries"]
    return most if permuted and not problem.attrs["keeps_columns"] else 0


def cost(problem: Problem, sizes: Sizes, blocked: bool) -> float:
    """A vector read or written, and each entry of a table: of columns, one pixel of rows that are read; of rows, a
    vector of results."""
    lanes = _lanes(sizes, blocked)
    x, y = problem.inputs[0], problem.outputs[0]
    assert x is not None and problem.inputs[2] is not None and problem.inputs[4] is not None
    (h, w), (oh, ow) = x[2:], y[2:]
    vectors = 1.0 if blocked else 1 / sizes["width"]
    row_entries, column_entries = problem.inputs[2][0], problem.inputs[4][0]
    each = COST.column if blocked or not _entries(problem, sizes) else COST.permuted / sizes["width"]
    columns = 0 if problem.attrs["keeps_columns"] else min(h, row_entries) * column_entries * each
    rows = row_entries * ow * vectors * COST.row
    return _planes(problem, lanes) * (columns + rows + COST.moved * vectors * (h * w + oh * ow))


ROWS = (
    Row(
        "resample2d",
        "",
        ("resample2d_blocked",),
        partial(launch, blocked=True),
        Held,
        cost=partial(cost, blocked=True),
        blocked=("x", "y"),
    ),
    Row(
        "resample2d",
        "plain",
        ("resample2d_plain",),
        partial(launch, blocked=False),
        Held,
        cost=partial(cost, blocked=False),
    ),
)
