"""Instruments for batch norm and dropout: what they do to each other in a network, measured on data or read off its
graph. Nothing in a model changes by them."""

from .bn_statistics import BatchNormStatistics, NormStatistics, bn_statistics
from .check import Check, Finding, check
from .covariate_shift import CovariateShift, Distribution, covariate_shift
from .variance_shift import Shift, VarianceShift, variance_shift

__all__ = [
    "BatchNormStatistics",
    "Check",
    "CovariateShift",
    "Distribution",
    "Finding",
    "NormStatistics",
    "Shift",
    "VarianceShift",
    "bn_statistics",
    "check",
    "covariate_shift",
    "variance_shift",
]
