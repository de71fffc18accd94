"""Channels and pixels exchanged."""

from __future__ import annotations

from ...settings import whole
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


@function
def pixel_shuffle(input: ArrayLike, upscale_factor: int) -> Tensor:
    """Images (..., C r^2, H, W) as (..., C, H r, W r): r^2 neighbouring channels are the pixels of a block (Shi et al.,
    2016). Raises ValueError for channels that are no multiple of r^2."""
    factor = whole(upscale_factor, "pixel_shuffle: upscale_factor", low=1)
    return _moved(as_traced(input), "depth_to_space", factor)


@function
def pixel_unshuffle(input: ArrayLike, downscale_factor: int) -> Tensor:
    """Images (..., C, H r, W r) as (..., C r^2, H, W), the inverse of :func:`pixel_shuffle`. Raises ValueError for
    images that are not made of blocks of r by r."""
    factor = whole(downscale_factor, "pixel_unshuffle: downscale_factor", low=1)
    return _moved(as_traced(input), "space_to_depth", factor)


def _moved(x: Tensor, op: str, factor: int) -> Tensor:
    """``op`` on images with any number of axes before their channels."""
    if x.ndim < 3:
        raise x._tracer.error(f"input must be images (..., C, H, W), got shape {x.shape}")
    made = x.reshape(-1, *x.shape[-3:])._apply(op, block=factor, mode="CRD")
    return made.reshape(*x.shape[:-3], *made.shape[1:])


@function
def channel_shuffle(input: ArrayLike, groups: int) -> Tensor:
    """Channels (N, C, ...) in groups, one of each group after the other (Zhang et al., 2018). Raises ValueError for
    channels that are no multiple of the groups."""
    x = as_traced(input)
    groups = whole(groups, "channel_shuffle: groups", low=1)
    if x.ndim < 3 or x.shape[1] % groups:
        raise x._tracer.error(f"channel_shuffle takes (N, C, ...), C a multiple of {groups} groups, got {x.shape}")
    n, c, *rest = x.shape
    apart = x.reshape(n, groups, c // groups, *rest)
    return apart.transpose(1, 2).reshape(n, c, *rest)
