"""Loss layers: the functions of :mod:`normengine.nn.functional` with their settings."""

from __future__ import annotations

import numpy as np

from ..conversion import converted
from ..settings import finite
from . import functional as F
from .arithmetic import ArrayLike
from .array import Array
from .module import Module
from .tensor import Tensor

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "MSELoss", "NLLLoss"]


def _as_weight(weight: ArrayLike | None, what: str) -> np.ndarray | None:
    """``weight`` as a float32 array of its own, which must be finite and nowhere negative."""
    if weight is None:
        return None
    given = np.array(converted(np.asarray(weight), np.float32, what))
    if not (np.isfinite(given) & (given >= 0)).all():
        wrong = given[~(np.isfinite(given) & (given >= 0))]
        raise ValueError(f"{what} must hold finite numbers of 0 or more, got {wrong.flat[0]}")
    return given


class _Loss(Module):
    """What losses share: how single losses become one."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        name = type(self).__name__
        if size_average is not None or reduce is not None:
            raise ValueError(f"{name}: size_average and reduce are gone, use reduction='mean', 'sum' or 'none'")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
    """Cross entropy of logits (N, C, ...) and classes (N, ...) or probabilities (N, C, ...).

    ``weight`` (C,) weighs the classes; see :func:`normengine.nn.functional.cross_entropy` for the formula.
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        finite(label_smoothing, "CrossEntropyLoss: label_smoothing", 0, 1)
        self.weight: Array | None
        self.register_buffer("weight", _as_weight(weight, f"{type(self).__name__}: weight"))
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: ArrayLike) -> Tensor:
        """:func:`~normengine.nn.functional.cross_entropy` with the layer's settings."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """``-weight[y] * x[y]`` for log-probabilities x (N, C, ...) and classes y (N, ...)."""

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.weight: Array | None
        self.register_buffer("weight", _as_weight(weight, f"{type(self).__name__}: weight"))
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: ArrayLike) -> Tensor:
        """:func:`~normengine.nn.functional.nll_loss` with the layer's settings."""
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(_Loss):
    """``(x - y)^2`` of two tensors of the same shape."""

    def forward(self, input: Tensor, target: ArrayLike) -> Tensor:
        """:func:`~normengine.nn.functional.mse_loss` with the layer's settings."""
        return F.mse_loss(input, target, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of logits x and targets y in [0, 1] of the same shape.

    ``weight`` weighs the elements, ``pos_weight`` their positive part; both broadcast.
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: ArrayLike | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.weight: Array | None
        self.pos_weight: Array | None
        self.register_buffer("weight", _as_weight(weight, f"{type(self).__name__}: weight"))
        self.register_buffer("pos_weight", _as_weight(pos_weight, f"{type(self).__name__}: pos_weight"))

    def forward(self, input: Tensor, target: ArrayLike) -> Tensor:
        """:func:`~normengine.nn.functional.binary_cross_entropy_with_logits` with the layer's settings."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
