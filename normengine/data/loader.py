"""Batches of arrays, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..settings import whole
from .augment import Augment


class TensorDataset:
    """Arrays whose first axis counts the samples; ``dataset[i]`` is the tuple of their i-th entries.

    Raises:
        ValueError: no array is given, or their lengths differ.
    """

    def __init__(self, *arrays: Any) -> None:
        self.arrays = tuple(np.asarray(array) for array in arrays)
        if not self.arrays or any(array.ndim == 0 for array in self.arrays):
            raise ValueError("TensorDataset: give one array or more, each with samples along its first axis")
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"TensorDataset: arrays must have the same number of samples, got {' and '.join(map(str, lengths))}"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> tuple[np.ndarray, ...]:
        return tuple(array[index] for array in self.arrays)


class DataLoader:
    """Batches ``(x, y)`` of a data set, as tuples of arrays.

    ``dataset`` is a tuple of arrays, a :class:`TensorDataset`, or any object with ``len(dataset)`` and ``dataset[i]``
    giving the tuple of one sample. Each pass over the loader is an epoch. With ``shuffle``, the order of epoch ``e``
    (0, 1, ...) is drawn from NumPy's generator seeded with ``(seed, e)``, so that a run repeats whatever ran before
    it. ``augment(x, rng)`` changes the first array of each batch, with the same generator (see :func:`random_shift`).

    The last batch may be smaller, and ``drop_last`` leaves it out. A single sample that is left over joins the batch
    before it, because batch norm cannot train on one value per channel.

    Raises:
        ValueError: the data set is empty, ``batch_size`` is not a positive integer, or ``seed`` a negative one.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augment | None = None,
    ) -> None:
        batch_size = whole(batch_size, "DataLoader: batch_size", low=1)
        seed = whole(seed, "DataLoader: seed")
        self.dataset = TensorDataset(*dataset) if isinstance(dataset, (tuple, list)) else dataset
        if len(self.dataset) == 0:
            raise ValueError("DataLoader: the data set has no samples")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.augment = augment
        self.epoch = 0
        self._bounds = self._cut(len(self.dataset))

    def _cut(self, samples: int) -> list[int]:
        """Where batches begin, and the end of the last."""
        bounds = list(range(0, samples + 1, self.batch_size))
        rest = samples - bounds[-1]
        if rest == 1 and self.batch_size > 1 and len(bounds) > 1 and not self.drop_last:
            bounds[-1] = samples
        elif rest and not self.drop_last:
            bounds.append(samples)
        if len(bounds) == 1:
            raise ValueError(
                f"DataLoader: drop_last leaves no batch, since {samples} samples are fewer than batch_size "
                f"{self.batch_size}"
            )
        return bounds

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        samples = len(self.dataset)
        order = rng.permutation(samples) if self.shuffle else np.arange(samples)
        for begin, end in zip(self._bounds, self._bounds[1:], strict=False):
            batch = self._gather(order[begin:end])
            if self.augment is not None:
                batch = (self.augment(batch[0], rng), *batch[1:])
            yield batch

    def _gather(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        if isinstance(self.dataset, TensorDataset):
            return self.dataset[indices]
        samples = [self.dataset[int(i)] for i in indices]
        return tuple(np.stack(column) for column in zip(*samples, strict=True))
