"""The operators: one family a file, their table, the builder that makes graphs of them, and their evaluation."""

from . import (
    activation,
    arithmetic,
    choice,
    conv,
    conv_nd,
    conv_transpose,
    dropout,
    extremes,
    gather,
    grid_sample,
    group_norm,
    linear,
    local_response_norm,
    loss,
    matmul,
    moments,
    norm,
    order,
    pool,
    pool_nd,
    random,
    reduce,
    resample,
    resize,
    shape,
    softmax,
    special,
    unpool,
)
from .base import Attrs, Case, OnnxMapping, Op, OperatorError, Part, Scalar
from .builder import Builder
from .evaluate import evaluate
from .labels import LabelRule, label_rules
from .rebatch import is_same_at, merge_batches, with_batch
from .reduce import sum_to
from .table import OPS, register

FAMILIES = (
    activation,
    arithmetic,
    choice,
    conv,
    conv_nd,
    conv_transpose,
    dropout,
    extremes,
    gather,
    grid_sample,
    group_norm,
    linear,
    local_response_norm,
    loss,
    matmul,
    moments,
    norm,
    order,
    pool,
    pool_nd,
    random,
    reduce,
    resample,
    resize,
    shape,
    softmax,
    special,
    unpool,
)
"""The modules whose import filled the table."""

__all__ = [
    "FAMILIES",
    "OPS",
    "Attrs",
    "Builder",
    "Case",
    "LabelRule",
    "OnnxMapping",
    "Op",
    "OperatorError",
    "Part",
    "Scalar",
    "evaluate",
    "is_same_at",
    "label_rules",
    "merge_batches",
    "register",
    "sum_to",
    "with_batch",
]
