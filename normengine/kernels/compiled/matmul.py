"""How matrix products are split, and what they cost: ``linear`` and ``matmul`` in every orientation."""

from __future__ import annotations

from typing import NamedTuple

from ..base import REGISTRY, Launch, Problem
from ..machine import MACHINE, MatrixCosts, l1, l2
from ..portable.linear import fits_two_parts
from .launches import WIDEST, Sizes, ceil_div, tasks_wanted
from .row import Row

DEPTH = 256
"""Terms of a sum in registers, at most."""
PANELS_BYTES = l2(1 / 8)
"""Panels that are copied at a time, which stay in the L2 cache."""
COLUMNS_BYTES = l2(3 / 16)
"""Copied columns of the left factor of a task, which stay in the L2 cache beside them."""
TASK_ROWS = 256
"""Rows of a task, where there are many: a part of them stays in the L2 cache."""
DOT_BYTES = l1(3 / 4)
"""Rows of the left factor that stay in the L1 cache while those of the right one pass."""
TILES_TOGETHER = 8
"""Tiles of the left factor that pass while a panel stays in the L1 cache, and then stay in the L2 cache."""
TILES_IN_PLACE = 4
APART = MACHINE.page_bytes // 4
"""Rows whose distance is a multiple of that are copied: they push each other out of the L1 cache."""
COST = MatrixCosts
FEW_TERMS = 4
DOT_TILES = 2
MATRIX_TASK_PRODUCTS = 16_000
"""Multiplications of the smallest task that a problem is split for."""


