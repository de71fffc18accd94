"""Local response normalization (Krizhevsky et al., 2012): values are divided by what their neighbours in other channels
sum up to.

``y[n, c] = x[n, c] / (k + alpha / size * sum_j x[n, j]^2)^beta`` over the channels ``j`` of a window of ``size`` that
begins ``before`` channels in front of ``c``. Channels that are not there count as zeros, and the division is by
``size`` all the same. PyTorch's window has ``before = size // 2``, ONNX's ``(size - 1) // 2``, which is another one
where ``size`` is even.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .rules import first_input, only, real, require_float32
from .table import register

_DIRECT = 8
"""Terms of a sum that are added one after the other; longer sums are made of two halves."""


def neighbours(channels: int, attrs: Attrs) -> tuple[int, int]:
    """How many channels of the window lie before and behind its own, without those that no channel has."""
    before, behind = attrs["before"], attrs["size"] - 1 - attrs["before"]
    others = max(channels - 1, 0)
    return min(before, others), min(behind, others)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_float32("input", x)
    if x.rank < 2:
        raise OperatorError(f"input must be (N, C) or (N, C, ...), got shape {x.shape}")
    if not 0 <= attrs["before"] < attrs["size"]:
        raise OperatorError(
            f"size must be positive, got {attrs['size']} with {attrs['before']} channels before its own"
        )
    return (x,)


@np.errstate(all="ignore")
def _reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    x = real(arrays[0])
    channels = x.shape[1]
    before, behind = neighbours(channels, attrs)
    padded = np.pad(np.square(x), [(0, 0), (before, behind), *[(0, 0)] * (x.ndim - 2)])
    total = sum(padded[:, i : i + channels] for i in range(before + behind + 1))
    return (x / (attrs["k"] + attrs["alpha"] / attrs["size"] * total) ** attrs["beta"],)


def _part(builder: Builder, x: Value, start: int, channels: int) -> Value:
    """``channels`` of ``x`` from ``start`` on."""
    if (start, channels) == (0, x.shape[1]):
        return x
    others = x.shape[2:]
    return builder.add(
        "slice",
        x,
        starts=(0, start, *[0] * len(others)),
        stops=(x.shape[0], start + channels, *others),
        steps=(1,) * len(x.shape),
    )


def _moving_sum(builder: Builder, x: Value, size: int) -> Value:
    """Sums of ``size`` channels in a row, of all such windows that lie in ``x``."""
    channels = x.shape[1] - size + 1
    if size <= _DIRECT:
        total = _part(builder, x, 0, channels)
        for start in range(1, size):
            total = builder.add("add", total, _part(builder, x, start, channels))
        return total
    half = size // 2
    halves = _moving_sum(builder, x, half)
    total = builder.add("add", _part(builder, halves, 0, channels), _part(builder, halves, half, channels))
    return builder.add("add", total, _part(builder, x, size - 1, channels)) if size % 2 else total


def _window_sum(builder: Builder, x: Value, before: int, behind: int) -> Value:
    """The sum of each value and those of its neighbours."""
    if before or behind:
        rank = len(x.shape)
        shape = tuple(x.shape[1] + before + behind if axis == 1 else -1 for axis in range(rank))
        starts = tuple(before if axis == 1 else 0 for axis in range(rank))
        x = builder.add("unslice", x, starts=starts, steps=(1,) * rank, shape=shape)
    return _moving_sum(builder, x, before + behind + 1)


def _divisor(builder: Builder, x: Value, attrs: Attrs) -> Value:
    """``k + alpha / size * sum``, before the power."""
    total = _window_sum(builder, builder.add("mul", x, x), *neighbours(x.shape[1], attrs))
    share = builder.add("mul", total, builder.constant(attrs["alpha"] / attrs["size"]))
    return builder.add("add", share, builder.constant(float(attrs["k"])))


def _inverse_power(builder: Builder, x: Value, beta: float) -> Value:
    """``x ** -beta``."""
    if beta == 0.75:
        root = builder.add("rsqrt", x)
        return builder.add("mul", root, builder.add("sqrt", root))
    return builder.add("exp", builder.add("mul", builder.add("log", x), builder.constant(-float(beta))))


def _decompose(builder: Builder, node: Node) -> Sequence[Value]:
    (x,) = node.inputs
    return [builder.add("mul", x, _inverse_power(builder, _divisor(builder, x, node.attrs), node.attrs["beta"]))]


def _gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    """``dx = dy * d^-beta - 2 alpha beta / size * x * sum_c dy[c] y[c] / d[c]`` over the ``c`` whose window has it."""
    (x,), (y,), attrs = node.inputs, node.outputs, node.attrs
    divisor = _divisor(builder, x, attrs)
    own = builder.add("mul", only(grads), _inverse_power(builder, divisor, attrs["beta"]))
    before, behind = neighbours(x.shape[1], attrs)
    shared = builder.add("div", builder.add("mul", only(grads), y), divisor)
    total = _window_sum(builder, shared, behind, before)
    factor = builder.constant(2.0 * attrs["alpha"] * attrs["beta"] / attrs["size"])
    return [builder.add("sub", own, builder.add("mul", builder.add("mul", x, factor), total))]


def _operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    (shape,) = inputs
    return int(np.prod(shape, dtype=np.int64)) * (6 + sum(neighbours(shape[1], attrs)))


def _attrs(size: int, before: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Attrs:
    return {"size": size, "before": before, "alpha": alpha, "beta": beta, "k": k}


_PROBLEMS: tuple[tuple[tuple[int, ...], Attrs], ...] = (
    ((2, 7, 5, 3), _attrs(5, 2)),
    ((2, 7, 5, 3), _attrs(5, 2, alpha=2.0, beta=0.5, k=2.0)),
    ((1, 17, 3, 3), _attrs(4, 2, alpha=1.0)),
    ((3, 6, 4), _attrs(4, 1, alpha=1.0, beta=0.6)),
    ((3, 9), _attrs(3, 1, alpha=0.5, beta=1.0)),
    ((2, 3, 2, 2, 3), _attrs(11, 5, alpha=3.0)),
    ((2, 33, 2, 5), _attrs(21, 10, alpha=4.0)),
    ((2, 40, 3, 1), _attrs(18, 0, alpha=1.0, beta=1.5)),
    ((1, 1, 2, 2), _attrs(1, 0, alpha=1.0)),
    ((2, 4, 2, 2), _attrs(10**9, 10**8, alpha=1e9)),
)

register(
    Op(
        "local_response_norm",
        _infer,
        _reference,
        _gradient,
        decompose=_decompose,
        cases=lambda: tuple(Case((shape,), attrs) for shape, attrs in _PROBLEMS),
        operations=_operations,
        samples=first_input,
        evaluator_is_exact=False,
    )
)
