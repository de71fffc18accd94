"""Functions from graph to graph."""

from .decompose import decompose
from .differentiate import differentiate
from .fold_constants import fold_constants
from .fuse import fuse

__all__ = ["decompose", "differentiate", "fold_constants", "fuse"]
