"""Optimizers, with PyTorch's names, signatures and formulas."""

from typing import Any

from ..absent import missing
from .adam import Adam
from .adamw import AdamW
from .optimizer import Optimizer, Update
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "Update"]


def __getattr__(name: str) -> Any:
    raise missing("optim", name)