class Product(NamedTuple):
    """The numbers of a product's signature; the left and the right factor may be stored as their transposes. There are
    ``products`` of them, each of which is cut into tasks."""

    m: int
    n: int
    k: int
    flip_a: bool
    flip_b: bool
    most_tasks: int
    item_bytes: int
    products: int

    @classmethod
    def of(cls, problem: Problem) -> Product:
        m, n, k, *rest = REGISTRY.signatures[problem.op].values(problem)
        flips, products = (False, True), 1
        if problem.op == "matmul":
            flips, products = (bool(rest[0]), bool(rest[1])), int(rest[2])
        most_tasks = ceil_div(tasks_wanted(problem), products)
        return cls(int(m), int(n), int(k), *flips, most_tasks, problem.item_bytes, products)

    @property
    def tasks(self) -> int:
        """The most tasks that are worth it."""
        return max(1, min(self.most_tasks, self.m * self.n * self.k // MATRIX_TASK_PRODUCTS))


class Dots(NamedTuple):
    """The record of dot products: parts of the rows and of the columns, which make the tasks; terms of a product; tiles
    of rows that stay in the L1 cache."""

    row_parts: int
    column_parts: int
    depth: int
    tiles_together: int


class Rows(NamedTuple):
    """The record of rows of few terms: as many tasks make nearly equal parts of them."""

    tasks: int


class Panels(NamedTuple):
    """The record of outer products: parts of the rows and of the columns, which make the tasks; terms of a sum in
    registers; vectors of a panel; panels that are copied at a time; tiles that pass while a panel is in the L1 cache;
    whether b is read in place; the distance of its rows where a, flipped, is copied, else 0."""

    row_parts: int
    column_parts: int
    depth: int
    vectors: int
    together: int
    tiles_together: int
    in_place: int
    copied_row: int


def _panels(p: Product, sizes: Sizes) -> Panels:
    width = sizes["width"]
    tiles = ceil_div(p.m, sizes["matrix_rows"])
    vectors = min(sizes[f"matrix_vectors_{ceil_div(p.m, tiles)}"], ceil_div(p.n, width))
    panels = ceil_div(p.n, vectors * width)
    depth = ceil_div(p.k, ceil_div(p.k, DEPTH))
    panel_bytes = depth * vectors * width * p.item_bytes
    row_parts = min(tiles, max(1, p.m // TASK_ROWS))
    column_parts = min(panels, ceil_div(p.tasks, row_parts))
    row_parts = min(tiles, max(row_parts, ceil_div(p.tasks, column_parts)))
    mine = ceil_div(panels, column_parts)
    copied = p.flip_a and mine > 1 and p.m * p.item_bytes % APART == 0
    if copied:
        row_parts = min(tiles, max(row_parts, ceil_div(p.m * depth * p.item_bytes, COLUMNS_BYTES)))
    together = max(1, min(mine, PANELS_BYTES // panel_bytes))
    return Panels(
        row_parts=row_parts,
        column_parts=column_parts,
        depth=depth,
        vectors=vectors,
        together=together,
        tiles_together=TILES_TOGETHER,
        in_place=int(_in_place(p, tiles)),
        copied_row=_odd_lines(ceil_div(tiles, row_parts) * sizes["matrix_rows"], p.item_bytes) if copied else 0,
    )


def _odd_lines(items: int, item_bytes: int) -> int:
    """At least so many, an odd number of cache lines: rows that far apart do not push each other out of the cache."""
    return (ceil_div(items * item_bytes, MACHINE.line_bytes) | 1) * MACHINE.line_bytes // item_bytes


def _in_place(p: Product, tiles: int) -> bool:
    """Whether few tiles read the right factor, or one if its rows would push each other out of the cache."""
    return not p.flip_b and tiles <= (1 if p.n * p.item_bytes % MACHINE.page_bytes == 0 else TILES_IN_PLACE)


def panels(problem: Problem, sizes: Sizes) -> Launch:
    """Sums of outer products; a task makes some tiles of rows of some panels of columns."""
    p = Product.of(problem)
    g = _panels(p, sizes)
    floats = g.together * g.depth * g.vectors * sizes["width"]
    floats += g.copied_row * g.depth
    return Launch(tasks=(p.products * g.row_parts * g.column_parts,), workspace=floats * problem.item_bytes, extra=g)


def panels_cost(problem: Problem, sizes: Sizes) -> float:
    p = Product.of(problem)
    g = _panels(p, sizes)
    tiles = ceil_div(p.m, sizes["matrix_rows"])
    rows, count, chunks = p.m / tiles, ceil_div(p.n, g.vectors * sizes["width"]), ceil_div(p.k, g.depth)
    term = max(rows * g.vectors, rows + g.vectors, MACHINE.latency)
    cost = tiles * count * (p.k * term + chunks * COST.tile) + COST.value * p.n * p.k
    if not g.in_place:
        cost += g.row_parts * count * g.vectors * p.k * (COST.transposed if p.flip_b else COST.copy)
    if g.copied_row:
        cost += g.column_parts * p.k * ceil_div(p.m, sizes["width"]) * COST.copy
    return p.products * cost


def along_depth(problem: Problem) -> bool:
    """Whether both factors are stored so that the terms of a sum lie beside each other, a vector of them at least."""
    if not fits_two_parts(problem):
        return False
    p = Product.of(problem)
    return p.flip_b and not p.flip_a and p.k >= WIDEST


def _dots(p: Product, sizes: Sizes) -> Dots:
    tiles, columns = ceil_div(p.m, sizes["dot_rows"]), ceil_div(p.n, sizes["dot_columns"])
    together = min(tiles, DOT_TILES)
    most = DOT_BYTES // p.item_bytes // min(p.m, together * sizes["dot_rows"])
    depth = ceil_div(ceil_div(p.k, ceil_div(p.k, most)), sizes["width"]) * sizes["width"]
    row_parts = column_parts = 1
    while row_parts * column_parts < p.tasks:
        if p.m * column_parts > p.n * row_parts and 2 * row_parts <= tiles:
            row_parts *= 2
        elif 2 * column_parts <= columns:
            column_parts *= 2
        elif 2 * row_parts <= tiles:
            row_parts *= 2
        else:
            break
    return Dots(row_parts, column_parts, depth, together)


def dots(problem: Problem, sizes: Sizes) -> Launch:
    """Dot products of rows; a task makes some tiles of rows and of columns."""
    p = Product.of(problem)
    extra = _dots(p, sizes)
    return Launch(tasks=(p.products * extra.row_parts * extra.column_parts,), extra=extra)


def dots_cost(problem: Problem, sizes: Sizes) -> float:
    p = Product.of(problem)
    depth = _dots(p, sizes).depth
    tiles, columns = ceil_div(p.m, sizes["dot_rows"]), ceil_div(p.n, sizes["dot_columns"])
    rows, cols = p.m / tiles, p.n / columns
    term = max(rows * cols, rows + cols, MACHINE.latency)
    tile = ceil_div(p.k, sizes["width"]) * term + ceil_div(p.k, depth) * COST.dot_tile
    return p.products * (tiles * columns * tile + COST.value * p.n * p.k)


def few_terms(problem: Problem) -> bool:
    if not fits_two_parts(problem):
        return False
    p = Product.of(problem)
    return p.k <= FEW_TERMS and not p.flip_b


def terms(problem: Problem, sizes: Sizes) -> Launch:
    """Whole rows of sums of few terms; a task makes some of them."""
    p = Product.of(problem)
    tasks = min(p.m, max(1, min(p.most_tasks, p.m * p.n // MATRIX_TASK_PRODUCTS)))
    return Launch(tasks=(p.products * tasks,), extra=Rows(tasks))


def terms_cost(problem: Problem, sizes: Sizes) -> float:
    p = Product.of(problem)
    return p.products * p.m * (COST.row + ceil_div(p.n, sizes["width"]) * (COST.result + COST.term * p.k))


ROWS = (
    Row("linear", "panels", ("linear_panels",), panels, Panels, cost=panels_cost),
    Row("linear", "dots", ("linear_dots",), dots, Dots, along_depth, dots_cost),
    Row("matmul", "terms", ("matmul_terms",), terms, Rows, few_terms, terms_cost),
    Row("matmul", "panels", ("matmul_panels",), panels, Panels, fits_two_parts, panels_cost),
    Row("matmul", "dots", ("matmul_dots",), dots, Dots, along_depth, dots_cost),
)
