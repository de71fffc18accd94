"""Normalization of each image by itself: group and layer normalization, of which instance normalization is one.

``y = (x - mean) / sqrt(var + eps) * weight + bias`` with mean and biased variance of each group of ``C / groups``
channels and their pixels (Wu and He, arXiv 1803.08494), or of the axes from ``axis`` on (Ba, Kiros and Hinton, arXiv
1607.06450). As many groups as channels make instance normalization (Ulyanov et al., arXiv 1607.08022). Weight and bias
may be absent, both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError
from .builder import Builder
from .moments import require_groups
from .rules import first_input, real, require_axis, require_float32, require_shape
from .table import register

_NAMES = ("weight", "bias")


def _group_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, *affine = specs
    require_float32("input", x)
    if x.rank < 2:
        raise OperatorError(f"input must be (N, C) or (N, C, ...), got shape {x.shape}")
    require_groups(x, attrs["groups"])
    _require_affine(affine, x.shape[1:2])
    if x.size == 0:
        raise OperatorError(f"there is nothing to normalize in an input of shape {x.shape}")
    return (x,)


def _require_affine(affine: Sequence[Spec], shape: tuple[int, ...]) -> None:
    for name, spec in zip(_NAMES, affine, strict=False):
        require_float32(name, spec)
        require_shape(name, spec, shape)


def _normalized(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    centered = x - x.mean(axis=axes, keepdims=True)
    return np.asarray(centered / np.sqrt(x.var(axis=axes, keepdims=True) + eps))


def _group_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, *affine = map(real, arrays)
    y = _normalized(x.reshape(len(x), attrs["groups"], -1), (2,), attrs["eps"]).reshape(x.shape)
    if affine:
        weight, bias = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in affine)
        y = y * weight + bias
    return (y,)


def _group_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    x, *affine = node.inputs
    images = _as_images(builder, x)
    mean, var = builder.add_multi("moments", images)
    if node.attrs["groups"] < x.shape[1]:
        mean, var = builder.add_multi("merge_moments", mean, var, groups=node.attrs["groups"], images=1)
    y = builder.add("normalize", images, mean, var, *affine, eps=node.attrs["eps"])
    return [y if y.shape == x.shape else builder.add("reshape", y, shape=x.shape)]


def _as_images(builder: Builder, x: Value) -> Value:
    """``(N, C, ...)`` as ``(N, C, H, W)``."""
    if len(x.shape) == 4:
        return x
    return builder.add("reshape", x, shape=(*x.shape[:2], 1, math.prod(x.shape[2:])))


def _layer_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, *affine = specs
    require_float32("input", x)
    require_axis("axis", attrs["axis"], x)
    _require_affine(affine, x.shape[attrs["axis"] :])
    if x.size == 0:
        raise OperatorError(f"there is nothing to normalize in an input of shape {x.shape}")
    return (x,)


def _layer_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, *affine = map(real, arrays)
    y = _normalized(x, tuple(range(attrs["axis"], x.ndim)), attrs["eps"])
    return (y * affine[0] + affine[1] if affine else y,)


def _layer_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    """Images are kept as such; of anything else what is normalized together becomes the pixels of one channel."""
    x, *affine = node.inputs
    axis, eps = node.attrs["axis"], node.attrs["eps"]
    if axis == 1:
        y = builder.add("group_norm", x, groups=1, eps=eps)
    else:
        rows = builder.add("reshape", x, shape=(1, math.prod(x.shape[:axis]), 1, math.prod(x.shape[axis:])))
        mean, var = builder.add_multi("moments", rows)
        y = builder.add("reshape", builder.add("normalize", rows, mean, var, eps=eps), shape=x.shape)
    if affine:
        y = builder.add("add", builder.add("mul", y, affine[0]), affine[1])
    return [y]


def _layer_samples(node: Node) -> tuple[int, ...]:
    return (0,) if node.attrs["axis"] else ()


_GROUPED = (
    ((2, 6), 3), ((3, 4, 5), 2), ((2, 3, 4, 5), 1), ((2, 4, 5, 3), 4), ((1, 33, 3, 3), 11), ((4, 32, 6, 5), 8),
    ((2, 4, 3, 2, 2), 2), ((3, 5, 7), 5),
)  # fmt: skip
_LAYERED = (((5, 7), 1), ((2, 3, 9), 2), ((2, 3, 4, 5), 1), ((2, 3, 4, 5), 3), ((2, 17, 4, 3), 1), ((6,), 0))


def _cases(shape: tuple[int, ...], affine: tuple[int, ...], attrs: Attrs) -> tuple[Case, ...]:
    """Without weight and bias of that shape, and with them."""

    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        x = 1.5 * rng.standard_normal(shape) + 0.5
        return [a.astype(np.float32) for a in (x, rng.uniform(0.5, 1.5, affine), rng.standard_normal(affine))]

    return Case((shape,), attrs), Case(attrs=attrs, draw=draw)


register(
    Op(
        "group_norm",
        _group_infer,
        _group_reference,
        decompose=_group_decompose,
        cases=lambda: tuple(
            case for shape, groups in _GROUPED for case in _cases(shape, shape[1:2], {"groups": groups, "eps": 1e-5})
        ),
        tolerance=2e-5,
        samples=first_input,
    ),
    Op(
        "layer_norm",
        _layer_infer,
        _layer_reference,
        decompose=_layer_decompose,
        cases=lambda: tuple(
            case for shape, axis in _LAYERED for case in _cases(shape, shape[axis:], {"axis": axis, "eps": 1e-5})
        ),
        tolerance=2e-5,
        samples=_layer_samples,
    ),
)
