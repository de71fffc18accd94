"""Optimizers, with PyTorch's names, signatures and formulas."""

from .adam import Adam
from .adamw import AdamW
from .optimizer import Optimizer, Update
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "Update"]
