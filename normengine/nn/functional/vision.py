"""Images sampled at points of a grid, and grids of affine maps."""

from __future__ import annotations

from collections.abc import Sequence

from ...ops.grid_sample import affine_points
from ...settings import whole
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["affine_grid", "grid_sample"]

_MODES = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
_PADDINGS = ("zeros", "border", "reflection")


@function
def grid_sample(
    input: ArrayLike,
    grid: ArrayLike,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The pixels of ``input`` where ``grid`` says, interpolated.

    Coordinate -1 is the left or upper end and 1 the right or lower one: the outer edges of the outermost pixels, their
    centers with ``align_corners``. ``grid[..., 0]`` goes along the width, ``[..., 1]`` along the height, ``[..., 2]``
    along the depth. NaN counts as -1.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W) float32.
        grid: (N, H', W', 2) or (N, D', H', W', 3) float32.
        mode: "bilinear" (of eight pixels for volumes), "nearest", or "bicubic" for images.
        padding_mode: what lies outside: "zeros", the "border", or the image mirrored ("reflection").
        align_corners: False by default.

    Returns: (N, C, H', W') or (N, C, D', H', W') float32; gradients flow to both inputs.

    Raises: OperatorError, a ValueError, for shapes that do not fit and settings that do not exist.

    Source: Jaderberg et al., "Spatial Transformer Networks", 2015.
    """
    x, points = as_traced(input), as_traced(grid)
    for name, value, choice in (("mode", mode, _MODES), ("padding_mode", padding_mode, _PADDINGS)):
        if value not in choice:
            raise x._tracer.error(f"grid_sample: {name} must be one of {', '.join(choice)}, got {value!r}")
    if mode == "bicubic" and x.ndim != 4:
        raise x._tracer.error(f"grid_sample: mode 'bicubic' is for inputs (N, C, H, W), got shape {x.shape}")
    return x._apply(
        "grid_sample", points, mode=_MODES[mode], padding_mode=padding_mode, align_corners=bool(align_corners)
    )


@function
def affine_grid(theta: ArrayLike, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid for :func:`grid_sample` of affine maps: ``grid[n, p] = theta[n] @ (x, y, 1)`` of each output pixel p.

    Args:
        theta: (N, 2, 3) for images, (N, 3, 4) for volumes, float32.
        size: that of the result of :func:`grid_sample`, (N, C, H, W) or (N, C, D, H, W).
        align_corners: as there.

    Returns: (N, H, W, 2) or (N, D, H, W, 3) float32.

    Raises: OperatorError, a ValueError, for shapes that do not fit; ValueError for sizes that are not positive.
    """
    maps = as_traced(theta)
    sizes = [whole(n, "affine_grid: size", 1) for n in size]
    dims = len(sizes) - 2
    if dims not in (2, 3):
        raise maps._tracer.error(f"affine_grid: size must be (N, C, H, W) or (N, C, D, H, W), got {tuple(sizes)}")
    if maps.shape != (sizes[0], dims, dims + 1):
        wanted = (sizes[0], dims, dims + 1)
        raise maps._tracer.error(
            f"affine_grid: theta must have shape {wanted} for size {tuple(sizes)}, got {maps.shape}"
        )
    points = affine_points(sizes[2:], bool(align_corners))
    flat = maps.reshape(-1, dims + 1) @ points
    return flat.reshape(-1, dims, points.shape[1]).permute(0, 2, 1).reshape(-1, *sizes[2:], dims)
