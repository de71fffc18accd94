"""Batch normalization (Ioffe and Szegedy, 2015) over all axes but the channel axis 1.

``y = (x - mean) / sqrt(var + eps) * weight + bias`` with mean and var of the batch in training (var biased, divided
by m) and the running statistics in inference; ``m`` is the number of values per channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Scalar, Shapes, elements_of_input
from .builder import Builder
from .rules import Infer, elementwise_reference, first_input, real, require_dtype, require_float32
from .table import register

Grads = Sequence["Value | None"]


def _check_channels(x: Spec, vectors: dict[str, Spec]) -> None:
    require_float32("input", x)
    if x.rank < 2:
        raise OperatorError(f"input must be (N, C) or (N, C, ...), got shape {x.shape}")
    for name, spec in vectors.items():
        require_float32(name, spec)
        if spec.shape != x.shape[1:2]:
            expected = spec.shape[0] if spec.rank == 1 else "a vector of channels"
            raise OperatorError(
                f"input has {x.shape[1]} channels, {name} expects {expected} ({name} shape {spec.shape})"
            )


def _reduced(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis in range(len(shape)) if axis != 1)


def _per_channel(shape: tuple[int, ...]) -> int:
    return int(np.prod([shape[axis] for axis in _reduced(shape)], dtype=np.int64))


def _column(vector: np.ndarray, rank: int) -> np.ndarray:
    """``(C,)`` as float64 ``(C, 1, ...)`` that broadcasts against ``(N, C, ...)``."""
    return real(vector).reshape(-1, *[1] * (rank - 2))


def _spread(builder: Builder, vector: Value, x: Value) -> Value:
    """``(C,)`` reshaped to broadcast against ``x``."""
    if len(x.shape) == 2:
        return vector
    return builder.add("reshape", vector, shape=(*vector.shape, *[1] * (len(x.shape) - 2)))


def _inverse_std(builder: Builder, var: Value, eps: float) -> Value:
    return builder.add("rsqrt", builder.add("add", var, builder.constant(float(eps))))


def _normalize(builder: Builder, x: Value, weight: Value, bias: Value, mean: Value, var: Value, eps: float) -> Value:
    scale = builder.add("mul", weight, _inverse_std(builder, var, eps))
    centered = builder.add("sub", x, _spread(builder, mean, x))
    scaled = builder.add("mul", centered, _spread(builder, scale, x))
    return builder.add("add", scaled, _spread(builder, bias, x))


def _statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axes = _reduced(x.shape)
    return real(x).mean(axis=axes), real(x).var(axis=axes)


def _apply(arrays: Arrays, mean: np.ndarray, var: np.ndarray, eps: float) -> np.ndarray:
    x, weight, bias = map(real, arrays)
    scale = weight / np.sqrt(real(var) + eps)
    return (x - _column(mean, x.ndim)) * _column(scale, x.ndim) + _column(bias, x.ndim)


def _norm_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, weight, bias, mean, var = specs
    _check_channels(x, {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var})
    return (x,)


def _norm_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    *affine, mean, var = arrays
    return (_apply(affine, mean, var, attrs["eps"]),)


_MEANS = 64
"""Standard deviations that a mean may be away from 0 for ``x * scale + shift``. Further off, the difference of x and
the mean is exact where that product is not."""


@np.errstate(all="ignore")
def _scale_and_shift(builder: Builder, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Both of each channel, computed in float64 and rounded once; None where that is not as exact, or nobody knows."""
    arrays = [builder.constants[v] for v in node.inputs[1:] if v in builder.constants]
    if len(arrays) < 4:
        return None
    scale, shift = _affine(arrays, node.attrs)
    means = np.abs(real(arrays[2])) / np.sqrt(real(arrays[3]) + float(node.attrs["eps"]))
    if not (np.all(np.abs([scale, shift]) <= np.finfo(np.float32).max) and np.all(means <= _MEANS)):
        return None
    return scale.astype(np.float32), shift.astype(np.float32)


def _norm_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    x, weight, bias, mean, var = node.inputs
    known = _scale_and_shift(builder, node)
    if known is not None:
        scale, shift = (_spread(builder, builder.constant(vector), x) for vector in known)
        return [builder.add("add", builder.add("mul", x, scale), shift)]
    return [_normalize(builder, x, weight, bias, mean, var, node.attrs["eps"])]


def _norm_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    x, weight, _, mean, var = node.inputs
    (g,) = grads
    assert g is not None
    eps = node.attrs["eps"]
    scale = builder.add("mul", weight, _inverse_std(builder, var, eps))
    dweight, dbias = builder.add_multi("batch_norm_grad_sums", g, x, mean, var, eps=eps)
    return [builder.add("mul", g, _spread(builder, scale, x)), dweight, dbias, None, None]


