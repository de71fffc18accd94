"""Channels as the pixels of blocks, and back: sub-pixel convolution's last step (Shi et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Part
from .builder import Builder
from .rules import all_inputs, first_input, only, real
from .table import register

Shape = tuple[int, ...]

SPREAD = {"DCR": (0, 3, 4, 1, 5, 2), "CRD": (0, 1, 4, 2, 5, 3)}
"""By mode, where depth (the places of a block) comes before the channels or after them: how the axes of images
(N, depth or C, ..., H, W) are put for (N, C, H, rows, W, columns)."""


def _check(x: Spec, attrs: Attrs) -> int:
    block, mode = attrs["block"], attrs["mode"]
    if mode not in SPREAD:
        raise OperatorError(f"mode must be {' or '.join(SPREAD)}, got {mode!r}")
    if block < 1:
        raise OperatorError(f"the block must be 1 or more, got {block}")
    if x.rank != 4:
        raise OperatorError(f"input must be (N, C, H, W), got shape {x.shape}")
    return int(block)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    block = _check(x, attrs)
    n, c, h, w = x.shape
    if c % block**2:
        raise OperatorError(f"{c} channels (shape {x.shape}) are no multiple of the {block**2} places of a block")
    return (Spec((n, c // block**2, h * block, w * block), x.dtype),)


def _back_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    block = _check(x, attrs)
    n, c, h, w = x.shape
    if h % block or w % block:
        raise OperatorError(f"images of {h}x{w} (shape {x.shape}) are not made of blocks of {block}x{block}")
    return (Spec((n, c * block**2, h // block, w // block), x.dtype),)


def _deep(shape: Shape, attrs: Attrs) -> Shape:
    """Images of ``shape`` whose channels are places of blocks, these as axes of their own."""
    (n, c, h, w), block = shape, attrs["block"]
    channels = c // block**2
    return (n, block, block, channels, h, w) if attrs["mode"] == "DCR" else (n, channels, block, block, h, w)


def _wide(shape: Shape, attrs: Attrs) -> Shape:
    """Images of ``shape`` whose pixels are those of blocks, these as axes of their own."""
    (n, c, h, w), block = shape, attrs["block"]
    return (n, c, h // block, block, w // block, block)


def _gathered(attrs: Attrs) -> Shape:
    """The axes that undo :data:`SPREAD`."""
    axes = SPREAD[attrs["mode"]]
    return tuple(axes.index(axis) for axis in range(len(axes)))


def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    x = real(x) if x.dtype.kind == "f" else x
    (made,) = _infer([Spec.of(x)], attrs)
    return (x.reshape(_deep(x.shape, attrs)).transpose(SPREAD[attrs["mode"]]).reshape(made.shape),)


def _back_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    x = real(x) if x.dtype.kind == "f" else x
    (made,) = _back_infer([Spec.of(x)], attrs)
    return (x.reshape(_wide(x.shape, attrs)).transpose(_gathered(attrs)).reshape(made.shape),)


def _decompose(builder: Builder, node: Node) -> Sequence[Value]:
    """The channels of each place of a block, put there: rows are written whole, where a permutation would write blocks
    of few elements."""
    (x,), block = node.inputs, node.attrs["block"]
    n, c, h, w = x.shape
    channels = c // block**2
    depth_first = node.attrs["mode"] == "DCR"
    places = []
    for place in range(block**2):
        start, step = (place * channels, 1) if depth_first else (place, block**2)
        starts, stops = (0, start, 0, 0), (n, start + step * (channels - 1) + 1, h, w)
        places.append(builder.add("slice", x, starts=starts, stops=stops, steps=(1, step, 1, 1)))
    return [builder.add("interleave", *places, block=block)]


def _back_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    apart = builder.add("reshape", *node.inputs, shape=_wide(node.inputs[0].shape, node.attrs))
    turned = builder.add("permute", apart, axes=_gathered(node.attrs))
    return [builder.add("reshape", turned, shape=node.outputs[0].shape)]


def _interleave_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    block = attrs["block"]
    if block < 1 or len(specs) != block**2:
        raise OperatorError(f"blocks of {block}x{block} are of {block**2} places, got {len(specs)} inputs")
    if any(spec != specs[0] for spec in specs) or specs[0].rank != 4:
        raise OperatorError(f"inputs must be alike, (N, C, H, W), got {', '.join(map(str, specs))}")
    n, c, h, w = specs[0].shape
    return (Spec((n, c, h * block, w * block), specs[0].dtype),)


def _interleave_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    deep = np.concatenate(arrays, axis=1)
    return _reference([deep], {"block": attrs["block"], "mode": "DCR"})


def _interleave_placed(node: Node) -> tuple[Part, ...]:
    block = node.attrs["block"]
    return tuple(Part((0, 0, place // block, place % block), (1, 1, block, block)) for place in range(block**2))


def _interleave_gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    g = only(grads)
    return [
        builder.add("slice", g, starts=starts, stops=g.shape, steps=steps) for starts, steps in _interleave_placed(node)
    ]


register(
    Op(
        "depth_to_space",
        _infer,
        _reference,
        decompose=_decompose,
        cases=lambda: (
            Case(((2, 12, 3, 5),), {"block": 2, "mode": "DCR"}),
            Case(((2, 12, 3, 5),), {"block": 2, "mode": "CRD"}),
            Case(((1, 18, 2, 1),), {"block": 3, "mode": "CRD"}),
        ),
        tolerance=0.0,
        samples=first_input,
        integers="any",
    ),
    Op(
        "interleave",
        _interleave_infer,
        _interleave_reference,
        _interleave_gradient,
        cases=lambda: (
            Case(((2, 3, 4, 5),) * 4, {"block": 2}),
            Case(((1, 17, 1, 2),) * 9, {"block": 3}),
            Case(((2, 3, 1, 1),), {"block": 1}),
        ),
        tolerance=0.0,
        samples=all_inputs,
        placed=_interleave_placed,
        integers="any",
    ),
    Op(
        "space_to_depth",
        _back_infer,
        _back_reference,
        decompose=_back_decompose,
        cases=lambda: (
            Case(((2, 3, 6, 4),), {"block": 2, "mode": "DCR"}),
            Case(((2, 3, 6, 4),), {"block": 2, "mode": "CRD"}),
            Case(((1, 2, 3, 9),), {"block": 3, "mode": "DCR"}),
        ),
        tolerance=0.0,
        samples=first_input,
        integers="any",
    ),
)
