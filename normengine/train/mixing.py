"""Mixed inference statistics: batch norms that use the image's own statistics beside the running ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import setitem
from typing import Any

import numpy as np

from ..locks import at_once
from ..nn.arithmetic import ArrayLike
from ..nn.loss import CrossEntropyLoss
from ..nn.mode import kept_mode
from ..nn.module import Module
from ..nn.norm import BatchNorm
from ..settings import finite, whole
from ..table import table
from .accuracy import Tally, is_rated
from .batches import given_batches
from .inputs import as_input, as_target


@dataclass(frozen=True)
class Mixture:
    """What a model reaches with one ``alpha`` on held-out data; ``accuracy`` is None where targets are no classes."""

    alpha: float
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Mixing:
    """What :func:`fit_mixing` tried, and the ``alpha`` that it chose; ``print`` it as a table."""

    alpha: float
    tried: tuple[Mixture, ...]

    def __str__(self) -> str:
        rows = [
            (f"{x.alpha:g}", f"{x.loss:.4f}", "" if x.accuracy is None else f"{x.accuracy:.2%}") for x in self.tried
        ]
        return "\n".join(
            [table(("alpha", "loss", "accuracy"), rows), "", f"alpha {self.alpha:g} has the smallest loss"]
        )


def mix_statistics(model: Module, alpha: float) -> tuple[str, ...]:
    """Have each batch norm of ``model`` with running statistics normalize, in eval mode, with ``alpha`` times the
    image's own statistics and ``1 - alpha`` times the running ones (Summers and Dinneen, "Four Things Everyone Should
    Know to Improve Batch Normalization", ICLR 2020, section 3.1; Singh and Shrivastava, "EvalNorm", ICCV 2019).

    Mean and mean of squares are mixed::

        mean = alpha * mean_image + (1 - alpha) * running_mean
        var  = alpha * var_image + (1 - alpha) * running_var + alpha * (1 - alpha) * (mean_image - running_mean)²

    which is the mixture's E[x²] - E[x]². Training is as before; ``alpha`` 0 takes it away, 1 is instance normalization.
    Such a layer cannot be folded, as the report of ``ne.onnx.export`` says. It is a setting (``norm.alpha``), which
    ``state_dict`` does not hold.

    Returns:
        The names of the layers.

    Raises:
        TypeError: ``model`` is no module, ``alpha`` no number.
        ValueError: ``alpha`` is outside [0, 1], or no batch norm has running statistics; nothing is changed then.
    """
    norms = _mixable(model, "mix_statistics")
    alpha = finite(alpha, "mix_statistics: alpha", 0, 1)
    _setting(dict.fromkeys(norms.values(), alpha))()
    return tuple(norms)


def fit_mixing(
    model: Module,
    x: ArrayLike,
    y: ArrayLike,
    alphas: Sequence[float] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    *,
    loss: Callable[[Any, Any], Any] | None = None,
    batch_size: int = 256,
) -> Mixing:
    """Try each of ``alphas`` on held-out samples and set the one of the smallest loss, as :func:`mix_statistics` does.

    Args:
        model: a module whose ``forward`` takes one array and gives one output.
        x: ``(N, ...)`` float32, samples that the model was not trained on.
        y: the targets of the samples, as the loss takes them.
        alphas: numbers from 0 to 1; the first wins where losses are the same.
        loss: ``loss(model(x), y)`` is the mean over the samples; by default ``nn.CrossEntropyLoss()``.
        batch_size: samples that are computed at a time.

    Raises:
        TypeError: ``model`` is no module, an ``alpha`` no number.
        ValueError: an ``alpha`` is outside [0, 1] or there is none, no batch norm has running statistics, or the data
            do not fit the model or the loss.
        FloatingPointError: no loss is finite. Whatever is raised, the layers mix as before.
    """
    norms = _mixable(model, "fit_mixing")
    candidates = [finite(alpha, "fit_mixing: alpha", 0, 1) for alpha in alphas]
    if not candidates:
        raise ValueError("fit_mixing: alphas is empty; give numbers from 0 to 1")
    batch_size = whole(batch_size, "fit_mixing: batch_size", low=1)
    data = as_input(x, "fit_mixing: x"), as_target(y, "fit_mixing: y")
    batches = [(x, y) for x, y in given_batches(data, batch_size, "fit_mixing") if y is not None]
    restore = _setting({norm: norm.alpha for norm in norms.values()})
    try:
        tried = []
        for alpha in candidates:
            _setting(dict.fromkeys(norms.values(), alpha))()
            tried.append(_reached(model, batches, loss or CrossEntropyLoss(), alpha))
        best = min((m for m in tried if np.isfinite(m.loss)), key=lambda m: m.loss, default=None)
        if best is None:
            raise FloatingPointError(
                "fit_mixing: the loss is not finite for any alpha; look for NaN in x and the weights"
            )
        _setting(dict.fromkeys(norms.values(), best.alpha))()
    except BaseException:
        restore()
        raise
    return Mixing(best.alpha, tuple(tried))


def _mixable(model: Module, where: str) -> dict[str, BatchNorm]:
    """The batch norms with running statistics, by name."""
    if not isinstance(model, Module):
        raise TypeError(f"{where}: model must be an nn.Module, got {type(model).__name__}")
    found = {name: m for name, m in model.named_modules() if isinstance(m, BatchNorm) and m.has_statistics()}
    if not found:
        raise ValueError(f"{where}: the model has no batch norm with running statistics, so there is nothing to mix")
    return found


def _setting(alphas: dict[BatchNorm, float]) -> Callable[[], object]:
    """A function that gives layers their alphas at once."""
    return at_once([partial(setitem, vars(norm), "alpha", alpha) for norm, alpha in alphas.items()])


def _reached(
    model: Module, batches: Sequence[tuple[np.ndarray, np.ndarray]], loss: Callable[[Any, Any], Any], alpha: float
) -> Mixture:
    """Loss and accuracy in eval mode."""
    total, samples, tally = 0.0, 0, Tally(loss)
    with kept_mode(model, training=False):
        for x, y in batches:
            outputs = model(x)
            if not isinstance(outputs, np.ndarray):
                raise ValueError(f"fit_mixing: the model must give one output, got a {type(outputs).__name__}")
            total += float(loss(outputs, y)) * len(x)
            samples += len(x)
            if is_rated(loss, outputs.shape, y.shape, y.dtype):
                tally.add(np.asarray(outputs), y)
    return Mixture(alpha, total / samples, tally.accuracy())
