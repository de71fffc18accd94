"""The training history: one record an epoch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..settings import saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds")
_OPTIONAL = frozenset({"accuracy", "val_loss", "val_accuracy"})
_TRAINING, _HELD_OUT = "#1f5fa8", "#d1603d"


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    ``loss`` is the mean over the samples of the losses of the steps, ``accuracy`` the share of their predictions that
    were right, both taken in training mode before each update. ``val_loss`` and ``val_accuracy`` were measured after
    the epoch in eval mode; they are None without validation data. Accuracies are None where the targets are no classes
    or the model has several outputs, that of training also where outputs are more than one prediction a sample, such as
    ``(N, C, H, W)``. ``lr`` has the learning rate of each parameter group at the last step. ``seconds`` counts training
    and validation.
    """

    epoch: int
    loss: float
    accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    lr: tuple[float, ...]
    seconds: float


class History:
    """The epochs of a training run, oldest first; prints as a table."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __getitem__(self, index: int) -> Epoch:
        return self.epochs[index]

    @property
    def loss(self) -> list[float]:
        """The mean training loss of each epoch."""
        return [e.loss for e in self.epochs]

    @property
    def accuracy(self) -> list[float | None]:
        """The share of right predictions in training of each epoch, None where it is not known."""
        return [e.accuracy for e in self.epochs]

    @property
    def val_loss(self) -> list[float | None]:
        """The loss on held-out samples of each epoch, None where there are none."""
        return [e.val_loss for e in self.epochs]

    @property
    def val_accuracy(self) -> list[float | None]:
        """The share of right predictions on held-out samples of each epoch, None where it is not known."""
        return [e.val_accuracy for e in self.epochs]

    @property
    def lr(self) -> list[tuple[float, ...]]:
        """The learning rates of each epoch, one for each group."""
        return [e.lr for e in self.epochs]

    @property
    def seconds(self) -> list[float]:
        """How long each epoch took."""
        return [e.seconds for e in self.epochs]

    def __str__(self) -> str:
        rows = [_COLUMNS, *map(_texts, self.epochs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)

    def state_dict(self) -> list[dict[str, Any]]:
        """The epochs as plain values, which pickle and JSON keep."""
        return [asdict(epoch) for epoch in self.epochs]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw losses and accuracy by epoch, into the file ``path`` if one is given.

        Returns:
            The ``matplotlib.figure.Figure``.

        Raises:
            ModuleNotFoundError: matplotlib is not installed (``pip install matplotlib``).
        """
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "History.plot needs matplotlib; install it with pip install matplotlib", name=error.name
            ) from error
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        self.draw(left, right)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def draw(self, losses: Axes, accuracy: Axes) -> None:
        """Draw the curves into two axes of matplotlib."""
        style = {"marker": "o", "markersize": 3}
        curves = (
            (losses, _TRAINING, "training", [(e.epoch, e.loss) for e in self.epochs]),
            (losses, _HELD_OUT, "held out", [(e.epoch, e.val_loss) for e in self.epochs if e.val_loss is not None]),
            (accuracy, _TRAINING, "training", _percent(self.epochs, self.accuracy)),
            (accuracy, _HELD_OUT, "held out", _percent(self.epochs, self.val_accuracy)),
        )
        for axes, color, label, points in curves:
            if points:
                axes.plot(*zip(*points, strict=True), color=color, label=label, **style)
                axes.legend(frameon=False)
        for axes in (losses, accuracy):
            axes.set(xlabel="epoch")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
            axes.xaxis.get_major_locator().set_params(integer=True)
        losses.set(title="Loss", ylim=(0, None))
        accuracy.set(title="Accuracy (%)")


def _texts(e: Epoch) -> tuple[str, ...]:
    """An epoch's row of the table."""
    loss, val_loss = ("-" if loss is None else f"{loss:.4f}" for loss in (e.loss, e.val_loss))
    accuracy, val_accuracy = ("-" if share is None else f"{share:.2%}" for share in (e.accuracy, e.val_accuracy))
    lr = ", ".join(f"{rate:.3g}" for rate in e.lr)
    return str(e.epoch), loss, accuracy, val_loss, val_accuracy, lr, f"{e.seconds:.2f}"


def _percent(epochs: Iterable[Epoch], shares: Iterable[float | None]) -> list[tuple[int, float]]:
    return [(e.epoch, 100 * share) for e, share in zip(epochs, shares, strict=True) if share is not None]


def epochs_of(state_dict: Iterable[Mapping[str, Any]]) -> list[Epoch]:
    """The records of which ``History.state_dict`` is given; raises ValueError for anything else."""
    if not isinstance(state_dict, (list, tuple)):
        raise ValueError(f"History: state_dict must be a list of epochs, got {type(state_dict).__name__}")
    return [_epoch_of(entries, f"History: epoch {i} of state_dict") for i, entries in enumerate(state_dict)]


def _epoch_of(entries: Mapping[str, Any], what: str) -> Epoch:
    values = dict(zip(_COLUMNS, saved(entries, _COLUMNS, what), strict=True))
    rates = values.pop("lr")
    if not isinstance(rates, (list, tuple)):
        raise ValueError(f"{what}: lr must be a list of numbers, got {rates!r}")
    for name, value in (*values.items(), *(("lr", rate) for rate in rates)):
        if not isinstance(value, (int, float)) and (value is not None or name not in _OPTIONAL):
            raise ValueError(f"{what}: {name} must be a number, got {value!r}")
    return Epoch(**values, lr=tuple(rates))
