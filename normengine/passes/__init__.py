"""Functions from graph to graph."""

from .decompose import decompose
from .differentiate import differentiate
from .expand_norm_grad_sums import expand_norm_grad_sums
from .fold_constants import fold_constants
from .fuse import fuse
from .fuse_epilogue import fuse_epilogue
from .fuse_loss_grad import fuse_loss_grad
from .pipeline import PASSES, prepare
from .rematerialize import rematerialize

__all__ = [
    "PASSES",
    "decompose",
    "differentiate",
    "expand_norm_grad_sums",
    "fold_constants",
    "fuse",
    "fuse_epilogue",
    "fuse_loss_grad",
    "prepare",
    "rematerialize",
]
