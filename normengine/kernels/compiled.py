"""The rows of the kernels that were compiled ahead of time: one for each algorithm and each instruction set that was
built and that this CPU has. Names are ``<operator>[_<algorithm>]_f32_<instruction set>``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from typing import NamedTuple

from . import (
    launch_blocks,
    launch_depthwise,
    launch_direct,
    launch_direct_weight,
    launch_first,
    launch_matrix,
    launch_pool,
    launch_taps_weight,
    launch_winograd,
    launches,
)
from .base import REGISTRY, Kernel, Launch, Problem
from .cpu import detect
from .launches import Sizes

Supports = Callable[[Problem], bool]
Cost = Callable[[Problem, Sizes], float]
REMEMBERED = 256
"""Problems that each row remembers its answers for."""
A_FLOAT = 2.0
"""Multiply-adds of a vector in the time that a value takes from or to memory."""


def _any(problem: Problem) -> bool:
    return True


def _matrix(problem: Problem) -> bool:
    """One value a channel and image."""
    return REGISTRY.signatures[problem.op].values(problem)[2] == 1


def traffic(problem: Problem, sizes: Sizes) -> float:
    """The cost of reading each input and writing each output once."""
    shapes = [s for s in (*problem.inputs, *problem.outputs) if s is not None]
    return A_FLOAT * sum(math.prod(shape) for shape in shapes)


def half(problem: Problem, sizes: Sizes) -> float:
    """Below :func:`traffic`: of a kernel that is made for what it supports."""
    return traffic(problem, sizes) / 2


def nothing(problem: Problem, sizes: Sizes) -> float:
    return 0.0


class Row(NamedTuple):
    """One algorithm for one operator, in every instruction set: ``stages`` are names of functions, the other fields
    those of :class:`~normengine.kernels.base.Kernel`, ``in_groups`` whether it has a ``partial``."""

    op: str
    algorithm: str
    stages: tuple[str, ...]
    launch: Callable[[Problem, Sizes], Launch]
    supports: Supports = _any
    cost: Cost = traffic
    packs: tuple[str, ...] = ()
    packing: Cost = nothing
    blocked: tuple[str, ...] = ()
    tolerance: float | None = None
    in_groups: bool = False
    asking: float = 0.0
    writes_late: bool = False


def _pooling(op: str, launch: Callable[[Problem, Sizes], Launch], cost: Cost) -> Row:
    x = ("x",) if op == "max_pool2d_grad" else ()
    blocked = ("dy", *x, "dx") if op.endswith("grad") else ("x", "y")
    return Row(op, "", (f"{op}_blocked",), launch, cost=cost, blocked=blocked)


def _winograd(op: str, m: int, r: int, blocked: tuple[str, ...]) -> Row:
    """F(m x m, r x r); the weight gradient is F(r x r, m x m)."""
    row = Row(
        op,
        f"winograd{m}" if r == 3 else f"winograd{m}_{r}x{r}",
        (f"{op}_winograd_pack", f"{op}_winograd"),
        partial(launch_winograd.tiles, m=m),
        partial(launch_winograd.supports, r=r),
        partial(launch_winograd.tiles_cost, m=m),
        packs=("weight",),
        packing=partial(launch_winograd.tiles_packing, m=m),
        blocked=blocked,
        tolerance=launch_winograd.TOLERANCE,
        asking=launch_winograd.share_of_products(m, r),
        writes_late=True,
    )
    if op != "conv2d_weight_grad":
        return row
    return row._replace(
        stages=(f"{op}_winograd", f"{op}_winograd_taps"),
        launch=launch_winograd.weight_grad,
        cost=launch_winograd.weight_grad_cost,
        packs=(),
        packing=nothing,
        in_groups=True,
        writes_late=False,
    )


ROWS = (
    Row(
        "conv2d",
        "first",
        ("conv2d_first_pack", "conv2d_first"),
        launch_first.conv2d_first,
        launch_first.few_channels,
        launch_first.conv2d_first_cost,
        packs=("weight",),
        packing=launch_first.conv2d_first_packing,
        blocked=("residual", "y"),
        asking=1.0,
    ),
    Row(
        "conv2d",
        "direct",
        ("conv2d_direct_pack", "conv2d_direct"),
        launch_direct.direct,
        launch_direct.supports,
        launch_direct.direct_cost,
        packs=("weight",),
        packing=launch_direct.direct_packing,
        blocked=("x", "residual", "y"),
        asking=1.0,
    ),
    Row(
        "conv2d_input_grad",
        "direct",
        ("conv2d_input_grad_direct_pack", "conv2d_input_grad_direct"),
        launch_direct.direct,
        launch_direct.supports,
        launch_direct.direct_cost,
        packs=("weight",),
        packing=launch_direct.direct_packing,
        blocked=("dy", "dx"),
        asking=1.0,
    ),
    Row(
        "conv2d",
        "depthwise",
        ("depthwise_blocked_pack", "depthwise_blocked"),
        launch_depthwise.conv2d,
        launch_depthwise.supports,
        launch_depthwise.conv2d_cost,
        packs=("weight",),
        packing=launch_depthwise.packing,
        blocked=("x", "residual", "y"),
    ),
    Row(
        "conv2d_input_grad",
        "depthwise",
        ("depthwise_blocked_input_grad_pack", "depthwise_blocked_input_grad"),
        launch_depthwise.conv2d_input_grad,
        launch_depthwise.supports,
        launch_depthwise.conv2d_input_grad_cost,
        packs=("weight",),
        packing=launch_depthwise.packing,
        blocked=("dy", "dx"),
    ),
    Row(
        "conv2d_weight_grad",
        "depthwise",
        ("depthwise_blocked_weight_grad", "depthwise_blocked_weight_grad_merge"),
        launch_depthwise.conv2d_weight_grad,
        launch_depthwise.supports,
        launch_depthwise.conv2d_weight_grad_cost,
        blocked=("dy", "x"),
        in_groups=True,
    ),
    Row(
        "conv2d_weight_grad",
        "direct",
        ("conv2d_weight_grad_direct", "conv2d_weight_grad_merge_direct"),
        launch_direct_weight.conv2d_weight_grad_direct,
        launch_direct_weight.bands_are_small,
        launch_direct_weight.direct_cost,
        blocked=("dy", "x"),
        in_groups=True,
        asking=1.0,
    ),
    Row(
        "conv2d_weight_grad",
        "first",
        ("conv2d_weight_grad_direct", "conv2d_weight_grad_merge_direct"),
        launch_direct_weight.conv2d_weight_grad_first,
        launch_direct_weight.bands_are_small,
        launch_direct_weight.first_cost,
        blocked=("dy",),
        in_groups=True,
        asking=1.0,
    ),
    Row(
        "conv2d_weight_grad",
        "taps",
        ("conv2d_weight_grad_taps", "conv2d_weight_grad_merge_taps"),
        launch_taps_weight.taps,
        launch_taps_weight.several_taps,
        launch_taps_weight.taps_cost,
        blocked=("dy", "x"),
        in_groups=True,
        asking=1.0,
    ),
    Row(
        "conv2d_weight_grad",
        "packed",
        ("conv2d_weight_grad_packed", "conv2d_weight_grad_merge_packed"),
        launch_taps_weight.packed,
        launch_taps_weight.neighbouring_taps,
        launch_taps_weight.packed_cost,
        blocked=("dy", "x"),
        in_groups=True,
        asking=1.0,
    ),
    *(_winograd("conv2d", m, r, ("x", "residual", "y")) for m, r in ((4, 3), (2, 3), (2, 5))),
    *(_winograd("conv2d_input_grad", m, r, ("dy", "dx")) for m, r in ((4, 3), (2, 3), (2, 5))),
    *(_winograd("conv2d_weight_grad", m, r, ("dy", "x")) for m, r in ((4, 3), (2, 5))),
    Row("linear", "panels", ("linear_panels",), launch_matrix.panels, cost=launch_matrix.panels_cost),
    Row(
        "linear",
        "dots",
        ("linear_dots",),
        launch_matrix.dots,
        launch_matrix.along_depth,
        launch_matrix.dots_cost,
    ),
    Row(
        "matmul",
        "terms",
        ("matmul_terms",),
        launch_matrix.terms,
        launch_matrix.few_terms,
        launch_matrix.terms_cost,
    ),
    Row("matmul", "panels", ("matmul_panels",), launch_matrix.panels, cost=launch_matrix.panels_cost),
    Row(
        "matmul",
        "dots",
        ("matmul_dots",),
        launch_matrix.dots,
        launch_matrix.along_depth,
        launch_matrix.dots_cost,
    ),
    Row("batch_stats", "", ("batch_stats_chunk", "batch_stats_merge"), launches.channel_sums),
    Row(
        "batch_norm_grad_sums",
        "",
        ("batch_norm_grad_sums_chunk", "batch_norm_grad_sums_merge"),
        launches.channel_sums,
    ),
    Row("batch_stats", "columns", ("batch_stats_columns",), launches.channel_columns, _matrix, cost=half),
    Row(
        "batch_norm_grad_sums",
        "columns",
        ("batch_norm_grad_sums_columns",),
        launches.channel_columns,
        _matrix,
        cost=half,
    ),
    Row("reduce_sum", "", ("reduce_sum",), launches.reduce_sum),
    Row(
        "batch_stats",
        "blocked",
        ("batch_stats_blocked", "batch_stats_blocked_merge"),
        launch_blocks.batch_stats,
        launch_blocks.images,
        cost=half,
        blocked=("x",),
        in_groups=True,
    ),
    Row(
        "batch_norm_grad_sums",
        "blocked",
        ("batch_norm_grad_sums_blocked", "batch_norm_grad_sums_blocked_merge"),
        launch_blocks.batch_norm_grad_sums,
        launch_blocks.images,
        cost=half,
        blocked=("dy", "x"),
    ),
    Row(
        "reduce_sum",
        "blocked",
        ("channel_sums_blocked", "channel_sums_blocked_merge"),
        launch_blocks.channel_sums,
        launch_blocks.whole_channels,
        cost=half,
        blocked=("x",),
    ),
    Row("to_blocked", "", ("to_blocked",), launch_blocks.reorder, blocked=("y",)),
    Row("from_blocked", "", ("from_blocked",), launch_blocks.reorder, blocked=("x",)),
    Row("repeat_channels", "", ("repeat_channels",), launch_blocks.repeat_channels),
    _pooling("max_pool2d", launch_pool.rows, launch_pool.max_cost),
    _pooling("max_pool2d_grad", launch_pool.planes, launch_pool.max_grad_cost),
    _pooling("avg_pool2d", launch_pool.rows, launch_pool.avg_cost),
    _pooling("avg_pool2d_grad", launch_pool.planes, launch_pool.avg_grad_cost),
    _pooling("adaptive_avg_pool2d", launch_pool.planes, launch_pool.avg_cost),
    _pooling("adaptive_avg_pool2d_grad", launch_pool.planes, launch_pool.avg_grad_cost),
)


def kernel(row: Row, isa: str, addresses: dict[str, int], sizes: Sizes) -> Kernel:
    """The row for one instruction set, whose module gave the functions' addresses and its sizes. Layers of a network
    are alike, so what the row says of the last problems is remembered."""
    remembered = lru_cache(REMEMBERED)

    def partial_launches(problem: Problem, chunks: int) -> tuple[Launch, Launch]:
        return launches.in_groups(row.launch(problem._replace(single_thread=True), sizes), chunks)

    return Kernel(
        op=row.op,
        name="_".join(filter(None, (row.op, row.algorithm, "f32", isa))),
        isa=isa,
        stages=tuple(partial(addresses.__getitem__, stage) for stage in row.stages),
        launch=remembered(lambda problem: row.launch(problem, sizes)),
        supports=remembered(row.supports),
        cost=remembered(lambda problem: row.cost(problem, sizes)),
        packs=row.packs,
        packing=remembered(lambda problem: row.packing(problem, sizes)),
        blocked=row.blocked,
        width=sizes["width"],
        tolerance=row.tolerance,
        algorithm=row.algorithm,
        partial=partial_launches if row.in_groups else None,
        asks=partial(addresses.__getitem__, "prefetch") if row.asking else None,
        asking=row.asking,
        writes_late=row.writes_late,
    )


def _register() -> tuple[str, ...]:
    for row in ROWS:
        REGISTRY.name(row.op, row.algorithm)
    built = []
    for isa in detect():
        try:
            module = import_module(f"{__package__}._{isa}")
        except ImportError:
            continue
        built.append(isa)
        for row in ROWS:
            REGISTRY.register(kernel(row, isa, module.ADDRESSES, module.SIZES))
    return tuple(built)


BUILT = _register()
"""Instruction sets whose modules were imported; a module for a CPU that this one is not would not even start."""
