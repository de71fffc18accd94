"""Relatives of batch normalization, all of them merges of the mean and variance of each image and channel."""

from __future__ import annotations

import numpy as np

from ..settings import finite, whole
from ..typing import Device, DType
from . import functional as F
from .arithmetic import ArrayLike
from .functional.activation import as_traced
from .functional.group_norm import affine_of
from .functional.norm import update_running
from .group_norm import require_channels
from .module import Module
from .norm import BatchNorm2d, RunningNorm
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["BatchRenorm2d", "EvoNorm2dS0", "FilterResponseNorm2d", "GhostBatchNorm2d", "SwitchNorm2d"]


def _images(x: Tensor, channels: int) -> Tensor:
    """``x`` as a tensor (N, C, H, W) of so many channels."""
    images = as_traced(x)
    if images.ndim != 4:
        raise images._tracer.error(f"input must be (N, C, H, W), got shape {images.shape}")
    require_channels(images, channels, "num_features")
    return images


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each image and channel, (N, C, 1, 1)."""
    mean, var = x._tracer.add_multi("moments", x)
    return mean, var


def _merged(mean: Tensor, var: Tensor, groups: int, images: int = 1) -> tuple[Tensor, Tensor]:
    """The same of each group of channels of so many neighbouring images."""
    mean, var = mean._tracer.add_multi("merge_moments", mean, var, groups=groups, images=images)
    return mean, var


def _column(vector: ArrayLike) -> Tensor:
    """``(C,)`` as ``(C, 1, 1)``."""
    return as_traced(vector).reshape(-1, 1, 1)


class GhostBatchNorm2d(BatchNorm2d):
    """Batch normalization whose statistics in training mode are those of parts of the batch, of ``ghost_size``
    neighbouring images each (Hoffer, Hubara and Soudry, arXiv 1705.08741).

    What is left of a batch that no whole number of parts fits is a smaller part. The running statistics take the parts
    in one after the other, as the paper's algorithm 1 does: with k parts and ``eta = momentum``, ``running = (1 -
    eta)^k running + sum_i (1 - eta)^(k - i) eta part_i``, variances unbiased. In ``eval`` mode it is batch
    normalization, and folds as it does.
    """

    def __init__(
        self,
        num_features: int,
        ghost_size: int = 32,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: DType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.ghost_size = whole(ghost_size, f"{type(self).__name__}: ghost_size", low=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalized."""
        x = _images(x, self.num_features)
        batch = x.shape[0]
        if not self.training or batch <= self.ghost_size:
            return super().forward(x)
        rest = batch % self.ghost_size
        if not rest:
            return self._parts(x, self.ghost_size)
        parts = self._parts(x[: batch - rest], self.ghost_size), self._parts(x[batch - rest :], rest)
        return x._tracer.add("concat", *parts, axis=0)

    def _parts(self, x: Tensor, size: int) -> Tensor:
        channels, tracer = self.num_features, x._tracer
        count = size * x.shape[2] * x.shape[3]
        if count == 1:
            raise tracer.error(
                f"expected more than 1 value per channel in each part of {size} images, got input shape {x.shape}; use "
                "a larger ghost_size"
            )
        mean, var = _merged(*_moments(x), channels, size)
        if self.track_running_stats:
            self._track(mean[::size], var[::size] * tracer.constant(count / (count - 1)))
        return x._apply("normalize", mean, var, *affine_of(x, self.weight, self.bias, (channels,)), eps=self.eps)

    def _track(self, means: Tensor, unbiased: Tensor) -> None:
        """Means and variances (k, C, 1, 1) of k parts go into the running ones."""
        parts, tracer, share = means.shape[0], means._tracer, self._count_batch()
        if self.momentum is None:
            mean, var = means.mean((0, 2, 3)), unbiased.mean((0, 2, 3))
            update_running(self.running_mean, self.running_var, mean, var, share)
            return
        kept = 1.0 - self.momentum
        shares = np.array([self.momentum * kept ** (parts - 1 - i) for i in range(parts)])
        total = 1.0 - kept**parts
        weights = tracer.array((shares / max(total, 1e-30)).astype(np.float32).reshape(-1, 1, 1, 1))
        mean, var = (means * weights).sum((0, 2, 3)), (unbiased * weights).sum((0, 2, 3))
        update_running(self.running_mean, self.running_var, mean, var, total)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        features, rest = super().extra_repr().split(", ", 1)
        return f"{features}, ghost_size={self.ghost_size}, {rest}"


