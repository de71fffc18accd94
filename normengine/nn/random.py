"""Random number generators of the process: one for initialization and shuffling, one counter for dropout outside of a
step."""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np

from ..locks import new_lock

_lock = new_lock()
_generator = np.random.default_rng()
_seed = int(np.random.SeedSequence().generate_state(1)[0])
_calls = 0


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator anew from ``seed`` and return it: what follows repeats what followed before.

    Weights drawn by :mod:`normengine.nn.init`, the dropout of models called directly and the default seed of each
    ``TrainStep`` made afterwards depend on it.
    """
    global _generator, _seed, _calls
    seed = operator.index(seed) % 2**64
    generator, number = np.random.default_rng(seed), int(np.random.SeedSequence(seed).generate_state(1)[0])
    with _lock:
        _generator, _seed, _calls = generator, number, 0
    return generator


def _hold() -> None:
    """A generator has a lock of its own, which a fork would leave taken where another thread draws."""
    _held.append(_generator.bit_generator.lock)
    _held[-1].acquire()


def _let_go() -> None:
    _held.pop().release()


_held: list[Any] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)


def generator() -> np.random.Generator:
    """The generator that :func:`manual_seed` set, or one seeded by the operating system."""
    return _generator


def draw_seed() -> int:
    """A seed in 0..2**32-1 drawn from the generator."""
    return int(_generator.integers(2**32))


def next_call() -> tuple[np.ndarray, np.ndarray]:
    """``rng_seed`` and ``rng_step`` (uint32, shape ``()``) for one direct call of a model, never twice the same."""
    global _calls
    with _lock:
        _calls += 1
        return np.asarray(_seed, np.uint32), np.asarray(_calls % 2**32, np.uint32)
