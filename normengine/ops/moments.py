"""The table of mean and variance of each image and channel, and what normalizes with it.

Instance normalization takes a row of the table as it is. Layer, group, ghost-batch and batch normalization merge rows:
of ``k`` parts of equally many values, ``mean = avg(mean_i)`` and ``var = avg(var_i) + avg((mean_i - mean)^2)`` (Chan,
Golub and LeVeque, 1979), which ``merge_moments`` averages with ``group_mean``. Tables are ``(N, C, 1, 1)``, merged
ones too: every image and channel has the numbers of the group that it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes, elements_of_input
from .builder import Builder
from .rules import all_inputs, first_input, only, real, require_float32, require_layout, require_shape
from .table import register

Grads = Sequence["Value | None"]

_PIXELS = (2, 3)


def _table(x: Spec) -> tuple[int, ...]:
    return (*x.shape[:2], 1, 1)


def _pixels(x: Value) -> int:
    return math.prod(x.shape[2:])


def _moments_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_layout("input", x, "(N, C, H, W)")
    return Spec(_table(x)), Spec(_table(x))


def _moments_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x = real(arrays[0])
    return x.mean(axis=_PIXELS, keepdims=True), x.var(axis=_PIXELS, keepdims=True)


def _moments_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    (x,), (mean, _), (dmean, dvar) = node.inputs, node.outputs, grads
    parts: list[Value] = []
    share = 1.0 / _pixels(x)
    if dvar is not None:
        factor = builder.add("mul", dvar, builder.constant(2.0 * share))
        parts.append(builder.add("mul", builder.add("sub", x, mean), factor))
    if dmean is not None:
        parts.append(builder.add("mul", dmean, builder.constant(share)))
    whole = builder.add("add", *parts) if len(parts) == 2 else parts[0]
    return [whole if whole.shape == x.shape else builder.add("expand", whole, shape=x.shape)]


def _group_mean_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    groups, images = attrs["groups"], attrs["images"]
    require_layout("input", x, "(N, C, 1, 1)")
    require_shape("input", x, _table(x))
    require_groups(x, groups)
    if images < 1 or x.shape[0] % images:
        raise OperatorError(f"a batch of {x.shape[0]} images cannot be cut into parts of {images} images")
    return (x,)


def require_groups(x: Spec, groups: int) -> None:
    if groups < 1 or x.shape[1] % groups:
        raise OperatorError(f"{x.shape[1]} channels (shape {x.shape}) cannot be divided into {groups} groups")


def _group_mean_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x = real(arrays[0])
    n, c = x.shape[:2]
    images, groups = attrs["images"], attrs["groups"]
    parts = x.reshape(n // images, images, groups, c // groups)
    means = parts.mean(axis=(1, 3), keepdims=True)
    return (np.broadcast_to(means, parts.shape).reshape(x.shape),)


def _group_mean_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    """Averaging is its own adjoint."""
    return [builder.add("group_mean", only(grads), **node.attrs)]


def _group_mean_samples(node: Node) -> tuple[int, ...]:
    return (0,) if node.attrs["images"] == 1 else ()


def _group_mean_together(node: Node) -> int:
    images: int = node.attrs["images"]
    return images


def _merge_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    mean, var = specs
    require_shape("var", var, mean.shape)
    return (*_group_mean_infer([mean], attrs), *_group_mean_infer([var], attrs))


def _merge_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    mean, var = map(real, arrays)
    (middle,) = _group_mean_reference([mean], attrs)
    return middle, *_group_mean_reference([var + (mean - middle) ** 2], attrs)


def _merge_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    mean, var = node.inputs
    middle = builder.add("group_mean", mean, **node.attrs)
    off = builder.add("sub", mean, middle)
    both = builder.add("add", var, builder.add("mul", off, off))
    return [middle, builder.add("group_mean", both, **node.attrs)]


def _require_tables(x: Spec, tables: dict[str, Spec], vectors: dict[str, Spec]) -> None:
    require_layout("input", x, "(N, C, H, W)")
    for name, spec in tables.items():
        require_float32(name, spec)
        require_shape(name, spec, _table(x))
    for name, spec in vectors.items():
        require_float32(name, spec)
        require_shape(name, spec, x.shape[1:2])


def _normalize_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, mean, var, *affine = specs
    _require_tables(x, {"mean": mean, "var": var}, dict(zip(("weight", "bias"), affine, strict=False)))
    return (x,)


def _normalize_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, mean, var, *affine = map(real, arrays)
    y = (x - mean) / np.sqrt(var + attrs["eps"])
    if affine:
        weight, bias = (v.reshape(-1, 1, 1) for v in affine)
        y = y * weight + bias
    return (y,)


def inverse_std(builder: Builder, var: Value, eps: float) -> Value:
    """``1 / sqrt(var + eps)``."""
    return builder.add("rsqrt", builder.add("add", var, builder.constant(float(eps))))


def spread(builder: Builder, vector: Value) -> Value:
    """``(C,)`` as ``(C, 1, 1)``, which broadcasts against images."""
    return builder.add("reshape", vector, shape=(*vector.shape, 1, 1))


def _scale(builder: Builder, node: Node) -> tuple[Value, Value]:
    """``1 / std``, and that times the weight, of each image and channel."""
    _, _, var, *affine = node.inputs
    inverse = inverse_std(builder, var, node.attrs["eps"])
    return inverse, builder.add("mul", inverse, spread(builder, affine[0])) if affine else inverse


def _normalize_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    x, mean, _, *affine = node.inputs
    _, scale = _scale(builder, node)
    y = builder.add("mul", builder.add("sub", x, mean), scale)
    return [builder.add("add", y, spread(builder, affine[1])) if affine else y]


def _normalize_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    """With ``s1 = sum(dy (x - mean))`` and ``s0 = sum(dy)`` of each image and channel: ``dx = dy scale``, ``dmean = -s0
    scale``, ``dvar = -s1 scale / (2 std^2)``, ``dweight = sum_n(s1 / std)``, ``dbias = sum_n(s0)``."""
    x, mean, _, *affine = node.inputs
    dy = only(grads)
    inverse, scale = _scale(builder, node)
    weighted, plain = builder.add_multi("normalize_grad_sums", dy, x, mean)
    half = builder.add("mul", builder.add("mul", inverse, inverse), builder.constant(-0.5))
    dvar = builder.add("mul", weighted, builder.add("mul", scale, half))
    dmean = builder.add("neg", builder.add("mul", plain, scale))
    found: list[Value | None] = [builder.add("mul", dy, scale), dmean, dvar]
    if affine:
        for each in (builder.add("mul", weighted, inverse), plain):
            found.append(builder.add("reduce_sum", each, axes=(0, 2, 3), keepdims=False))
    return found


def _sums_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, x, mean = specs
    _require_tables(x, {"mean": mean}, {})
    require_float32("output gradient", dy)
    require_shape("output gradient", dy, x.shape)
    return mean, mean


def _sums_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, x, mean = map(real, arrays)
    return (dy * (x - mean)).sum(axis=_PIXELS, keepdims=True), dy.sum(axis=_PIXELS, keepdims=True)


def _sums_expand(builder: Builder, node: Node) -> Sequence[Value]:
    dy, x, mean = node.inputs
    product = builder.add("mul", dy, builder.add("sub", x, mean))
    return [builder.add("reduce_sum", v, axes=_PIXELS, keepdims=True) for v in (product, dy)]


def _four_operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return 4 * elements_of_input(inputs, outputs, attrs)


SHAPES = ((2, 3, 4, 5), (1, 17, 3, 3), (4, 1, 6, 6), (2, 32, 9, 7), (2, 2, 40, 41), (3, 5, 1, 1), (1, 9, 1, 33))


def _case(shape: tuple[int, ...], images: int, tables: int, vectors: int, attrs: Attrs) -> Case:
    """So many arrays of ``shape``, positive tables and vectors."""

    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        n, c = shape[:2]
        pictures = [(1.5 * rng.standard_normal(shape) + 0.5) for _ in range(images)]
        rows = [rng.uniform(0.5, 1.5, (n, c, 1, 1)) for _ in range(tables)]
        found = [*pictures, *rows, *(rng.uniform(0.5, 1.5, c) for _ in range(vectors))]
        return [a.astype(np.float32) for a in found]

    return Case(attrs=attrs, draw=draw)


def _draw_far(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [(1e4 + rng.standard_normal((2, 3, 16, 17))).astype(np.float32)]


_GROUPS = (((4, 6), 3, 2), ((3, 5), 1, 1), ((6, 4), 4, 3), ((2, 32), 8, 1), ((8, 33), 33, 8), ((5, 7), 7, 1))

register(
    Op(
        "moments",
        _moments_infer,
        _moments_reference,
        _moments_gradient,
        cases=lambda: (*(Case((shape,)) for shape in SHAPES), Case(draw=_draw_far, differentiable=False)),
        tolerance=2e-5,
        kind="statistics",
        operations=_four_operations,
        samples=first_input,
    ),
    Op(
        "group_mean",
        _group_mean_infer,
        _group_mean_reference,
        _group_mean_gradient,
        cases=lambda: tuple(
            Case(((*nc, 1, 1),), {"groups": groups, "images": images}) for nc, groups, images in _GROUPS
        ),
        kind="statistics",
        samples=_group_mean_samples,
        together=_group_mean_together,
    ),
    Op(
        "merge_moments",
        _merge_infer,
        _merge_reference,
        decompose=_merge_decompose,
        cases=lambda: tuple(
            _case((*nc, 1, 1), 0, 2, 0, {"groups": groups, "images": images}) for nc, groups, images in _GROUPS
        ),
        samples=lambda node: (0, 1) if node.attrs["images"] == 1 else (),
    ),
    Op(
        "normalize",
        _normalize_infer,
        _normalize_reference,
        _normalize_gradient,
        decompose=_normalize_decompose,
        cases=lambda: tuple(_case(shape, 1, 2, vectors, {"eps": 1e-5}) for shape in SHAPES for vectors in (0, 2)),
        tolerance=2e-5,
        samples=lambda node: (0, 1, 2),
    ),
    Op(
        "normalize_grad_sums",
        _sums_infer,
        _sums_reference,
        cases=lambda: tuple(_case(shape, 2, 1, 0, {}) for shape in SHAPES),
        tolerance=2e-5,
        kind="statistics",
        operations=_four_operations,
        samples=all_inputs,
        expand=_sums_expand,
    ),
)
