"""Training: the compiled step, the trainer around it, weights on disk."""

from .checkpoint import load, save
from .history import Epoch, History
from .schedule import cosine
from .step import TrainStep
from .trainer import Evaluation, Trainer

__all__ = ["Epoch", "Evaluation", "History", "TrainStep", "Trainer", "cosine", "load", "save"]
