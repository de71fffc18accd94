"""Training and eval mode as a context: set for a while, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import setitem

from ..locks import at_once
from .module import Module


@contextmanager
def kept_mode(model: Module, training: bool | None = None) -> Iterator[None]:
    """All modules in the mode ``training`` (None leaves them); afterwards each that was put into another mode by that
    is in the one it had, and what anybody else does to modes meanwhile stays."""
    if training is None:
        yield
        return
    before = [(module, module.training) for module in model.modules()]
    restore = _set(before)
    try:
        model.train(training)
        restore = _set((module, mode) for module, mode in before if module.training != mode)
        yield
    finally:
        restore()


@contextmanager
def in_training(modules: Iterable[Module]) -> Iterator[None]:
    """Each of these modules, but not those below it, in training mode; afterwards each is in the mode it had."""
    before = [(module, module.training) for module in modules]
    restore = _set(before)
    try:
        _set((module, True) for module, _ in before)()
        yield
    finally:
        restore()


def _set(modes: Iterable[tuple[Module, bool]]) -> Callable[[], object]:
    """A function that puts modules into these modes at once."""
    return at_once([partial(setitem, vars(module), "training", mode) for module, mode in modes])
