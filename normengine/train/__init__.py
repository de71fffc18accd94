"""Training: the compiled step, the trainer around it, weights on disk, and statistics of batch norms after it."""

from .checkpoint import load, save
from .history import Epoch, History
from .mixing import Mixing, Mixture, fit_mixing, mix_statistics
from .population import Recalibrated, Recalibration, recalibrate
from .schedule import cosine
from .step import TrainStep
from .trainer import Evaluation, Trainer

__all__ = [
    "Epoch",
    "Evaluation",
    "History",
    "Mixing",
    "Mixture",
    "Recalibrated",
    "Recalibration",
    "TrainStep",
    "Trainer",
    "cosine",
    "fit_mixing",
    "load",
    "mix_statistics",
    "recalibrate",
    "save",
]
