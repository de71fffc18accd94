"""Data sets and loaders under the names of ``torch.utils.data``: those of :mod:`normengine.data`, and a few more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..data import DataLoader as _DataLoader
from ..data import TensorDataset
from ..nn import random
from ..settings import whole

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "random_split"]


class Dataset:
    """A data set of one's own: ``len(dataset)`` samples, each ``dataset[i]``."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__(index)")


class Indexed(Protocol):
    """What has samples by number."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> Any:
        """One of them."""


class Subset(Dataset):
    """The samples of ``dataset`` that ``indices`` names."""

    def __init__(self, dataset: Indexed, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, [int(i) for i in indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]


def random_split(
    dataset: Indexed, lengths: Sequence[float], generator: np.random.Generator | None = None
) -> list[Subset]:
    """Parts of ``dataset`` drawn at random, of the ``lengths``, or of shares of it that add up to 1.

    Raises ValueError if they do not add up.
    """
    samples = len(dataset)
    parts = list(lengths)
    if parts and abs(sum(parts) - 1) < 1e-6 and not all(isinstance(part, int) for part in parts):
        counts = [int(samples * part) for part in parts]
        for i in range(samples - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [whole(part, "random_split: a length") for part in parts]
    if sum(counts) != samples:
        raise ValueError(f"random_split: lengths {list(lengths)} do not add up to the {samples} samples, or to 1")
    order = (generator or random.generator()).permutation(samples)
    bounds = np.cumsum([0, *counts])
    return [Subset(dataset, order[begin:end].tolist()) for begin, end in itertools.pairwise(bounds)]


_IDLE = frozenset(
    {"num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "timeout", "worker_init_fn", "generator",
     "multiprocessing_context", "pin_memory_device"}
)  # fmt: skip
_INSTEAD = {
    "sampler": "give a Subset of the data set, or shuffle=True",
    "batch_sampler": "give batch_size, shuffle and drop_last",
    "collate_fn": "let dataset[i] give arrays of one shape, in a tuple or a dict; they are stacked",
}


class DataLoader(_DataLoader):
    """:class:`normengine.data.DataLoader` that takes PyTorch's options: those for worker processes, pinned memory and
    generators change nothing (a ``seed`` orders the samples). Raises TypeError for others, and says what to do."""

    def __init__(self, dataset: Any, batch_size: int = 1, shuffle: bool = False, **options: Any) -> None:
        for name in [name for name, value in options.items() if name in _INSTEAD and value is None]:
            del options[name]
        for name in options:
            if name in _INSTEAD:
                raise TypeError(f"DataLoader: {name} is not there; {_INSTEAD[name]}")
        kept = {name: value for name, value in options.items() if name not in _IDLE}
        super().__init__(dataset, batch_size, bool(shuffle), **kept)
