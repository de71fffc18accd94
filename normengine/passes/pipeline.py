"""The pass pipeline: the passes that bring a graph into the form that is planned, in their order.

A pass can be left out (``NORMENGINE_PASSES_OFF``, ``without_passes=``): results stay the same within rounding, and the
difference in time shows what it brings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..graph import Graph
from .decompose import decompose
from .expand_norm_grad_sums import expand_norm_grad_sums
from .fold_constants import fold_constants
from .fuse import fuse, separate
from .fuse_epilogue import fuse_epilogue
from .fuse_loss_grad import fuse_loss_grad
from .lift_reshapes import lift_reshapes
from .limit_code import limit_code
from .rematerialize import rematerialize


def _nothing(graph: Graph) -> Graph:
    return graph


PASSES: Mapping[str, tuple[Callable[[Graph], Graph], Callable[[Graph], Graph]]] = {
    "lift_reshapes": (lift_reshapes, _nothing),
    "fuse_epilogue": (fuse_epilogue, _nothing),
    "fuse_loss_grad": (fuse_loss_grad, _nothing),
    "expand_norm_grad_sums": (expand_norm_grad_sums, _nothing),
    "fuse": (fuse, separate),
    "rematerialize": (rematerialize, _nothing),
}
"""By name, in order: the pass, and what takes its place when it is switched off."""


def prepare(graph: Graph, off: Collection[str] = ()) -> Graph:
    """``graph`` with composite operators written out, numbers made of constants alone computed, and every pass run that
    is not ``off``; what is compiled for it has a limit (see :mod:`.limit_code`)."""
    graph = fold_constants(decompose(graph), most=1)
    for name, (run, instead) in PASSES.items():
        graph = (instead if name in off else run)(graph)
    return limit_code(graph)
