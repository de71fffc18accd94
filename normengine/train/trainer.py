"""Training over epochs: batches, validation, progress bar, history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ..data import DataLoader
from ..data.augment import Augment
from ..locks import at_once, load_module
from ..nn import BCEWithLogitsLoss, Module, eager, random
from ..nn.mode import kept_mode
from ..optim import Optimizer
from ..settings import finite, whole
from .history import Epoch, History
from .inputs import as_input, as_target, check_parts
from .schedule import Schedule
from .step import TrainStep

_EVALUATION_BATCH = 256
_SPLIT = 2**32 - 1  # the stream of random numbers that draws the validation samples, beside those of the epochs


class Evaluation(NamedTuple):
    """What a model reaches on given data; ``accuracy`` is None where the targets are no classes."""

    loss: float
    accuracy: float | None


class Trainer:
    """Trains a model over epochs, evaluates it and predicts with it.

    Args:
        model: the module to train.
        optimizer: from :mod:`normengine.optim`, made from ``model.parameters()``.
        loss: ``loss(model(x), y)`` gives a scalar: a loss module or a function of ``normengine.nn.functional``.
        seed: of the order of the samples and of the dropout masks; by default drawn from the generator that
            ``ne.manual_seed`` sets.

    ``trainer.history`` holds every finished epoch, whatever ended the training.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Callable[[Any, Any], Any],
        *,
        seed: int | None = None,
    ) -> None:
        check_parts("Trainer", model, loss, optimizer)
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.seed = random.draw_seed() if seed is None else int(seed)
        self.step = TrainStep(model, loss, optimizer, seed=self.seed)
        self.history = History()

    def fit(
        self,
        x: Any,
        y: np.ndarray | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        validation: tuple[np.ndarray, np.ndarray] | float | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        augment: Augment | None = None,
        schedule: Schedule | None = None,
        callback: Callable[[Epoch], None] | None = None,
        progress: bool = True,
    ) -> History:
        """Train for ``epochs`` further passes over the data.

        Args:
            x: images ``(N, C, H, W)`` or whatever the model takes, float32; or a loader: anything that gives batches
                ``(x, y)`` each time it is iterated over, such as :class:`~normengine.data.DataLoader`.
            y: the N targets: int64 labels, or float32 for losses that want them. Not with a loader.
            epochs: passes over the data.
            batch_size: samples a step. The last batch may be smaller; a single sample that is left over joins the
                batch before it, because batch norm cannot train on one value per channel. Not used with a loader.
            validation: ``(x, y)`` to evaluate after each epoch, or the share of the N samples, drawn by the seed, to
                hold out for that.
            shuffle: give the samples in another order in each epoch. Not used with a loader.
            seed: takes the place of the trainer's seed.
            augment: changes the images of each batch, e.g. ``ne.data.random_shift(1)``. Not used with a loader.
            schedule: factor of the learning rates from the share of the training that is done, 0 to 1, e.g.
                ``ne.train.cosine()``; afterwards the rates are what they were.
            callback: called with the record of each finished epoch.
            progress: show a progress bar on standard error.

        The model is put into training mode if it is in eval mode (in a training model, modules in eval mode stay so),
        and afterwards each module is in the mode it was in. Fitting again goes on: 2 epochs and then 3 more do what 5
        at once do, except that a schedule begins anew.

        Returns:
            ``trainer.history``.

        Raises:
            ValueError: the data do not fit the model or the loss; the message names the epoch and the batch.
            FloatingPointError: the loss is not finite; the message names the epoch, the batch and the layer.
            KeyboardInterrupt: as it comes; model, optimizer and ``trainer.history`` are good to go on with.
        """
        epochs = whole(epochs, "Trainer.fit: epochs")
        for group in self.optimizer.param_groups:
            self.optimizer.check(group)
        if seed is not None:
            self.seed = self.step.seed = int(seed)
        loader, held_out = self._data(x, y, batch_size, validation, shuffle, augment, epochs)
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        restore = at_once([partial(setitem, group, "lr", lr) for group, lr in zip(groups, rates, strict=True)])
        with kept_mode(self.model, None if self.model.training else True):
            try:
                for i in range(epochs):
                    rate = None if schedule is None else _rates(self.optimizer, rates, schedule, i, epochs)
                    record = self._epoch(loader, held_out, len(self.history) + 1, epochs - i - 1, rate, progress)
                    self.history.epochs.append(record)
                    if callback is not None:
                        callback(record)
            finally:
                restore()
        return self.history

    def evaluate(self, x: Any, y: np.ndarray | None = None, *, batch_size: int = _EVALUATION_BATCH) -> Evaluation:
        """Loss and accuracy of the model in eval mode on arrays or a loader.

        The loss is that of all samples at once. The accuracy is the share of samples whose largest output
        (along axis 1) is at the label; for ``BCEWithLogitsLoss``, of outputs on the target's side of 0; None for other
        floating-point targets.

        Raises:
            ValueError: the data do not fit the model or the loss.
        """
        if y is None:
            if isinstance(x, np.ndarray):
                raise ValueError("Trainer.evaluate: y is missing; give the targets of x, or a loader of batches (x, y)")
            pairs = [(self.predict(bx, batch_size=batch_size), np.asarray(by)) for bx, by in _batches(x, "evaluate")]
            outputs, target = (np.concatenate(part) for part in zip(*pairs, strict=True))
        else:
            if len(x) != len(y):
                raise ValueError(f"Trainer.evaluate: x has {len(x)} samples, y has {len(y)}; give one for each")
            outputs, target = self.predict(x, batch_size=batch_size), np.asarray(y)
        target = as_target(target, "Trainer.evaluate: y")
        modules = [("loss", self.loss)] if isinstance(self.loss, Module) else []
        loss = eager.run(self.loss, (outputs, target), {}, modules, "Trainer.evaluate")
        return Evaluation(float(loss), self._accuracy(outputs, target))

    def predict(self, x: np.ndarray, *, batch_size: int = _EVALUATION_BATCH) -> np.ndarray:
        """Outputs of the model in eval mode for the samples ``x``, computed ``batch_size`` at a time.

        Each module is afterwards in the mode it was in.

        Raises:
            ValueError: ``x`` is empty or does not fit the model.
        """
        x = as_input(x, "Trainer.predict: x")
        batch_size = whole(batch_size, "Trainer.predict: batch_size", low=1)
        with kept_mode(self.model, training=False):
            return np.concatenate([self.model(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])

    def _data(
        self,
        x: Any,
        y: np.ndarray | None,
        batch_size: int,
        validation: tuple[np.ndarray, np.ndarray] | float | None,
        shuffle: bool,
        augment: Augment | None,
        epochs: int,
    ) -> tuple[Any, tuple[np.ndarray, np.ndarray] | None]:
        """The loader to train from and the arrays to validate on."""
        if isinstance(validation, np.floating):
            validation = float(validation)
        if validation is not None and not isinstance(validation, float):
            _check_held_out(validation)
        if y is None:
            if isinstance(x, np.ndarray) or not isinstance(x, Iterable):
                raise ValueError("Trainer.fit: y is missing; give the targets of x, or a loader of batches (x, y)")
            if isinstance(validation, float):
                raise ValueError(
                    "Trainer.fit: with a loader, validation must be arrays (x, y), not a share of the samples"
                )
            if isinstance(x, Iterator) and epochs > 1:
                raise ValueError(
                    f"Trainer.fit: a generator gives its batches once, which is not enough for {epochs} epochs; "
                    "give a DataLoader or a list of batches"
                )
            return x, validation
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
            raise ValueError(f"Trainer.fit: x and y must have one entry a sample, got shapes {x.shape} and {y.shape}")
        if isinstance(validation, float):
            count = round(validation * len(x)) if 0 < validation < 1 else 0
            if not 0 < count < len(x):
                raise ValueError(
                    f"Trainer.fit: validation={validation} is no share of {len(x)} samples that leaves at least one "
                    "on either side"
                )
            order = np.random.default_rng((self.seed, _SPLIT)).permutation(len(x))
            validation = x[order[:count]], y[order[:count]]
            rest = np.sort(order[count:])
            x, y = x[rest], y[rest]
        loader = DataLoader((x, y), batch_size, shuffle, seed=self.seed, augment=augment)
        loader.epoch = len(self.history)
        return loader, validation

    def _epoch(
        self,
        loader: Any,
        held_out: tuple[np.ndarray, np.ndarray] | None,
        number: int,
        further: int,
        set_rates: Callable[[float], None] | None,
        progress: bool,
    ) -> Epoch:
        load_module("tqdm")
        from tqdm import tqdm

        begin = time.perf_counter()
        batches = len(loader) if hasattr(loader, "__len__") else None
        total, samples = 0.0, 0
        digits = len(str(number + further))
        bar = tqdm(
            total=batches, desc=f"epoch {number:{digits}}/{number + further}", unit="batch", disable=not progress,
            bar_format="{desc} |{bar:16}| {n_fmt}/{total_fmt} {elapsed}{postfix}" if batches else None,
        )  # fmt: skip
        with bar:
            if self.step.program is None:
                bar.set_postfix_str("compiling")
            for i, (bx, by) in enumerate(_batches(loader, f"fit: epoch {number}")):
                if set_rates is not None:
                    set_rates(i / batches if batches else 0.0)
                try:
                    loss = self.step(bx, by)
                except (ValueError, FloatingPointError) as error:
                    kind = FloatingPointError if isinstance(error, FloatingPointError) else ValueError
                    raise kind(f"epoch {number}, batch {i + 1}: {error}") from error
                total += loss * len(bx)
                samples += len(bx)
                bar.set_postfix_str(f"loss {total / samples:.4f}", refresh=False)
                bar.update()
            val_loss = val_accuracy = None
            if held_out is not None:
                val_loss, val_accuracy = self.evaluate(*held_out)
                rated = "" if val_accuracy is None else f", val_accuracy {val_accuracy:.2%}"
                bar.set_postfix_str(f"loss {total / samples:.4f}, val_loss {val_loss:.4f}{rated}")
        return Epoch(number, total / samples, val_loss, val_accuracy, time.perf_counter() - begin)

    def _accuracy(self, outputs: np.ndarray, target: np.ndarray) -> float | None:
        if target.dtype.kind == "f":
            if isinstance(self.loss, BCEWithLogitsLoss):
                return float(np.mean((outputs > 0) == (target > 0.5)))
            return None
        if outputs.ndim < 2 or outputs.shape[:1] + outputs.shape[2:] != target.shape:
            return None
        counted = target != getattr(self.loss, "ignore_index", -100)
        return float(np.mean((outputs.argmax(1) == target)[counted])) if counted.any() else None


def _check_held_out(validation: Any) -> None:
    """Raise ValueError unless ``validation`` is a pair of images and as many targets."""
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        given = f"{len(validation)} parts" if isinstance(validation, (tuple, list)) else repr(validation)
        raise ValueError(f"Trainer.fit: validation must be a pair of arrays (x, y) or a share such as 0.1, got {given}")
    x = as_input(validation[0], "Trainer.fit: validation x")
    y = as_target(validation[1], "Trainer.fit: validation y")
    if len(x) != len(y):
        raise ValueError(f"Trainer.fit: validation x has {len(x)} samples, y has {len(y)}; give one target for each")


def _batches(loader: Iterable[Any], where: str) -> Iterator[tuple[Any, Any]]:
    """The pairs that the loader gives, at least one."""
    i = -1
    for i, batch in enumerate(loader):
        if not isinstance(batch, Sequence) or len(batch) != 2:
            raise ValueError(f"Trainer.{where}, batch {i + 1}: expected a pair (x, y), got {type(batch).__name__}")
        yield batch[0], batch[1]
    if i < 0:
        raise ValueError(f"Trainer.{where}: the loader gave no batches")


def _rates(
    optimizer: Optimizer, rates: Sequence[float], schedule: Schedule, epoch: int, epochs: int
) -> Callable[[float], None]:
    """A function of the share of this epoch that is done, which sets the learning rates."""

    def set_rates(done: float) -> None:
        factor = finite(schedule((epoch + done) / epochs), "Trainer.fit: what the schedule gives", low=0)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor

    return set_rates