def _train_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    x, weight, bias = specs
    _check_channels(x, {"weight": weight, "bias": bias})
    if _per_channel(x.shape) <= 1:
        raise OperatorError(
            f"expected more than 1 value per channel when training, got input shape {x.shape}; "
            "use a larger batch or eval()"
        )
    return x, Spec(x.shape[1:2]), Spec(x.shape[1:2])


def _train_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    mean, var = _statistics(arrays[0])
    return _apply(arrays, mean, var, attrs["eps"]), mean, var


def _train_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    x, weight, bias = node.inputs
    mean, var = builder.add_multi("batch_stats", x)
    return [_normalize(builder, x, weight, bias, mean, var, node.attrs["eps"]), mean, var]


def _train_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    x, weight, _ = node.inputs
    _, mean, var = node.outputs
    dy, dmean, dvar = grads
    parts: list[Value | None] = [None, None, None]
    if dy is not None:
        parts = list(builder.add_multi("batch_norm_train_grad", dy, x, weight, mean, var, eps=node.attrs["eps"]))
    share = 1.0 / _per_channel(x.shape)
    if dmean is not None:
        through = _spread(builder, builder.add("mul", dmean, builder.constant(share)), x)
        through = builder.add("expand", through, shape=x.shape)
        parts[0] = through if parts[0] is None else builder.add("add", parts[0], through)
    if dvar is not None:
        centered = builder.add("sub", x, _spread(builder, mean, x))
        factor = builder.add("mul", dvar, builder.constant(2.0 * share))
        through = builder.add("mul", centered, _spread(builder, factor, x))
        parts[0] = through if parts[0] is None else builder.add("add", parts[0], through)
    return parts


def _stats_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    _check_channels(x, {})
    return Spec(x.shape[1:2]), Spec(x.shape[1:2])


def _stats_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return _statistics(arrays[0])


def _check_grad(dy: Spec, x: Spec, vectors: dict[str, Spec]) -> None:
    _check_channels(x, vectors)
    require_float32("output gradient", dy)
    if dy.shape != x.shape:
        raise OperatorError(f"output gradient must have the input's shape {x.shape}, got {dy.shape}")


def _sums_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, x, mean, var = specs
    _check_grad(dy, x, {"mean": mean, "var": var})
    return Spec(x.shape[1:2]), Spec(x.shape[1:2])


def _sums_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """``dweight = sum(dy * xhat)`` and ``dbias = sum(dy)`` for each channel."""
    dy, x, mean, var = map(real, arrays)
    axes = _reduced(x.shape)
    centered = (dy * (x - _column(mean, x.ndim))).sum(axis=axes)
    return centered / np.sqrt(var + attrs["eps"]), dy.sum(axis=axes)


def _sums_samples(node: Node) -> tuple[int, ...]:
    return (0, 1)


def _sums_expand(builder: Builder, node: Node) -> Sequence[Value]:
    """``sum(dy * (x - mean)) / std`` and ``sum(dy)``."""
    dy, x, mean, var = node.inputs
    product = builder.add("mul", dy, builder.add("sub", x, _spread(builder, mean, x)))
    raw, dbias = (builder.add("reduce_sum", v, axes=_reduced(x.shape), keepdims=False) for v in (product, dy))
    return [builder.add("mul", raw, _inverse_std(builder, var, node.attrs["eps"])), dbias]


def _affine(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, np.ndarray]:
    weight, bias, mean, var = arrays
    scale = real(weight) / np.sqrt(real(var) + float(attrs["eps"]))
    return scale, real(bias) - real(mean) * scale


def _four_operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    return 4 * elements_of_input(inputs, outputs, attrs)


def _train_grad_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    dy, x, weight, mean, var = specs
    _check_grad(dy, x, {"weight": weight, "mean": mean, "var": var})
    return x, Spec(x.shape[1:2]), Spec(x.shape[1:2])


def _train_grad_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """``dx = weight / std * (dy - mean(dy) - xhat * mean(dy * xhat))``, dweight and dbias."""
    dy, x, weight, mean, var = map(real, arrays)
    dweight, dbias = _sums_reference([dy, x, mean, var], attrs)
    m, rank = _per_channel(x.shape), x.ndim
    std = np.sqrt(var + attrs["eps"])
    xhat = (x - _column(mean, rank)) / _column(std, rank)
    inner = dy - _column(dbias / m, rank) - xhat * _column(dweight / m, rank)
    return _column(weight / std, rank) * inner, dweight, dbias