class BatchRenorm2d(BatchNorm2d):
    """``y = ((x - mean) / std * r + d) * weight + bias`` (Ioffe, arXiv 1702.03275).

    In training mode ``mean`` and ``std = sqrt(var + eps)`` are the batch's, and ``r = std / running_std`` in ``[1 /
    rmax, rmax]`` and ``d = (mean - running_mean) / running_std`` in ``[-dmax, dmax]``, through which no gradient
    flows, take them to the running ones, of before the step. Set ``rmax`` and ``dmax`` while training goes on; 1 and 0
    are batch normalization, from where the paper lets them grow to 3 and 5. In ``eval`` mode it is batch normalization,
    and folds as it does.
    """

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
        rmax: float = 3.0,
        dmax: float = 5.0,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.rmax = finite(rmax, f"{type(self).__name__}: rmax", low=1)
        self.dmax = finite(dmax, f"{type(self).__name__}: dmax", low=0)
        if not self.track_running_stats:
            raise ValueError(f"{type(self).__name__}: there is nothing to renormalize to without track_running_stats")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalized."""
        x = _images(x, self.num_features)
        if not self.training:
            return super().forward(x)
        tracer = x._tracer
        rmax = finite(self.rmax, f"{type(self).__name__}: rmax", low=1)
        dmax = finite(self.dmax, f"{type(self).__name__}: dmax", low=0)
        ones, zeros = (tracer.array(np.full(self.num_features, v, np.float32)) for v in (1, 0))
        y, mean, var = tracer.add_multi("batch_norm_train", x, ones, zeros, eps=self.eps)
        eps = tracer.constant(self.eps)
        inverse = (tracer.tensor(self.running_var) + eps).rsqrt()
        r = _bounded((var + eps).sqrt() * inverse, 1.0 / rmax, rmax).detach()
        d = _bounded((mean - self.running_mean) * inverse, -dmax, dmax).detach()
        self._remember(mean, var, x.shape[0] * x.shape[2] * x.shape[3])
        y = y * _column(r) + _column(d)
        return y if self.weight is None else _with_affine(y, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"{super().extra_repr()}, rmax={self.rmax}, dmax={self.dmax}"


def _bounded(x: Tensor, low: float, high: float) -> Tensor:
    """``x`` in ``[low, high]``, which are inputs of the program: they may change from step to step."""
    tracer = x._tracer
    return x._apply("maximum", tracer.tensor(low))._apply("minimum", tracer.tensor(high))


def _with_affine(y: Tensor, weight: Parameter, bias: Parameter | None) -> Tensor:
    scaled = y * _column(weight)
    return scaled if bias is None else scaled + _column(bias)


class FilterResponseNorm2d(Module):
    """``y = max(x / sqrt(nu2 + |eps|) * weight + bias, tau)``, where ``nu2`` is the mean of the squares of each image
    and channel (Singh and Krishnan, arXiv 1911.09737). (N, C, H, W) float32.

    The maximum with the learned ``tau`` is the paper's thresholded linear unit, which takes the place of an activation;
    ``tlu=False`` leaves it out. ``learn_eps`` makes ``eps`` a parameter that starts at 1e-4, which the paper does for
    images of one pixel.
    """

    def __init__(self, num_features: int, eps: float = 1e-6, tlu: bool = True, learn_eps: bool = False) -> None:
        super().__init__()
        self.num_features = whole(num_features, "FilterResponseNorm2d: num_features", low=1)
        self.eps: float | Parameter = finite(eps, "FilterResponseNorm2d: eps", low=0)
        self.tlu = tlu
        self.learn_eps = learn_eps
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.tau: Parameter | None
        self.register_parameter("tau", Parameter(np.zeros(num_features, np.float32)) if tlu else None)
        if learn_eps:
            del self.eps
            self.eps = Parameter(np.full(1, 1e-4, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalized."""
        x = _images(x, self.num_features)
        mean, var = _moments(x)
        eps = as_traced(self.eps).abs() if isinstance(self.eps, Parameter) else x._tracer.constant(self.eps)
        scale = (var + mean.square() + eps).rsqrt() * _column(self.weight)
        y = x * scale + _column(self.bias)
        return y if self.tau is None else y._apply("maximum", _column(self.tau))

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        eps = "learned" if self.learn_eps else self.eps
        return f"{self.num_features}, eps={eps}, tlu={self.tlu}"


