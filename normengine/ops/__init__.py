"""The operators: one family a file, their table, the builder that makes graphs of them, and their evaluation."""

from . import activation, arithmetic, conv, linear, norm, pool, reduce, shape
from .base import Attrs, Case, OnnxMapping, Op, OperatorError, Scalar
from .builder import Builder
from .evaluate import evaluate
from .reduce import sum_to
from .table import OPS, register

FAMILIES = (activation, arithmetic, conv, linear, norm, pool, reduce, shape)
"""The modules whose import filled the table."""

__all__ = [
    "FAMILIES",
    "OPS",
    "Attrs",
    "Builder",
    "Case",
    "OnnxMapping",
    "Op",
    "OperatorError",
    "Scalar",
    "evaluate",
    "register",
    "sum_to",
]
