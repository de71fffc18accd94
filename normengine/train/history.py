"""What a training run leaves to look at: one record an epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TRAINING, _HELD_OUT = "#1f5fa8", "#d1603d"


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    ``loss`` is the mean over the samples of the losses of the steps, taken in training mode before each update.
    ``val_loss`` and ``val_accuracy`` were measured after the epoch in eval mode; they are None without validation
    data, the accuracy also where the targets are no classes. ``seconds`` counts training and validation.
    """

    epoch: int
    loss: float
    val_loss: float | None
    val_accuracy: float | None
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
        return [e.loss for e in self.epochs]

    @property
    def val_loss(self) -> list[float | None]:
        return [e.val_loss for e in self.epochs]

    @property
    def val_accuracy(self) -> list[float | None]:
        return [e.val_accuracy for e in self.epochs]

    @property
    def seconds(self) -> list[float]:
        return [e.seconds for e in self.epochs]

    def __str__(self) -> str:
        lines = ["epoch      loss  val_loss  val_accuracy  seconds"]
        for e in self.epochs:
            val_loss = "-" if e.val_loss is None else f"{e.val_loss:.4f}"
            accuracy = "-" if e.val_accuracy is None else f"{e.val_accuracy:.2%}"
            lines.append(f"{e.epoch:>5}  {e.loss:>8.4f}  {val_loss:>8}  {accuracy:>12}  {e.seconds:>7.2f}")
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
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

    def draw(self, losses: Any, accuracy: Any) -> None:
        """Draw the curves into two axes of matplotlib."""
        style = {"marker": "o", "markersize": 3}
        losses.plot([e.epoch for e in self.epochs], self.loss, color=_TRAINING, label="training", **style)
        validated = [(e.epoch, e.val_loss) for e in self.epochs if e.val_loss is not None]
        rated = [(e.epoch, 100 * e.val_accuracy) for e in self.epochs if e.val_accuracy is not None]
        for axes, points in ((losses, validated), (accuracy, rated)):
            if points:
                axes.plot(*zip(*points, strict=True), color=_HELD_OUT, label="held out", **style)
                axes.legend(frameon=False)
            axes.set(xlabel="epoch")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
            axes.xaxis.get_major_locator().set_params(integer=True)
        losses.set(title="Loss", ylim=(0, None))
        accuracy.set(title="Accuracy (%)")