class SwitchNorm2d(RunningNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` whose mean and variance are weighted means of those of instance,
    layer and batch normalization (Luo, Ren, Peng, Zhang and Li, arXiv 1806.10779). (N, C, H, W) float32.

    The weights are ``softmax(mean_weight)`` and ``softmax(var_weight)``, learned, of (instance, layer, batch); without
    ``using_bn`` of (instance, layer). In ``eval`` mode the running statistics stand in for the batch's.
    """

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
        using_bn: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.using_bn = using_bn
        kinds = 3 if using_bn else 2
        self.mean_weight = Parameter(np.ones(kinds, np.float32))
        self.var_weight = Parameter(np.ones(kinds, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalized."""
        x = _images(x, self.num_features)
        tracer = x._tracer
        own = _moments(x)
        known = [own, _merged(*own, 1)]
        if self.using_bn:
            known.append(self._of_batch(x, own))
        means, variances = zip(*known, strict=True)
        mean = _weighted(means, F.softmax(tracer.tensor(self.mean_weight), 0))
        var = _weighted(variances, F.softmax(tracer.tensor(self.var_weight), 0))
        y = (x - mean) * (var + tracer.constant(self.eps)).rsqrt()
        return y if self.weight is None else _with_affine(y, self.weight, self.bias)

    def _of_batch(self, x: Tensor, own: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if not self.training and self.track_running_stats:
            return _column(self.running_mean), _column(self.running_var)
        tracer, batch, count = x._tracer, x.shape[0], x.shape[0] * x.shape[2] * x.shape[3]
        if count == 1:
            raise tracer.error(f"expected more than 1 value per channel when training, got input shape {x.shape}")
        mean, var = _merged(*own, self.num_features, batch)
        if self.track_running_stats:
            self._remember(mean[:1].reshape(-1), var[:1].reshape(-1), count)
        return mean, var


def _weighted(tables: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    total = tables[0] * weights[0]
    for i, table in enumerate(tables[1:], 1):
        total = total + table * weights[i]
    return total


class EvoNorm2dS0(Module):
    """``y = x sigmoid(v x) / sqrt(var + eps) * weight + bias``, where ``var`` is the biased variance of each group of
    channels of each image, and ``v`` is learned for each channel (Liu, Brock, Simonyan and Le, arXiv 2004.02967, S0).
    (N, C, H, W) float32. It normalizes and activates: no activation follows it.
    """

    def __init__(self, num_features: int, groups: int = 32, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = whole(num_features, "EvoNorm2dS0: num_features", low=1)
        self.groups = whole(groups, "EvoNorm2dS0: groups", low=1)
        if num_features % groups:
            raise ValueError(f"EvoNorm2dS0: num_features {num_features} must be divisible by groups {groups}")
        self.eps = finite(eps, "EvoNorm2dS0: eps", low=0)
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.v = Parameter(np.ones(num_features, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalized and activated."""
        x = _images(x, self.num_features)
        _, var = _merged(*_moments(x), self.groups)
        scale = (var + x._tracer.constant(self.eps)).rsqrt() * _column(self.weight)
        return x * (x * _column(self.v)).sigmoid() * scale + _column(self.bias)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        return f"{self.num_features}, groups={self.groups}, eps={self.eps}"
