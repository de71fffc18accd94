"""Losses: scalars (or one value a sample with ``reduction="none"``) that training makes small."""

from __future__ import annotations

import math

import numpy as np

from ...settings import finite
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "mse_loss", "nll_loss"]


def _check(name: str, reduction: str, size_average: bool | None, reduce: bool | None) -> None:
    if size_average is not None or reduce is not None:
        raise ValueError(f"{name}: size_average and reduce are gone, use reduction='mean', 'sum' or 'none'")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _pair(name: str, input: ArrayLike, target: ArrayLike) -> tuple[Tensor, Tensor]:
    x = as_traced(input)
    y = x._tracer.real(target).float()
    if x.shape != y.shape:
        raise x._tracer.error(f"{name}: input has shape {x.shape}, target has shape {y.shape}; they must be equal")
    return x, y


@function
def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``-sum over c of q[c] * weight[c] * log_softmax(x)[c]``, q the target's distribution.

    Args:
        input: logits (N, C) or (N, C, ...) float32.
        target: classes (N, ...) as integers in 0..C-1 or ``ignore_index``; or probabilities of ``input``'s shape.
        weight: (C,) float32 or None for ones; the mean is over the weights of the targets.
        label_smoothing: the share of q that is spread evenly over the classes (Szegedy et al., 2016).
    """
    _check("cross_entropy", reduction, size_average, reduce)
    x, y = as_traced(input), as_traced(target)
    label_smoothing = finite(label_smoothing, "cross_entropy: label_smoothing", 0, 1)
    if x.ndim < 2:
        raise x._tracer.error(f"logits must be (N, C) or (N, C, ...), got shape {x.shape}")
    if y.dtype == np.float32:
        return _soft_cross_entropy(x, y, weight, reduction, label_smoothing)
    rest = () if weight is None else (as_traced(weight),)
    return x._apply(
        "cross_entropy",
        y,
        *rest,
        label_smoothing=label_smoothing,
        ignore_index=int(ignore_index),
        reduction=reduction,
    )


def _soft_cross_entropy(x: Tensor, q: Tensor, weight: ArrayLike | None, reduction: str, smoothing: float) -> Tensor:
    if q.shape != x.shape:
        raise x._tracer.error(
            f"target of shape {q.shape} is float32: give classes as integers, or probabilities of shape {x.shape}"
        )
    if smoothing:
        q = q * (1 - smoothing) + smoothing / x.shape[1]
    if weight is not None:
        q = q * as_traced(weight).view(1, -1, *(1 for _ in x.shape[2:]))
    losses = -(q * x.log_softmax(1)).sum(1)
    samples = math.prod(x.shape) // x.shape[1]
    return losses.sum() / samples if reduction == "mean" else _reduced(losses, reduction)


@function
def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``-weight[y] * x[y]`` for log-probabilities x (N, C, ...) and classes y (N, ...); see :func:`cross_entropy`."""
    _check("nll_loss", reduction, size_average, reduce)
    x, y = as_traced(input), as_traced(target)
    positions = (x.shape[0], *x.shape[2:]) if x.ndim > 1 else None
    if y.dtype != np.int64 or y.shape != positions:
        raise x._tracer.error(
            f"nll_loss: takes log-probabilities (N, C, ...) and classes (N, ...) as integers, got shapes {x.shape} and "
            f"{y.shape} of {y.dtype}"
        )
    names = np.arange(x.shape[1])
    names[names == ignore_index] = np.iinfo(np.int64).min  # no label
    classes = x._tracer.array(names.reshape(-1, *[1] * (x.ndim - 2)))
    y = y.unsqueeze(1)

    def of_label(values: Tensor) -> Tensor:
        return values._apply("at_label", y, classes, ignore_index=int(ignore_index)).sum(1)

    weights = x._tracer.constant(1.0) if weight is None else as_traced(weight)
    weights = of_label(weights.reshape(-1, *[1] * (x.ndim - 2)))
    losses = -of_label(x) * weights
    return losses.sum() / weights.sum() if reduction == "mean" else _reduced(losses, reduction)


@function
def mse_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: ArrayLike | None = None,
) -> Tensor:
    """``(x - y)^2``, times ``weight`` if given; input and target of the same shape."""
    _check("mse_loss", reduction, size_average, reduce)
    x, y = _pair("mse_loss", input, target)
    losses = (x - y).square()
    if weight is None:
        return _reduced(losses, reduction)
    scale = as_traced(weight)
    losses = losses * scale
    return losses.sum() / scale.expand_as(x).sum() if reduction == "mean" else _reduced(losses, reduction)


@function
def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Tensor:
    """``-pos_weight * y * log(sigmoid(x)) - (1 - y) * log(1 - sigmoid(x))``, times ``weight`` if given.

    Input and target (in [0, 1]) have the same shape; ``weight`` and ``pos_weight`` broadcast to it.
    """
    _check("binary_cross_entropy_with_logits", reduction, size_average, reduce)
    x, y = _pair("binary_cross_entropy_with_logits", input, target)
    losses = x._apply("bce_with_logits", y)
    if pos_weight is not None:
        losses = losses + (as_traced(pos_weight) - 1.0) * y * x._apply("bce_with_logits", as_traced(1.0))
    if weight is not None:
        losses = losses * as_traced(weight)
    return _reduced(losses, reduction)
