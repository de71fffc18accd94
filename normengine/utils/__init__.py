"""``utils.data``, under the name that PyTorch's scripts use."""

from . import data

__all__ = ["data"]
