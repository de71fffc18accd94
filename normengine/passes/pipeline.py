"""The passes that bring a graph into the form that is planned, in their order, and which of them are switched off.

The environment variable ``NORMENGINE_PASSES_OFF`` names passes, separated by commas, that are left out: results stay
the same within rounding, and the difference in time shows what a pass brings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

from ..graph import Graph
from .decompose import decompose
from .expand_norm_grad_sums import expand_norm_grad_sums
from .fold_constants import fold_constants
from .fuse import fuse, separate
from .fuse_epilogue import fuse_epilogue
from .fuse_loss_grad import fuse_loss_grad
from .limit_code import limit_code
from .rematerialize import rematerialize

VARIABLE = "NORMENGINE_PASSES_OFF"
BLOCKS = "blocks"
"""The name of the layout: activations in blocks of channels, which planning chooses."""
DEPTH_FIRST = "depth_first"
"""The name of the order of calls that planning chooses: what treats images one by one for some of them at a time."""
IN_PLACE = "in_place"
"""The name of what planning does with memory: groups of images write results over what they have read."""
PREFETCH = "prefetch"
"""The name of what planning does for groups of images: while one is multiplied, memory is asked for ahead."""
MERGED_UPDATES = "merged_updates"
"""The name of what planning does to updates that do not depend on each other: it makes one call of them."""


def _nothing(graph: Graph) -> Graph:
    return graph


PASSES: Mapping[str, tuple[Callable[[Graph], Graph], Callable[[Graph], Graph]]] = {
    "fuse_epilogue": (fuse_epilogue, _nothing),
    "fuse_loss_grad": (fuse_loss_grad, _nothing),
    "expand_norm_grad_sums": (expand_norm_grad_sums, _nothing),
    "fuse": (fuse, separate),
    "rematerialize": (rematerialize, _nothing),
}
"""By name, in order: the pass, and what takes its place when it is switched off."""
NAMES = (*PASSES, BLOCKS, DEPTH_FIRST, IN_PLACE, PREFETCH, MERGED_UPDATES)


def switched_off(without: Collection[str] = ()) -> frozenset[str]:
    """The names of the passes that are not to run: those given and those of the environment variable.

    Raises ValueError for a name that is none of ``NAMES``.
    """
    if isinstance(without, str):
        raise ValueError(f"passes to leave out must be a collection of names, got {without!r}; put it into a tuple")
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for names, where in ((without, "passes to leave out"), (named, VARIABLE)):
        for name in names:
            if name not in NAMES:
                raise ValueError(f"{where}: there is no pass {name!r}, choose from {', '.join(NAMES)}")
    return frozenset((*without, *named))


def prepare(graph: Graph, off: Collection[str] = ()) -> Graph:
    """``graph`` with composite operators written out, numbers made of constants alone computed, and every pass run that
    is not ``off``; what is compiled for it has a limit (see :mod:`.limit_code`)."""
    graph = fold_constants(decompose(graph), most=1)
    for name, (run, instead) in PASSES.items():
        graph = (instead if name in off else run)(graph)
    return limit_code(graph)
