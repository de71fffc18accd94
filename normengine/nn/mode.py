"""Training and eval mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import setitem

from ..locks import at_once
from .module import Module


@contextmanager
def kept_mode(model: Module, training: bool | None = None) -> Iterator[None]:
    """All modules in the mode ``training`` (None leaves them), and afterwards each in the mode that it had."""
    restore = at_once([partial(setitem, vars(module), "training", module.training) for module in model.modules()])
    try:
        if training is not None:
            model.train(training)
        yield
    finally:
        restore()
