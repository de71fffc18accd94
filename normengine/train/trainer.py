"""The training loop: epochs of batches, validation, progress bar, history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ..data import DataLoader
from ..data.augment import Augment
from ..locks import at_once, load_module
from ..nested import flattened, joined
from ..nn import Module, eager, random
from ..nn.arithmetic import ArrayLike
from ..nn.mode import kept_mode
from ..optim import Optimizer
from ..settings import finite, saved, whole
from .accuracy import Tally, accuracy_of
from .batches import arrays, check_passes, checked_validation, pairs, split
from .history import Epoch, History, epochs_of
from .inputs import as_input, as_target, check_parts
from .schedule import ScaledRates, Schedule
from .step import TrainStep

_EVALUATION_BATCH = 256


_INSTEAD = {
    "batches": "give a loader in place of x",
    "callbacks": "give one function as callback=, which is called with the record of each epoch",
    "class_weight": "give the loss its weights: nn.CrossEntropyLoss(weight=[...])",
    "learning_rate": "the optimizer has it: optim.SGD(parameters, lr=...)",
    "lr": "the optimizer has it: optim.SGD(parameters, lr=...)",
    "max_epochs": "it is called epochs",
    "n_epochs": "it is called epochs",
    "nb_epoch": "it is called epochs",
    "num_epochs": "it is called epochs",
    "sample_weight": "weigh the samples in the loss, with reduction='none'",
    "steps_per_epoch": "an epoch is one pass over the data; give a loader of as many batches",
    "train_loader": "give it as the first argument",
    "val_loader": "it is called validation",
    "validation_data": "it is called validation",
    "validation_split": "give the share as validation=0.1",
    "verbose": "it is called progress, True or False",
    "workers": "batches are made faster than they are trained on; leave it out",
}
"""What other libraries call the arguments of ``fit``, and what to write here."""


class Evaluation(NamedTuple):
    """What a model reaches on given data; ``accuracy`` is None where the targets are no classes or there are several
    outputs."""

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
        self.seed = random.draw_seed() if seed is None else whole(seed, "Trainer: seed")
        self.step = TrainStep(model, loss, optimizer, seed=self.seed)
        self.step._rated = True
        self.history = History()

    def fit(
        self,
        x: ArrayLike | Iterable[Any],
        y: ArrayLike | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        validation: object = None,
        shuffle: bool = True,
        seed: int | None = None,
        augment: Augment | None = None,
        schedule: Schedule | None = None,
        callback: Callable[[Epoch], Any] | None = None,
        progress: bool = True,
        initial_epoch: int = 0,
        **foreign: object,
    ) -> History:
        """Train for ``epochs`` further passes over the data.

        Args:
            x: images ``(N, C, H, W)`` or whatever the model takes, float32; or a loader: anything that gives batches
                ``(x, y)`` each time it is iterated over, such as :class:`~normengine.data.DataLoader`.
            y: the N targets: int64 labels, or float32 for losses that want them. Not with a loader.
            epochs: passes over the data.
            batch_size: samples a step. The last batch may be smaller; a single sample that is left over joins the
                batch before it, because batch norm cannot train on one value per channel. Not used with a loader.
            validation: arrays ``(x, y)`` or a loader to evaluate after each epoch, or the share of the N samples, drawn
                by the seed, to hold out for that.
            shuffle: give the samples in another order in each epoch. Not used with a loader.
            seed: takes the place of the trainer's seed.
            augment: changes the images of each batch, e.g. ``ne.data.random_shift(1)``. Not used with a loader.
            schedule: factor of the learning rates from the share of the training that is done, 0 to 1, e.g.
                ``ne.train.cosine()``. It holds while an epoch's steps run; before the callback and afterwards the rates
                are what they were. Rates that are set meanwhile are the ones that it multiplies from then on.
            callback: called with the record of each finished epoch. If it returns False or raises StopIteration,
                training ends with that epoch. It may change the optimizer, its groups, or modes of modules.
            progress: show a progress bar on standard error.
            initial_epoch: how many of the ``epochs`` are done already, in a training that goes on where another one was
                cut off: so many fewer passes are made, and the schedule begins there.

        The model is put into training mode if it is in eval mode (in a training model, modules in eval mode stay so),
        and afterwards each module is in the mode it was in. Fitting again goes on: 2 epochs and then 3 more do what 5
        at once do, except that a schedule begins anew without ``initial_epoch``.

        Returns:
            ``trainer.history``.

        Raises:
            ValueError: the data do not fit the model or the loss; the message names the epoch and the batch.
            FloatingPointError: the loss is not finite; the message names the epoch, the batch and the layer.
            KeyboardInterrupt: as it comes; model, optimizer and ``trainer.history`` are good to go on with.
        """
        for name in foreign:
            instead = _INSTEAD.get(name, "see help(ne.Trainer.fit) for what it takes")
            raise TypeError(f"Trainer.fit takes no '{name}': {instead}")
        epochs = whole(epochs, "Trainer.fit: epochs")
        initial_epoch = whole(initial_epoch, "Trainer.fit: initial_epoch")
        if initial_epoch > epochs:
            raise ValueError(f"Trainer.fit: initial_epoch {initial_epoch} is beyond the {epochs} epochs")
        for group in self.optimizer.param_groups:
            self.optimizer.check(group)
        seed = self.seed if seed is None else whole(seed, "Trainer.fit: seed")
        loader, held_out = self._data(x, y, batch_size, validation, shuffle, seed, augment, epochs - initial_epoch)
        self.seed = self.step.seed = seed
        with kept_mode(self.model, None if self.model.training else True):
            for i in range(initial_epoch, epochs):
                factor = None if schedule is None else partial(_factor, schedule, i, epochs)
                record = self._epoch(loader, held_out, len(self.history) + 1, epochs - i - 1, factor, progress)
                self.history.epochs.append(record)
                if callback is not None and _ends(callback, record):
                    break
        return self.history

    def evaluate(self, x: Any, y: ArrayLike | None = None, *, batch_size: int = _EVALUATION_BATCH) -> Evaluation:
        """Loss and accuracy of the model in eval mode on arrays or a loader.

        The loss is that of all samples at once. The accuracy is the share of samples whose largest output (along axis
        1) is at the label; for ``BCEWithLogitsLoss``, of outputs on the target's side of 0; None for other
        floating-point targets, and for a model that gives several outputs.

        Raises:
            ValueError: the data do not fit the model or the loss.
        """
        if y is None:
            if isinstance(x, np.ndarray):
                raise ValueError("Trainer.evaluate: y is missing; give the targets of x, or a loader of batches (x, y)")
            batches = [self._outputs(*pair, batch_size) for pair in pairs(x, "Trainer.evaluate")]
            outputs, target = (_concatenated(part, "Trainer.evaluate") for part in zip(*batches, strict=True))
        else:
            outputs, target = self._outputs(x, y, batch_size)
        modules = [("loss", self.loss)] if isinstance(self.loss, Module) else []
        loss = eager.run(self.loss, (outputs, target), {}, modules, "Trainer.evaluate")
        return Evaluation(float(loss), accuracy_of(self.loss, outputs, target))

    def predict(self, x: ArrayLike, *, batch_size: int = _EVALUATION_BATCH) -> Any:
        """Outputs of the model in eval mode for the samples ``x``, computed ``batch_size`` at a time.

        Each module is afterwards in the mode it was in.

        Returns:
            An array with the outputs of all samples along its first axis; the tuples, lists or dicts of such arrays
            that the model gives.

        Raises:
            ValueError: ``x`` is empty or does not fit the model, or an output has no entry for each sample.
        """
        x = as_input(x, "Trainer.predict: x")
        batch_size = whole(batch_size, "Trainer.predict: batch_size", low=1)
        batches = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
        with kept_mode(self.model, training=False):
            outputs = [self.model(batch) for batch in batches]
        for array in flattened(outputs[0], np.ndarray)[0]:
            if array.ndim == 0 or len(array) % len(batches[0]):
                raise ValueError(
                    f"Trainer.predict: an output has shape {array.shape} for {len(batches[0])} samples; outputs must "
                    "have an entry for each of them along their first axis"
                )
        return _concatenated(outputs, "Trainer.predict")

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`fit` needs besides model and optimizer, as plain values, which pickle and JSON keep: ``seed``,
        the state of ``step``, and the ``history``, whose length decides the order of the next epoch."""
        return {"seed": self.seed, "step": self.step.state_dict(), "history": self.history.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned.

        Together with the state dicts of model and optimizer, all three taken at the end of an epoch, training goes on
        as if it had never stopped (see ``docs/training.md``).

        Raises:
            ValueError: it is something else; nothing is changed then.
            RuntimeError: a signal handler or finalizer calls it while a step is at work in the same thread.
        """
        seed, step, history = saved(state_dict, ("seed", "step", "history"), "Trainer: state_dict")
        changes: list[Callable[[], Any]] = [
            partial(setitem, vars(self), "seed", whole(seed, "Trainer: saved seed")),
            partial(setitem, vars(self.history), "epochs", epochs_of(history)),
        ]
        changes += self.step._changes(step)
        with self.step._turn():
            at_once(changes)()

    def _outputs(self, x: object, y: object, batch_size: int) -> tuple[Any, np.ndarray]:
        """What the model makes of ``x``, and the targets as the loss takes them."""
        x, y = as_input(x, "Trainer.evaluate: x"), as_target(y, "Trainer.evaluate: y")
        if len(x) != len(y):
            raise ValueError(f"Trainer.evaluate: x has {len(x)} samples, y has {len(y)}; give one for each")
        return self.predict(x, batch_size=batch_size), y

    def _data(
        self,
        x: object,
        y: object,
        batch_size: int,
        validation: object,
        shuffle: bool,
        seed: int,
        augment: Augment | None,
        passes: int,
    ) -> tuple[Any, Any]:
        """The loader to train from, and the arrays or the loader to validate on."""
        held_out = checked_validation(validation, passes)
        if y is None:
            if isinstance(x, np.ndarray) or not isinstance(x, Iterable):
                raise ValueError("Trainer.fit: y is missing; give the targets of x, or a loader of batches (x, y)")
            if isinstance(held_out, float):
                raise ValueError(
                    "Trainer.fit: with a loader, validation must be arrays (x, y) or a loader, not a share of samples"
                )
            check_passes(x, passes, "x")
            return x, held_out
        x, y = arrays(x, y)
        if isinstance(held_out, float):
            (x, y), held_out = split(x, y, held_out, seed)
        loader = DataLoader((x, y), batch_size, shuffle, seed=seed, augment=augment)
        loader.epoch = len(self.history)
        return loader, held_out

    def _epoch(
        self,
        loader: Any,
        held_out: object,
        number: int,
        further: int,
        factor: Callable[[float], float] | None,
        progress: bool,
    ) -> Epoch:
        load_module("tqdm")
        from tqdm import tqdm

        begin = time.perf_counter()
        batches = len(loader) if hasattr(loader, "__len__") else None
        digits = len(str(number + further))
        bar = tqdm(
            total=batches, desc=f"epoch {number:{digits}}/{number + further}", unit="batch", disable=not progress,
            bar_format="{desc} |{bar:16}| {n_fmt}/{total_fmt} {elapsed}{postfix}" if batches else None,
        )  # fmt: skip
        with bar:
            if self.step.program is None:
                bar.set_postfix_str("compiling")
            loss, accuracy, lr = self._steps(loader, number, batches, factor, bar)
            val_loss = val_accuracy = None
            if held_out is not None:
                val_loss, val_accuracy = self.evaluate(*(held_out if isinstance(held_out, tuple) else (held_out,)))
            numbers = {"accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
            told = [
                f"{name} {n:.4f}" if "loss" in name else f"{name} {n:.2%}"
                for name, n in numbers.items()
                if n is not None
            ]
            bar.set_postfix_str(", ".join([f"loss {loss:.4f}", *told]))
        return Epoch(number, loss, accuracy, val_loss, val_accuracy, lr, time.perf_counter() - begin)

    def _steps(
        self, loader: Iterable[Any], number: int, batches: int | None, factor: Callable[[float], float] | None, bar: Any
    ) -> tuple[float, float | None, tuple[float, ...]]:
        """The steps of an epoch; their loss and accuracy, and the learning rates of the last one."""
        total, samples = 0.0, 0
        tally, rates = Tally(self.loss), ScaledRates(self.optimizer)
        try:
            for i, (x, y) in enumerate(pairs(loader, f"Trainer.fit: epoch {number}")):
                if factor is not None:
                    rates.scale(factor(i / batches if batches else 0.0))
                try:
                    loss, scored = self.step._train(x, y)
                except (ValueError, FloatingPointError) as error:
                    kind = FloatingPointError if isinstance(error, FloatingPointError) else ValueError
                    raise kind(f"epoch {number}, batch {i + 1}: {error}") from error
                total += loss * len(x)
                samples += len(x)
                if scored is not None:
                    tally.add(*scored)
                bar.set_postfix_str(f"loss {total / samples:.4f}", refresh=False)
                bar.update()
            lr = tuple(float(group["lr"]) for group in self.optimizer.param_groups)
        finally:
            rates.restore()
        return total / samples, tally.accuracy(), lr


def _concatenated(batches: Sequence[Any], what: str) -> Any:
    """The outputs or targets of all batches in one array, or in arrays in the same places."""

    def concatenate(parts: list[Any], place: str) -> Any:
        if all(isinstance(part, np.ndarray) for part in parts):
            shapes = {part.shape[1:] for part in parts}
            if len(shapes) > 1:
                raise ValueError(
                    f"{place} must have the same shape for each sample, got {' and '.join(map(str, shapes))}"
                )
            return np.concatenate(parts)
        if any(part != parts[0] for part in parts):
            raise ValueError(f"{place} must be the same for each batch, got {parts[0]!r} first")
        return parts[0]

    return joined(batches, concatenate, what)


def _factor(schedule: Schedule, epoch: int, epochs: int, done: float) -> float:
    """The factor of the learning rates when the share ``done`` of an epoch is done."""
    return finite(schedule((epoch + done) / epochs), "Trainer.fit: what the schedule gives", low=0)


def _ends(callback: Callable[[Epoch], Any], record: Epoch) -> bool:
    """Whether the callback ends training."""
    try:
        answer = callback(record)
    except StopIteration:
        return True
    return isinstance(answer, (bool, np.bool_)) and not answer
