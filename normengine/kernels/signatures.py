"""The arguments of every operator that has kernels of its own: names of the slots, and the numbers of a problem (those
of operators that sample images are in :mod:`.sampling_signatures`).

Shapes are those of the operators (``ops/``): images ``(N, C, H, W)``, weights ``(OC, C / groups, KH, KW)``, all
C-contiguous. Importing this module declares the signatures in :data:`REGISTRY`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .base import REGISTRY, Parameters, Problem, Shape, Signature
from .records import (
    AdaptivePool,
    AvgPool,
    Axis,
    Batches,
    Channels,
    Clamp,
    Convolution,
    Groups,
    Indexed,
    Labels,
    Largest,
    Last,
    MatrixProduct,
    MaxPool,
    Normalization,
    Order,
    Reduction,
    Repeat,
    Transposed,
)

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def reduction_view(shape: Shape, axes: Sequence[int]) -> tuple[int, int, int, int]:
    """``shape`` as ``(R0, K0, R1, K1)`` such that the sum over ``axes`` is the sum over R0 and R1.

    Axes are filled in from the last to the first; extents of 1 count as either kind.

    Raises:
        ValueError: kept and summed axes alternate more often than that; reduce in two steps.
    """
    reduced = {axis % len(shape) for axis in axes}
    runs: list[tuple[bool, int]] = []
    for axis, extent in enumerate(shape):
        kind = axis in reduced
        if extent == 1:
            continue
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] * extent)
        else:
            runs.append((kind, extent))
    if not runs or runs[-1][0]:
        runs.append((False, 1))
    if len(runs) > 4:
        raise ValueError(f"reduce_sum: axes {tuple(axes)} of {shape} are not (R0, K0, R1, K1); reduce in two steps")
    view = [1] * (4 - len(runs)) + [extent for _, extent in runs]
    return view[0], view[1], view[2], view[3]


def batch_view(a: Shape, b: Shape) -> Batches:
    """How the factors of shapes ``a + (M, K)`` and ``b + (K, N)``, whose leading extents broadcast, go together.

    Raises:
        ValueError: axes that one factor, the other or both have alternate more often than that; expand one of them.
    """
    rank = max(len(a), len(b))
    runs: list[tuple[tuple[bool, bool], int]] = []
    for left, right in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        kind, extent = (left != 1, right != 1), max(left, right)
        if extent == 1:
            continue
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] * extent)
        else:
            runs.append((kind, extent))
    if len(runs) > 2:
        raise ValueError(f"matmul: leading extents {a} and {b} broadcast in more than two parts; expand one of them")
    (outer, n), (inner, m) = [((False, False), 1)] * (2 - len(runs)) + runs
    steps = [(int(far) * (m if near else 1), int(near)) for far, near in zip(outer, inner, strict=True)]
    return Batches(n * m, m, *steps[0], *steps[1])


def shape_of(problem: Problem, position: int) -> Shape:
    """The shape of an input that is not optional."""
    shape = problem.inputs[position]
    assert shape is not None, f"{problem.op}: input {position} is not optional"
    return shape


def _convolution(x: Shape, weight: Shape, y: Shape, problem: Problem) -> Parameters:
    attrs = problem.attrs
    top, left = attrs["padding"][:2]
    return (*x, *y[1:], *weight[2:], *attrs["stride"], top, left, *attrs["dilation"], attrs["groups"])


def _conv2d(problem: Problem) -> Parameters:
    low, high = problem.attrs.get("clamp", (-math.inf, math.inf))
    numbers = _convolution(shape_of(problem, 0), shape_of(problem, 1), problem.outputs[0], problem)
    return (*numbers, float(low), float(high))


def _conv2d_input_grad(problem: Problem) -> Parameters:
    return _convolution(problem.outputs[0], shape_of(problem, 1), shape_of(problem, 0), problem)


def _conv2d_weight_grad(problem: Problem) -> Parameters:
    return _convolution(shape_of(problem, 1), problem.outputs[0], shape_of(problem, 0), problem)


def _linear(problem: Problem) -> Parameters:
    m, k = shape_of(problem, 0)
    low, high = problem.attrs.get("clamp", (-math.inf, math.inf))
    return m, shape_of(problem, 1)[0], k, float(low), float(high)


def _matmul(problem: Problem) -> Parameters:
    transpose_a, transpose_b = bool(problem.attrs["transpose_a"]), bool(problem.attrs["transpose_b"])
    a, b = shape_of(problem, 0), shape_of(problem, 1)
    *_, m, n = problem.outputs[0]
    batches = batch_view(a[:-2], b[:-2])
    if not (transpose_a or batches.b_outer or batches.b_inner):
        m, batches = m * batches.products, Batches(1, 1, 0, 0, 0, 0)
    return m, n, a[-2] if transpose_a else a[-1], int(transpose_a), int(transpose_b), *batches


def _channels(problem: Problem) -> Parameters:
    n, c, *space = shape_of(problem, 0)
    return n, c, math.prod(space)


def _channels_eps(problem: Problem) -> Parameters:
    return (*_channels(problem), float(problem.attrs["eps"]))


def _group_mean(problem: Problem) -> Parameters:
    n, c, *_ = shape_of(problem, 0)
    images, groups = problem.attrs["images"], problem.attrs["groups"]
    return n // images, images, groups, c // groups


def _window(x: Shape, y: Shape, problem: Problem) -> Parameters:
    return (*x, *y[2:], *problem.attrs["kernel_size"], *problem.attrs["stride"])


def _max_pool2d(problem: Problem) -> Parameters:
    window = _window(shape_of(problem, 0), problem.outputs[0], problem)
    return (*window, *problem.attrs["padding"][:2], *problem.attrs["dilation"])


def _max_pool2d_places(problem: Problem) -> Parameters:
    return (*_max_pool2d(problem), int(problem.attrs["column_major"]))


def _max_pool2d_grad(problem: Problem) -> Parameters:
    window = _window(shape_of(problem, 1), shape_of(problem, 0), problem)
    return (*window, *problem.attrs["padding"][:2], *problem.attrs["dilation"])


def _avg_pool2d(problem: Problem) -> Parameters:
    window = _window(shape_of(problem, 0), problem.outputs[0], problem)
    return (*window, *problem.attrs["padding"], int(problem.attrs["count_include_pad"]))


def _avg_pool2d_grad(problem: Problem) -> Parameters:
    window = _window(problem.outputs[0], shape_of(problem, 0), problem)
    return (*window, *problem.attrs["padding"], int(problem.attrs["count_include_pad"]))


def _adaptive_pool2d(problem: Problem) -> Parameters:
    x, y = shape_of(problem, 0), problem.outputs[0]
    return (*x, *y[2:])


def _adaptive_pool2d_grad(problem: Problem) -> Parameters:
    x, y = problem.outputs[0], shape_of(problem, 0)
    return (*x, *y[2:])


def _reduce_sum(problem: Problem) -> Parameters:
    return reduction_view(shape_of(problem, 0), problem.attrs["axes"])


def _repeat_channels(problem: Problem) -> Parameters:
    rows, channels = shape_of(problem, 0)
    return rows, channels, problem.outputs[0][2]


def _around_axis(problem: Problem) -> Parameters:
    shape = shape_of(problem, 0)
    axis = problem.attrs["axis"] % len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _argmax(problem: Problem) -> Parameters:
    return (*_around_axis(problem), int(problem.attrs["last"]))


def _topk(problem: Problem) -> Parameters:
    return (*_around_axis(problem), int(problem.attrs["k"]), int(problem.attrs["largest"]))


def _indexed(shape: Shape, axis: int, count: int) -> Parameters:
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), count


def _gather(problem: Problem) -> Parameters:
    return _indexed(shape_of(problem, 0), problem.attrs["axis"], math.prod(shape_of(problem, 1)))


def _gather_grad(problem: Problem) -> Parameters:
    return _indexed(problem.outputs[0], problem.attrs["axis"], math.prod(shape_of(problem, 1)))


def _gather_elements(problem: Problem) -> Parameters:
    axis = problem.attrs["axis"]
    return _indexed(shape_of(problem, 0), axis, shape_of(problem, 1)[axis])


def _gather_elements_grad(problem: Problem) -> Parameters:
    axis = problem.attrs["axis"]
    return _indexed(problem.outputs[0], axis, shape_of(problem, 1)[axis])


def _labels(logits: Shape, problem: Problem) -> Parameters:
    attrs = problem.attrs
    extents = logits[0], logits[1], math.prod(logits[2:])
    return (*extents, float(attrs["label_smoothing"]), attrs["ignore_index"], REDUCTIONS[attrs["reduction"]])


def _cross_entropy(problem: Problem) -> Parameters:
    return _labels(shape_of(problem, 0), problem)


def _cross_entropy_grad(problem: Problem) -> Parameters:
    return _labels(shape_of(problem, 1), problem)


_INDICES = ("indices",)
_LABELS = ("target",)
"""The inputs of losses that are int64."""

for _signature in (
    Signature("conv2d", ("x", "weight", "bias", "residual"), ("y",), (Convolution, Clamp), _conv2d),
    Signature("conv2d_input_grad", ("dy", "weight"), ("dx",), (Convolution,), _conv2d_input_grad),
    Signature("conv2d_weight_grad", ("dy", "x"), ("dw",), (Convolution,), _conv2d_weight_grad),
    Signature("linear", ("x", "weight", "bias"), ("y",), (MatrixProduct, Clamp), _linear),
    Signature("matmul", ("a", "b"), ("y",), (MatrixProduct, Transposed, Batches), _matmul),
    Signature("batch_stats", ("x",), ("mean", "var"), (Channels,), _channels),
    Signature(
        "batch_norm_grad_sums",
        ("dy", "x", "mean", "var"),
        ("dweight", "dbias"),
        (Channels, Normalization),
        _channels_eps,
    ),
    Signature("moments", ("x",), ("mean", "var"), (Channels,), _channels),
    Signature("normalize_grad_sums", ("dy", "x", "mean"), ("weighted", "plain"), (Channels,), _channels),
    Signature("group_mean", ("x",), ("y",), (Groups,), _group_mean),
    Signature("max_pool2d", ("x",), ("y",), (MaxPool,), _max_pool2d),
    Signature("max_pool2d_grad", ("dy", "x"), ("dx",), (MaxPool,), _max_pool2d_grad),
    Signature("max_pool2d_places", ("x",), ("y",), (MaxPool, Order), _max_pool2d_places),
    Signature("max_unpool2d", ("x", "places"), ("y",), (AdaptivePool,), _adaptive_pool2d),
    Signature("at_places", ("x", "places"), ("y",), (AdaptivePool,), _adaptive_pool2d),
    Signature("avg_pool2d", ("x",), ("y",), (AvgPool,), _avg_pool2d),
    Signature("avg_pool2d_grad", ("dy",), ("dx",), (AvgPool,), _avg_pool2d_grad),
    Signature("adaptive_avg_pool2d", ("x",), ("y",), (AdaptivePool,), _adaptive_pool2d),
    Signature("adaptive_avg_pool2d_grad", ("dy",), ("dx",), (AdaptivePool,), _adaptive_pool2d_grad),
    Signature("reduce_sum", ("x",), ("y",), (Reduction,), _reduce_sum),
    Signature("sum_images", ("x",), ("y",), (Channels,), _channels),
    Signature("to_blocked", ("x",), ("y",), (Channels,), _channels),
    Signature("from_blocked", ("x",), ("y",), (Channels,), _channels),
    Signature("repeat_channels", ("x",), ("y",), (Repeat,), _repeat_channels),
    Signature("softmax", ("x",), ("y",), (Axis,), _around_axis),
    Signature("log_softmax", ("x",), ("y",), (Axis,), _around_axis),
    Signature("softmax_grad", ("dy", "y"), ("dx",), (Axis,), _around_axis),
    Signature("log_softmax_grad", ("dy", "y"), ("dx",), (Axis,), _around_axis),
    Signature("argmax", ("x",), ("y",), (Axis, Last), _argmax, ("y",)),
    Signature("topk", ("x",), ("values", "indices"), (Axis, Largest), _topk, ("indices",)),
    Signature("gather", ("x", "indices"), ("y",), (Indexed,), _gather, _INDICES),
    Signature("gather_grad", ("dy", "indices"), ("dx",), (Indexed,), _gather_grad, _INDICES),
    Signature("gather_elements", ("x", "indices"), ("y",), (Indexed,), _gather_elements, _INDICES),
    Signature("gather_elements_grad", ("dy", "indices"), ("dx",), (Indexed,), _gather_elements_grad, _INDICES),
    Signature("cross_entropy", ("logits", "target", "weight"), ("loss",), (Axis, Labels), _cross_entropy, _LABELS),
    Signature(
        "cross_entropy_grad",
        ("dloss", "logits", "target", "weight"),
        ("dlogits",),
        (Axis, Labels),
        _cross_entropy_grad,
        _LABELS,
    ),
    Signature(
        "cross_entropy_with_grad",
        ("logits", "target", "weight"),
        ("loss", "dlogits"),
        (Axis, Labels),
        _cross_entropy,
        _LABELS,
    ),
):
    REGISTRY.declare(_signature)
