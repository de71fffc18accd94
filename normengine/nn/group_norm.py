"""Layers that normalize each sample by itself: group, layer and instance normalization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..settings import finite, whole
from ..typing import Device, DType
from . import functional as F
from .functional.activation import as_traced
from .functional.group_norm import extents
from .module import Module, check_placement
from .norm import RunningNorm
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm"]


class _Affine(Module):
    """Layers with a weight that starts as ones and a bias that starts as zeros, or without."""

    weight: Parameter | None
    bias: Parameter | None

    def _make_affine(self, shape: tuple[int, ...], weight: bool, bias: bool) -> None:
        self.register_parameter("weight", Parameter(np.ones(shape, np.float32)) if weight else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, np.float32)) if weight and bias else None)

    def reset_parameters(self) -> None:
        """Ones and zeros, as when the layer was made."""
        if self.weight is not None:
            self.weight._data.fill_(1.0)
        if self.bias is not None:
            self.bias._data.zero_()


class GroupNorm(_Affine):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` of (N, C, ...) float32, with mean and biased variance of each
    group of C / num_groups neighbouring channels of each sample (Wu and He, arXiv 1803.08494)."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Device = None,
        dtype: DType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_placement(device, dtype)
        self.num_groups = whole(num_groups, "GroupNorm: num_groups", low=1)
        self.num_channels = whole(num_channels, "GroupNorm: num_channels", low=1)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_channels {num_channels} must be divisible by num_groups {num_groups}")
        self.eps = finite(eps, "GroupNorm: eps", low=0)
        self.affine = affine
        self._make_affine((num_channels,), affine, bias)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.group_norm` with the layer's settings."""
        require_channels(x, self.num_channels, "num_channels")
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


def require_channels(x: Tensor, channels: int, what: str) -> None:
    """Raise OperatorError for an input of other channels than the layer's setting ``what`` says."""
    tensor = as_traced(x)
    shape = tensor.shape
    if len(shape) < 2 or shape[1] != channels:
        given = f"{shape[1]} channels" if len(shape) > 1 else "no channels"
        raise tensor._tracer.error(f"input has {given} (shape {shape}), {what} is {channels}")


class LayerNorm(_Affine):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` of float32 whose last extents are ``normalized_shape``, with
    mean and biased variance over these axes (Ba, Kiros and Hinton, arXiv 1607.06450); weight and bias have their
    shape."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Device = None,
        dtype: DType = None,
    ) -> None:
        super().__init__()
        check_placement(device, dtype)
        self.normalized_shape = extents(normalized_shape, "LayerNorm: normalized_shape")
        self.eps = finite(eps, "LayerNorm: eps", low=0)
        self.elementwise_affine = elementwise_affine
        self._make_affine(self.normalized_shape, elementwise_affine, bias)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.layer_norm` with the layer's settings."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The settings that ``repr`` shows."""
        affine, bias = self.elementwise_affine, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias}"


class InstanceNorm(RunningNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with mean and biased variance of each channel of each sample
    (Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022).

    With ``track_running_stats`` the means over the samples are kept as batch normalization keeps its own, and used in
    ``eval`` mode. A sample may come without the batch's axis.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Device = None,
        dtype: DType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~normengine.nn.functional.instance_norm` with the layer's settings."""
        given = as_traced(x)
        (rank,) = self.ranks
        if given.ndim not in (rank - 1, rank):
            raise given._tracer.error(f"input must be {self.layout}, got shape {given.shape}")
        images = given if given.ndim == rank else given.unsqueeze(0)
        require_channels(images, self.num_features, "num_features")
        y: Tensor = F.instance_norm(
            images,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y if given.ndim == rank else y.squeeze(0)


class InstanceNorm1d(InstanceNorm):
    """Instance normalization of (N, C, L) or (C, L) float32; see :class:`InstanceNorm`."""

    ranks = (3,)
    layout = "(N, C, L) or (C, L)"


class InstanceNorm2d(InstanceNorm):
    """Instance normalization of (N, C, H, W) or (C, H, W) float32; see :class:`InstanceNorm`."""

    ranks = (4,)
    layout = "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(InstanceNorm):
    """Instance normalization of (N, C, D, H, W) or (C, D, H, W) float32; see :class:`InstanceNorm`."""

    ranks = (5,)
    layout = "(N, C, D, H, W) or (C, D, H, W)"
