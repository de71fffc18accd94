"""Loops over activations in blocks of channels, ``(N, ceil(C / width), H, W, width)`` (see ``kernels/blocks.py``)."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Node
from .access import Strides, collapse

REPEATED = 128
"""Elements, at most, that values of channels are repeated to."""
ROW_ELEMENTS = 16384
"""Images larger than this are walked by their rows, so that there is work for several threads."""


def blocked_strides(strides: Strides, width: int) -> Strides:
    """The walk over blocks of a walk over ``(N, C, H, W)``."""
    n, c, h, w = strides
    return n, c * width, h, w, c


def fits_blocks(chain: Node) -> bool:
    """Whether a chain over images can go over blocks of channels: what varies with the channel is float32."""
    varying = [v for v in chain.inputs if len(v.shape) >= 3 and v.shape[-3] != 1]
    rank = len(chain.attrs["nodes"][0].outputs[0].shape)
    return rank == 4 and all(v.dtype == "float32" for v in (*varying, *chain.outputs))


def repeats(shape: tuple[int, ...], width: int) -> int:
    """How often values of a block of channels are repeated for a loop over an activation of ``shape``."""
    pixels = shape[2] * shape[3]
    return max(1, min(pixels, REPEATED // width))


def rows_of_images(shape: tuple[int, ...], walked: Sequence[Strides]) -> int:
    """Into how many rows a loop over ``shape`` ``(N, B, H, W, width)`` cuts each image: 1 unless it is large, or walked
    otherwise than pixel after pixel."""
    _, _, h, w, width = shape
    extents, _ = collapse((h, w), [s[2:4] for s in walked])
    return h if h * w * width > ROW_ELEMENTS or len(extents) == 2 else 1


def collapse_lanes(shape: tuple[int, ...], walked: Sequence[Strides]) -> tuple[tuple[int, ...], list[Strides]]:
    """The loop over ``shape`` ``(N, B, H, W, width)`` as rows of pixels and lanes: images, blocks and, where they are
    large, rows of an image stay apart."""
    *outer, h, w, width = shape
    extents: tuple[int, ...] = (h, w)
    walks: list[Strides] = [s[2:4] for s in walked]
    if rows_of_images(shape, walked) == 1:
        extents, walks = collapse(extents, walks)
    return (*outer, *extents, width), [(*s[:2], *walk, s[4]) for s, walk in zip(walked, walks, strict=True)]
