"""Signals, images and volumes made larger or smaller."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ops.resize import settings
from ...settings import finite, whole
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["interpolate"]

_WEIGHTED = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
"""The modes of weighted sums, and for how many spatial dimensions each is."""
_MODES = ("nearest", "nearest-exact", "area", *_WEIGHTED)
_LEAST = 1e-30
_ONE_PLACE = 1e9
"""The scale of an axis of one output or one input: all outputs lie at the same place."""


@function
def interpolate(
    input: ArrayLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """``input`` resized to ``size``, or by ``scale_factor``: (N, C, W), (N, C, H, W) or (N, C, D, H, W).

    Output ``i`` along an axis lies at ``(i + 0.5) s - 0.5`` of the input, where ``s`` is ``1 / scale_factor``, or input
    over output size; at ``i (n - 1) / (m - 1)`` with ``align_corners``. Linear modes weigh the two inputs around it,
    bicubic four, by Keys' cubic with -0.75; "nearest" takes input ``floor(i s)``, "nearest-exact" the nearest, "area"
    the mean of the inputs that the output covers.

    Args:
        input: float32.
        size: the spatial extents of the result, an int for all of them.
        scale_factor: what those of the input are multiplied by and rounded down.
        mode: "nearest", "nearest-exact", "area", "linear" for one spatial dimension, "bilinear" and "bicubic" for two,
            "trilinear" for three.
        align_corners: whether the centers of the outermost inputs and outputs meet; for weighted modes alone.
        recompute_scale_factor: whether ``s`` is input over output size where a scale factor is given.
        antialias: whether the windows of "bilinear" and "bicubic" grow where an axis shrinks (cubic with -0.5 then).

    Returns: float32, (N, C, *size).

    Raises: ValueError for settings that make no sense or contradict each other; NotImplementedError for a mode that is
    not for so many dimensions.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981.
    """
    x = as_traced(input)
    _check(x, mode, align_corners, antialias)
    factors = None
    if size is not None:
        if scale_factor is not None:
            raise x._tracer.error("interpolate takes size or scale_factor, got both; leave one out")
        if recompute_scale_factor:
            raise x._tracer.error("interpolate: recompute_scale_factor needs a scale_factor, got a size; leave it out")
        sizes = [whole(n, "interpolate: size", 1) for n in _each(x, size, "size")]
    elif scale_factor is not None:
        given = _each(x, scale_factor, "scale_factor")
        factors = [finite(s, "interpolate: scale_factor", _LEAST) for s in given]
        sizes = [math.floor(n * s) for n, s in zip(x.shape[2:], factors, strict=True)]
        if min(sizes) < 1:
            raise x._tracer.error(f"interpolate: scale_factor {scale_factor} leaves nothing of shape {x.shape}")
        factors = None if recompute_scale_factor or mode == "area" else factors
    else:
        raise x._tracer.error("interpolate takes size or scale_factor, got neither; give one")
    if mode == "area":
        return _averaged(x, sizes)
    return _resized(x, sizes, factors, mode, bool(align_corners), antialias)


def _check(x: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in _MODES:
        raise NotImplementedError(f"interpolate: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if x.ndim not in (3, 4, 5):
        shapes = "(N, C, W), (N, C, H, W) or (N, C, D, H, W)"
        raise NotImplementedError(f"interpolate takes an input {shapes}, got shape {x.shape}")
    if _WEIGHTED.get(mode, x.ndim - 2) != x.ndim - 2:
        rank = _WEIGHTED[mode] + 2
        raise NotImplementedError(f"interpolate: mode {mode!r} is for {rank} dimensions, got shape {x.shape}")
    if align_corners is not None and mode not in _WEIGHTED:
        raise x._tracer.error(f"interpolate: align_corners is for {', '.join(_WEIGHTED)}, got mode {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise x._tracer.error(f"interpolate: antialias is for bilinear and bicubic, got mode {mode!r}")


def _each(x: Tensor, given: object, name: str) -> Sequence[object]:
    """A setting of every spatial dimension."""
    if not isinstance(given, (tuple, list)):
        return [given] * (x.ndim - 2)
    if len(given) != x.ndim - 2:
        raise x._tracer.error(
            f"interpolate: {name} must be one number for each of {x.ndim - 2} spatial dimensions, got {given}"
        )
    return given


def _averaged(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Means over windows, at most two dimensions at a time."""
    from .pooling import adaptive_avg_pool2d

    batch = x.shape[0]
    if x.ndim == 4:
        return adaptive_avg_pool2d(x, (sizes[0], sizes[1]))
    if x.ndim == 3:
        rows = adaptive_avg_pool2d(x.reshape(batch, x.shape[1], 1, x.shape[2]), (1, sizes[0]))
        return rows.reshape(batch, x.shape[1], sizes[0])
    _, c, d, h, w = x.shape
    planes = adaptive_avg_pool2d(x.reshape(batch, c * d, h, w), (sizes[1], sizes[2]))
    along = adaptive_avg_pool2d(planes.reshape(batch, c, d, sizes[1] * sizes[2]), (sizes[0], sizes[1] * sizes[2]))
    return along.reshape(batch, c, *sizes)


def _resized(
    x: Tensor, sizes: Sequence[int], factors: Sequence[float] | None, mode: str, align_corners: bool, antialias: bool
) -> Tensor:
    nearest = mode.startswith("nearest")
    transformation = "align_corners" if align_corners else "half_pixel"
    if mode == "nearest":
        transformation = "asymmetric"
    if align_corners and antialias:
        transformation = "half_pixel"
    scales = _scales(x, sizes, factors, mode, align_corners, antialias)
    attrs = settings(
        x.shape,
        tuple(range(2, x.ndim)),
        sizes,
        scales,
        mode="nearest" if nearest else "cubic" if mode == "bicubic" else "linear",
        transformation=transformation,
        rounding="floor" if mode == "nearest" else "round_prefer_ceil",
        cubic_coeff=-0.5 if antialias else -0.75,
        exclude_outside=antialias,
        antialias=antialias,
        single=nearest,
    )
    return x._apply("resize", **attrs) if attrs["axes"] else x


def _scales(
    x: Tensor, sizes: Sequence[int], factors: Sequence[float] | None, mode: str, align_corners: bool, antialias: bool
) -> list[float]:
    """By which the coordinates along each axis are computed. Axes that keep their size keep their elements, but those
    of "bicubic" and "nearest-exact", and of "nearest" in images alone."""
    kept = antialias or mode in ("linear", "bilinear", "trilinear") or (mode == "nearest" and x.ndim == 4)
    scales = []
    for i, (n, m) in enumerate(zip(x.shape[2:], sizes, strict=True)):
        if align_corners and antialias and n != m:
            # Windows lie as without the corners, their distance and width are those of the corners.
            scales.append((m - 1) / (n - 1) if m > 1 and n > 1 else _ONE_PLACE)
        elif factors is None or align_corners or (kept and n == m):
            scales.append(m / n)
        else:
            scales.append(factors[i])
    return scales
