"""Weights that are computed of other parameters, under the names of ``torch.nn.utils``: parametrizations, and weight
normalization in its older form."""

from ...absent import missing
from . import parametrizations, parametrize
from .weight_norm import remove_weight_norm, weight_norm

__all__ = ["parametrizations", "parametrize", "remove_weight_norm", "weight_norm"]


def __getattr__(name: str) -> object:
    raise missing("nn.utils", name)
