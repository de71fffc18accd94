"""The list of kernels: signatures, the portable rows, and the rows of whatever extension modules were built."""

from . import sampling_signatures  # noqa: F401
from .base import REGISTRY, Kernel, Launch, Parameters, Prefetching, Problem, Registry, Shape, Signature
from .signatures import REDUCTIONS, reduction_view

# isort: split
# Rows come after the signatures that they need.
from . import compiled, portable  # noqa: F401

__all__ = [
    "REDUCTIONS",
    "REGISTRY",
    "Kernel",
    "Launch",
    "Parameters",
    "Prefetching",
    "Problem",
    "Registry",
    "Shape",
    "Signature",
    "reduction_view",
]
