"""Training: the compiled step."""

from .step import TrainStep

__all__ = ["TrainStep"]