def _train_grad_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    dy, x, weight, mean, var = node.inputs
    eps = node.attrs["eps"]
    dweight, dbias = builder.add_multi("batch_norm_grad_sums", dy, x, mean, var, eps=eps)
    share = builder.constant(1.0 / _per_channel(x.shape))
    inverse = _inverse_std(builder, var, eps)
    slope = builder.add("mul", builder.add("mul", dweight, inverse), share)
    offset = builder.add("mul", dbias, share)
    centered = builder.add("sub", x, _spread(builder, mean, x))
    inner = builder.add("sub", dy, _spread(builder, offset, x))
    inner = builder.add("sub", inner, builder.add("mul", centered, _spread(builder, slope, x)))
    scale = builder.add("mul", weight, inverse)
    return [builder.add("mul", inner, _spread(builder, scale, x)), dweight, dbias]


def _count_infer(dtype: str) -> Infer:
    def infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
        (n,) = specs
        require_dtype("count", n, "int64")
        return (Spec(n.shape, dtype),)

    return infer


def _count_step_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.asarray(arrays[0] + 1),)


SHAPES = ((2, 3), (33, 5), (2, 3, 4, 5), (1, 17, 3, 3), (4, 1, 6, 6), (3, 8, 7), (2, 32, 9, 7), (2, 2, 40, 41))
_EPS = {"eps": 1e-5}


def _vectors(rng: np.random.Generator, channels: int) -> list[np.ndarray]:
    """Weight, bias, mean and var of ``channels``."""
    rows = rng.uniform(0.5, 1.5, (4, channels)).astype(np.float32)
    return [rows[0], rows[1] - 1.0, rows[2] - 1.0, rows[3]]


def _norm_case(shape: tuple[int, ...], *, dy: bool, vectors: tuple[int, ...]) -> Case:
    def draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
        images = [(1.5 * rng.standard_normal(shape) + 0.5).astype(np.float32) for _ in range(1 + dy)]
        rows = _vectors(rng, shape[1])
        return [*images, *(rows[i] for i in vectors)]

    return Case(attrs=_EPS, draw=draw)


def _draw_far(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [(1e4 + rng.standard_normal((4, 3, 16, 17))).astype(np.float32)]


def _draw_counts(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(1, 1000, (5,))]


def _draw_count(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [np.array(7)]


register(
    Op(
        "batch_norm",
        _norm_infer,
        _norm_reference,
        _norm_gradient,
        decompose=_norm_decompose,
        samples=first_input,
        normalizes=True,
        affine=_affine,
        cases=lambda: tuple(_norm_case(shape, dy=False, vectors=(0, 1, 2, 3)) for shape in (*SHAPES, (1, 4, 1, 1))),
    ),
    Op(
        "batch_norm_train",
        _train_infer,
        _train_reference,
        _train_gradient,
        decompose=_train_decompose,
        normalizes=True,
        cases=lambda: tuple(_norm_case(shape, dy=False, vectors=(0, 1)) for shape in SHAPES),
        tolerance=2e-5,
    ),
    Op(
        "batch_stats",
        _stats_infer,
        _stats_reference,
        cases=lambda: (*(Case((shape,)) for shape in SHAPES), Case(draw=_draw_far)),
        tolerance=2e-5,
        kind="statistics",
        operations=_four_operations,
        samples=first_input,
        sums_samples=True,
    ),
    Op(
        "batch_norm_train_grad",
        _train_grad_infer,
        _train_grad_reference,
        decompose=_train_grad_decompose,
        cases=lambda: tuple(_norm_case(shape, dy=True, vectors=(0, 2, 3)) for shape in SHAPES),
        tolerance=2e-5,
    ),
    Op(
        "batch_norm_grad_sums",
        _sums_infer,
        _sums_reference,
        cases=lambda: tuple(_norm_case(shape, dy=True, vectors=(2, 3)) for shape in SHAPES),
        tolerance=2e-5,
        kind="statistics",
        operations=_four_operations,
        samples=_sums_samples,
        sums_samples=True,
        expand=_sums_expand,
    ),
    Op(
        "count_step",
        _count_infer("int64"),
        _count_step_reference,
        scalar=Scalar("count_step"),
        cases=lambda: (Case(draw=_draw_counts), Case(draw=_draw_count)),
        tolerance=0.0,
        integers="any",
    ),
    Op(
        "count_weight",
        _count_infer("float32"),
        elementwise_reference(lambda n: 1.0 / n),
        scalar=Scalar("count_weight", operations=2),
        cases=lambda: (Case(draw=_draw_counts), Case(draw=_draw_count)),
        integers="any",
    ),
)
