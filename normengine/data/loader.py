"""Batches of arrays, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ..conversion import one_array
from ..nested import joined, like
from ..settings import saved, whole
from .augment import Augment


class TensorDataset:
    """Arrays whose first axis counts the samples; ``dataset[i]`` is the tuple of their i-th entries.

    Raises:
        ValueError: no array is given, one has entries of unlike shapes, or their lengths differ.
    """

    def __init__(self, *arrays: object) -> None:
        self.arrays = tuple(one_array(array, f"TensorDataset: array {i}") for i, array in enumerate(arrays))
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
    """Batches of a data set: its samples, stacked.

    ``dataset`` is a tuple of arrays with samples along their first axes, a :class:`TensorDataset`, or a data set of
    single samples: a list of them, an array, or any object with ``len(dataset)`` and ``dataset[i]``. A batch has the
    form of a sample: for samples ``(image, label)`` it is a tuple of stacked arrays ``(images, labels)``, for dicts a
    dict of stacked arrays, for arrays one stacked array; texts become a list.

    Each pass over the loader is an epoch. With ``shuffle``, the order of epoch ``e`` (0, 1, ...) is drawn from NumPy's
    generator seeded with ``(seed, e)``, so that a run repeats whatever ran before it. ``augment(x, rng)`` changes the
    images of each batch, which are its first array, with the same generator (see :func:`random_shift`).

    The last batch may be smaller, and ``drop_last`` leaves it out. A single sample that is left over joins the batch
    before it, because batch norm cannot train on one value per channel.

    Raises:
        ValueError: the data set is empty, ``batch_size`` is not a positive integer, or ``seed`` a negative one; while
            iterating, samples cannot be stacked, or are dicts and there is an ``augment``.
        TypeError: ``dataset`` is a dict, or has no length or no samples by index.
    """

    def __init__(
        self,
        dataset: object,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augment | None = None,
    ) -> None:
        batch_size = whole(batch_size, "DataLoader: batch_size", low=1)
        seed = whole(seed, "DataLoader: seed")
        if isinstance(dataset, Mapping) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise TypeError(
                "DataLoader: dataset must be a tuple of arrays, or have len(dataset) and samples dataset[0], "
                f"dataset[1], ..., got {type(dataset).__name__}"
            )
        self.dataset = TensorDataset(*dataset) if isinstance(dataset, tuple) else dataset
        if len(self.dataset) == 0:
            raise ValueError("DataLoader: the data set has no samples")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.augment = augment
        self.epoch = 0
        self._bounds()

    def _bounds(self) -> list[int]:
        """Where batches begin, and the end of the last."""
        samples = len(self.dataset)
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
        return len(self._bounds()) - 1

    def __iter__(self) -> Iterator[Any]:
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        bounds, samples = self._bounds(), len(self.dataset)
        order = rng.permutation(samples) if self.shuffle else np.arange(samples)
        for begin, end in pairwise(bounds):
            batch = self._gather(order[begin:end])
            yield batch if self.augment is None else _augmented(batch, self.augment, rng)

    def _gather(self, indices: np.ndarray) -> Any:
        if isinstance(self.dataset, TensorDataset):
            return self.dataset[indices]
        return joined([self.dataset[int(i)] for i in indices], _stacked, "DataLoader: sample")

    def state_dict(self) -> dict[str, int]:
        """What the order of the next epoch depends on, as plain numbers: ``seed``, and how many epochs were begun."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the epoch after those of the loader whose :meth:`state_dict` is given.

        Raises:
            ValueError: it is something else; nothing is changed then.
        """
        seed, epoch = saved(state_dict, ("seed", "epoch"), "DataLoader: state_dict")
        numbers = {"seed": whole(seed, "DataLoader: saved seed"), "epoch": whole(epoch, "DataLoader: saved epoch")}
        vars(self).update(numbers)


def _augmented(batch: object, augment: Augment, rng: np.random.Generator) -> Any:
    """The batch with its images changed: the first array of a tuple or list, or all there is."""
    if isinstance(batch, np.ndarray):
        return augment(batch, rng)
    if isinstance(batch, (tuple, list)) and batch and isinstance(batch[0], np.ndarray):
        return like(batch, [augment(batch[0], rng), *batch[1:]])
    raise ValueError(
        f"DataLoader: augment changes the first array of tuples such as (x, y), and these samples make a "
        f"{type(batch).__name__}; change images where the data set makes its samples"
    )


def _stacked(parts: list[Any], what: str) -> Any:
    """What the samples have at one place, as one array; of texts as they are."""
    if isinstance(parts[0], (str, bytes)):
        return parts
    arrays = [one_array(part, what) for part in parts]
    shapes = [array.shape for array in arrays]
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "biufc":
            raise ValueError(f"{what} must be an array, a number or a text, got {type(parts[i]).__name__}")
        if shapes[i] != shapes[0]:
            raise ValueError(
                f"{what} must have the same shape in all of a batch, got {shapes[0]} and {shapes[i]}; bring all "
                "samples to one size, or give arrays that hold all samples as a tuple (x, y)"
            )
    return np.stack(arrays)
