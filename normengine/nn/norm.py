"""Batch normalization layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..settings import finite
from ..typing import Device, DType
from . import functional as F
from .context import current
from .functional.activation import as_traced
from .functional.norm import update_running
from .module import Module, check_placement
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class RunningNorm(Module):
    """Layers with running statistics of channels: what normalizes with those of a batch while it trains.

    ``track_running_stats`` keeps ``running_mean``, ``running_var`` and how many batches they have seen; ``affine``
    gives a ``weight`` of ones and, with ``bias``, a ``bias`` of zeros, (C,) float32 all of them.
    """

    ranks: tuple[int, ...] = ()
    layout = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: DType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_placement(device, dtype)
        if num_features < 1:
            raise ValueError(f"{type(self).__name__}: num_features must be positive, got {num_features}")
        finite(eps, f"{type(self).__name__}: eps", low=0)
        if momentum is not None:
            finite(momentum, f"{type(self).__name__}: momentum", 0, 1)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight: Parameter | None
        self.bias: Parameter | None
        self.running_mean: Any
        self.running_var: Any
        self.num_batches_tracked: Any
        self.register_parameter("weight", Parameter(np.ones(num_features, np.float32)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(num_features, np.float32)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, np.float32) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, np.float32) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            self.running_mean[...] = 0
            self.running_var[...] = 1
            self.num_batches_tracked[...] = 0

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as when the layer was made."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight._data.fill_(1.0)
        if self.bias is not None:
            self.bias._data.zero_()

    def _count_batch(self) -> float | Tensor:
        """The share that this batch has in the running statistics, one more batch counted where batches are."""
        share: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if not self.track_running_stats or self.num_batches_tracked is None:
            return share
        tracer, count = current(), self.num_batches_tracked
        assert tracer is not None
        seen = tracer.add("count_step", tracer.tensor(count))
        tracer.update(tracer.tensor(count), seen)
        return tracer.add("count_weight", seen) if self.momentum is None else share

    def _remember(self, mean: Tensor, var: Tensor, values: int) -> None:
        """Count a batch, and take its mean and biased variance, those of so many values a channel, into the running
        ones."""
        unbiased = var * mean._tracer.constant(values / (values - 1))
        update_running(self.running_mean, self.running_var, mean, unbiased, self._count_batch())

    def has_statistics(self) -> bool:
        """Whether there are running statistics."""
        return self._buffers["running_mean"] is not None and self._buffers["running_var"] is not None

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm(RunningNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel (Ioffe and Szegedy, 2015).

    In training mode, or without running statistics, mean and biased variance are those of the batch, and the running
    ones become ``(1 - momentum) * running + momentum * batch``, with the unbiased variance; ``momentum=None`` makes
    them cumulative averages. In ``eval`` mode the running statistics are used.

    With ``alpha`` above 0, statistics in ``eval`` mode are ``alpha`` times those of the image itself and ``1 - alpha``
    times the running ones, mean and mean of squares alike (Summers and Dinneen, "Four Things Everyone Should Know to
    Improve Batch Normalization", ICLR 2020, section 3.1). An image with a single value a channel has no statistics of
    its own: there the running ones are used alone.
    """

    alpha: float = 0.0
    """The share of the image's own statistics in ``eval`` mode, see :func:`normengine.mix_statistics`."""

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.batch_norm` with the layer's settings."""
        tracer = current()
        assert tracer is not None
        shape = tracer.tensor(x).shape
        if len(shape) not in self.ranks:
            raise tracer.error(f"input must be {self.layout}, got shape {shape}")
        if shape[1] != self.num_features:
            raise tracer.error(f"input has {shape[1]} channels (shape {shape}), num_features is {self.num_features}")
        if self.alpha and not self.training and self.has_statistics() and math.prod(shape[2:]) > 1:
            return self._mixed(tracer.tensor(x))
        momentum = self._count_batch() if self.training else 0.0
        return F.batch_norm(
            x,
            self.running_mean if not self.training or self.track_running_stats else None,
            self.running_var if not self.training or self.track_running_stats else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            momentum,
            self.eps,
        )

    def _mixed(self, x: Tensor) -> Tensor:
        """``x`` normalized with mixed statistics, by the variance of a mixture: no square of a mean is subtracted."""
        alpha = finite(self.alpha, f"{type(self).__name__}: alpha", 0, 1)
        axes, column = tuple(range(2, x.ndim)), (1, self.num_features, *[1] * (x.ndim - 2))
        running_mean, running_var = (as_traced(v).reshape(column) for v in (self.running_mean, self.running_var))
        own_mean = x.mean(axes, keepdim=True)
        own_var = (x - own_mean).square().mean(axes, keepdim=True)
        apart = own_mean - running_mean
        var = own_var * alpha + running_var * (1 - alpha) + apart.square() * (alpha * (1 - alpha))
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * as_traced(self.weight).reshape(column)
        y = (x - (running_mean + apart * alpha)) * scale
        return y if self.bias is None else y + as_traced(self.bias).reshape(column)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return super().extra_repr() + (f", alpha={self.alpha:g}" if self.alpha else "")


class BatchNorm1d(BatchNorm):
    """Batch normalization of (N, C) or (N, C, L) float32; see :class:`BatchNorm`."""

    ranks = (2, 3)
    layout = "(N, C) or (N, C, L)"


class BatchNorm2d(BatchNorm):
    """Batch normalization of (N, C, H, W) float32; see :class:`BatchNorm`."""

    ranks = (4,)
    layout = "(N, C, H, W)"


class BatchNorm3d(BatchNorm):
    """Batch normalization of (N, C, D, H, W) float32; see :class:`BatchNorm`."""

    ranks = (5,)
    layout = "(N, C, D, H, W)"
