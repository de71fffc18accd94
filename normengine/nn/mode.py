"""Training and eval mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .module import Module


@contextmanager
def kept_mode(model: Module, training: bool | None = None) -> Iterator[None]:
    """All modules in the mode ``training`` (None leaves them), and afterwards each in the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        if training is not None:
            model.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
