"""Classification accuracy: how many predictions are right, where outputs are scores of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..nn import BCEWithLogitsLoss
from ..nn import functional as F


def is_rated(loss: object, outputs: Sequence[int], targets: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Whether outputs and targets of these shapes, the targets of this ``dtype``, say what is right: as two classes an
    element for a binary cross entropy, else as scores ``(N, C, ...)`` of C > 1 classes and labels ``(N, ...)``."""
    if _is_binary(loss):
        return tuple(outputs) == tuple(targets)
    is_scores = len(outputs) > 1 and outputs[1] > 1 and (outputs[0], *outputs[2:]) == tuple(targets)
    return is_scores and np.dtype(dtype).kind in "iub"


def accuracy_of(loss: object, outputs: object, targets: np.ndarray) -> float | None:
    """The share of predictions that are right; None for several outputs, and where it has no meaning."""
    if not isinstance(outputs, np.ndarray) or not is_rated(loss, outputs.shape, targets.shape, targets.dtype):
        return None
    tally = Tally(loss)
    tally.add(outputs, targets)
    return tally.accuracy()


class Tally:
    """Counts right predictions in batches for which :func:`is_rated` is True; targets are int64 or float32.

    A prediction is the largest score, for a binary cross entropy the side of 0. Labels that the loss ignores do not
    count: those that are no class, and its ``ignore_index``. Small batches wait until there are many, so that a batch
    costs a training step next to nothing.
    """

    def __init__(self, loss: object) -> None:
        self._loss = loss
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._size = self._right = self._counted = 0

    def add(self, outputs: np.ndarray, targets: np.ndarray) -> None:
        """Count a batch, of which the targets are copied."""
        self._waiting.append((outputs, targets.copy()))
        self._size += outputs.size
        if self._size > _MOST:
            self._count()

    def accuracy(self) -> float | None:
        """The share of predictions that are right, None where nothing was counted."""
        if self._waiting:
            self._count()
        return self._right / self._counted if self._counted else None

    def _count(self) -> None:
        outputs, targets = (np.concatenate(arrays) for arrays in zip(*self._waiting, strict=True))
        self._waiting, self._size = [], 0
        if _is_binary(self._loss):
            right, counted = (outputs > 0) == (targets > 0.5), np.ones(targets.shape, bool)
        else:
            ignored = getattr(self._loss, "ignore_index", -100)
            right = outputs.argmax(1) == targets
            counted = (targets >= 0) & (targets < outputs.shape[1]) & (targets != ignored)
        self._right += int(np.count_nonzero(right & counted))
        self._counted += int(np.count_nonzero(counted))


_MOST = 2**16
"""Outputs that wait to be counted."""


def _is_binary(loss: object) -> bool:
    return isinstance(loss, BCEWithLogitsLoss) or loss is F.binary_cross_entropy_with_logits
