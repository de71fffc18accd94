"""Functions from graph to graph."""

from .decompose import decompose
from .differentiate import differentiate
from .extend_conv import extend_conv
from .fold_constants import fold_constants
from .fuse import fuse
from .join_loss_grad import join_loss_grad
from .pipeline import prepare, switched_off
from .recompute import recompute
from .spread_sums import spread_sums

__all__ = [
    "decompose",
    "differentiate",
    "extend_conv",
    "fold_constants",
    "fuse",
    "join_loss_grad",
    "prepare",
    "recompute",
    "spread_sums",
    "switched_off",
]
