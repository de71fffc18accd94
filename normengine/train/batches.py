"""Sources of batches for a trainer: arrays or loaders, to train on and to validate on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..conversion import one_array
from ..settings import whole
from .inputs import as_input, as_target, one_target

_SPLIT = 2**32 - 1  # the stream of random numbers that draws the validation samples, beside those of the epochs
Pair = tuple[np.ndarray, np.ndarray]


def pairs(loader: Iterable[Any], where: str) -> Iterator[tuple[Any, Any]]:
    """The pairs that the loader gives, at least one; raises ValueError, which ``where`` begins, for anything else."""
    i = -1
    for i, batch in enumerate(loader):
        if not isinstance(batch, Sequence) or len(batch) != 2:
            given = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
            raise ValueError(f"{where}, batch {i + 1}: expected a pair (x, y), got {given}; let the loader give tuples")
        yield batch[0], batch[1]
    if i < 0:
        raise ValueError(f"{where}: the loader gave no batches")


def given_batches(data: object, batch_size: int, where: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The batches ``(x, y)`` of arrays or of a loader, at least one; ``y`` is None where there are no targets.

    ``data`` is an array of samples, a tuple ``(x, y)`` of arrays, cut into batches of ``batch_size`` (a single sample
    that is left over joins the batch before it), or anything that gives batches, ``x`` or ``(x, y)``. Raises
    ValueError, which ``where`` begins, for anything else.
    """
    if isinstance(data, tuple):
        if len(data) != 2:
            raise ValueError(f"{where}: a tuple must be (x, y), got {len(data)} parts; give batches in a list")
        yield from _sliced(*_checked(data[0], data[1], where), batch_size)
    elif isinstance(data, np.ndarray):
        yield from _sliced(as_input(data, f"{where}: x"), None, batch_size)
    else:
        for place, batch in _loaded(data, where):
            parts = batch if isinstance(batch, (tuple, list)) else (batch,)
            if not 1 <= len(parts) <= 2:
                raise ValueError(f"{place}: expected x or (x, y), got {len(parts)} parts; let the loader give two")
            yield _checked(parts[0], parts[1], place) if len(parts) == 2 else (as_input(parts[0], f"{place}: x"), None)


def given_inputs(data: object, batch_size: int, where: str) -> Iterator[np.ndarray]:
    """The ``x`` of :func:`given_batches`, whatever comes behind it."""
    batch_size = whole(batch_size, f"{where}: batch_size", low=1)
    if isinstance(data, (tuple, np.ndarray)):
        yield from (x for x, _ in given_batches(data, batch_size, where))
    else:
        for place, batch in _loaded(data, where):
            yield as_input(batch[0] if isinstance(batch, (tuple, list)) and batch else batch, f"{place}: x")


def _loaded(loader: object, where: str) -> Iterator[tuple[str, Any]]:
    """What a loader gives, at least once, and the words for where it is."""
    if not isinstance(loader, Iterable) or isinstance(loader, (str, bytes, Mapping)):
        given = type(loader).__name__
        raise ValueError(f"{where}: data must be an array, arrays (x, y) or a loader of batches, got a {given}")
    i = -1
    for i, batch in enumerate(loader):
        yield f"{where}, batch {i + 1}", batch
    if i < 0:
        raise ValueError(f"{where}: the data gave no batches; give one at least, and no generator that is used up")


def _checked(x: object, y: object, where: str) -> Pair:
    x, y = as_input(x, f"{where}: x"), as_target(y, f"{where}: y")
    if len(x) != len(y):
        raise ValueError(f"{where}: x has {len(x)} samples, y has {len(y)}; give one target for each")
    return x, y


def _sliced(x: np.ndarray, y: np.ndarray | None, size: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    bounds = [*range(0, len(x), size), len(x)]
    if bounds[-1] - bounds[-2] == 1 < size and len(bounds) > 2:
        del bounds[-2]
    for begin, end in pairwise(bounds):
        yield x[begin:end], None if y is None else y[begin:end]


def check_passes(loader: Iterable[Any], passes: int, what: str) -> None:
    """Raise ValueError for what can be iterated over once only, if that is not enough."""
    if isinstance(loader, Iterator) and passes > 1:
        raise ValueError(
            f"Trainer.fit: {what}: a generator gives its batches once, which is not enough for {passes} epochs; "
            "give a DataLoader or a list of batches"
        )


def arrays(x: object, y: object) -> Pair:
    """Arrays to train on, with one entry a sample in each; raises ValueError for anything else."""
    x, y = one_array(x, "Trainer.fit: x"), one_target(y, "Trainer.fit: y")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"Trainer.fit: x and y must have one entry a sample, got shapes {x.shape} and {y.shape}")
    return x, y


def checked_validation(given: object, passes: int) -> Any:
    """What to validate on: None, a share as a float, a pair of arrays or a loader.

    Raises:
        ValueError: it is nothing of these, or the pair does not fit together.
    """
    if given is None or isinstance(given, float):
        return given
    if isinstance(given, np.floating):
        return float(given)
    if isinstance(given, list) and given and all(isinstance(batch, tuple) for batch in given):
        return given
    if not isinstance(given, (tuple, list)):
        if isinstance(given, (np.ndarray, str, Mapping)) or not isinstance(given, Iterable):
            raise _no_validation(repr(given) if np.isscalar(given) else f"a {type(given).__name__}")
        check_passes(given, passes, "validation")
        return given
    if len(given) != 2:
        raise _no_validation(f"{len(given)} parts")
    x, y = as_input(given[0], "Trainer.fit: validation x"), as_target(given[1], "Trainer.fit: validation y")
    if len(x) != len(y):
        raise ValueError(f"Trainer.fit: validation x has {len(x)} samples, y has {len(y)}; give one target for each")
    return x, y


def _no_validation(given: str) -> ValueError:
    return ValueError(
        f"Trainer.fit: validation must be a pair of arrays (x, y), a loader, or a share such as 0.1, got {given}"
    )


def split(x: np.ndarray, y: np.ndarray, share: float, seed: int) -> tuple[Pair, Pair]:
    """The samples to train on, in their order, and the share held out, which ``seed`` draws."""
    count = round(share * len(x)) if 0 < share < 1 else 0
    if not 0 < count < len(x):
        raise ValueError(
            f"Trainer.fit: validation={share} is no share of {len(x)} samples that leaves at least one on either side"
        )
    order = np.random.default_rng((seed, _SPLIT)).permutation(len(x))
    held_out, rest = order[:count], np.sort(order[count:])
    return (x[rest], y[rest]), (x[held_out], y[held_out])
