"""The rows of the kernels that were compiled ahead of time: one for each algorithm and each instruction set that was
built and that this CPU has. Names are ``<operator>[_<algorithm>]_<element type>_<instruction set>``.

A file here has all of one algorithm: how it cuts a problem, what that costs, and its rows.
"""

from __future__ import annotations

from functools import lru_cache, partial
from importlib import import_module

from ..base import ELEMENTS, REGISTRY, Kernel, Launch, Packing, PartialSums, Prefetching, Problem
from ..cpu import detect
from . import (
    conv_direct,
    conv_direct_weight,
    conv_taps_weight,
    depthwise,
    first_layer,
    launches,
    matmul,
    norm,
    pool,
    reorder,
    resample,
    winograd,
)
from .launches import Sizes
from .row import Row

__all__ = ["BUILT", "ROWS", "Row"]

REMEMBERED = 256
"""Problems that each row remembers its answers for."""

_FILES = (
    first_layer, conv_direct, depthwise, conv_direct_weight, conv_taps_weight, winograd, matmul, norm, reorder, pool,
    resample,
)  # fmt: skip
ROWS: tuple[Row, ...] = tuple(row for file in _FILES for row in file.ROWS)


def kernel(row: Row, isa: str, addresses: dict[str, int], sizes: Sizes) -> Kernel:
    """The row for one instruction set, whose module gave the functions' addresses and its sizes. Layers of a network
    are alike, so what the row says of the last problems is remembered."""
    remembered = lru_cache(REMEMBERED)

    def alone(problem: Problem) -> Launch:
        return row.launch(problem._replace(single_thread=True), sizes)

    packing = Packing(row.packs, remembered(lambda problem: row.packing(problem, sizes)))
    partial_sums = PartialSums(
        lambda problem: (launch := alone(problem))._replace(tasks=launch.tasks[:1]),
        lambda problem, chunks: launches.merge_of(alone(problem), chunks),
    )
    begin = partial(addresses.__getitem__, "prefetch")
    return Kernel(
        op=row.op,
        name="_".join(filter(None, (row.op, row.algorithm, ELEMENTS[row.dtype].short, isa))),
        isa=isa,
        stages=tuple(partial(addresses.__getitem__, stage) for stage in row.stages),
        launch=remembered(lambda problem: row.launch(problem, sizes)),
        supports=remembered(row.supports),
        cost=remembered(lambda problem: row.cost(problem, sizes)),
        blocked=row.blocked,
        width=sizes["width"],
        tolerance=row.tolerance,
        algorithm=row.algorithm,
        dtype=row.dtype,
        packing=packing if row.packs else None,
        partial_sums=partial_sums if row.partial_sums else None,
        prefetch=Prefetching(begin, row.prefetches, row.writes_late) if row.prefetches else None,
    )


def _register() -> tuple[str, ...]:
    for row in ROWS:
        REGISTRY.name(row.op, row.algorithm)
    built = []
    for isa in detect():
        try:
            module = import_module(f".._{isa}", __package__)
        except ImportError:
            continue
        built.append(isa)
        for row in ROWS:
            REGISTRY.register(kernel(row, isa, module.ADDRESSES, module.SIZES))
    return tuple(built)


BUILT = _register()
"""Instruction sets whose modules were imported; a module for a CPU that this one is not would not even start."""
