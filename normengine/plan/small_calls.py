"""Which calls are too small to be worth sharing out: threads that meet after a call spend more than they save."""

from __future__ import annotations

from math import prod

from ..kernels import Problem
from ..kernels.machine import MACHINE, l2

SMALL_BYTES = l2(1 / 8)
"""What a call may read and write, at most, for one thread to do it in that time, where it computes next to nothing."""
_AN_ELEMENT = 8
"""What an element that is read or written counts, in multiply-adds, where there is no product to count."""


def is_small(problem: Problem) -> bool:
    """Whether one thread does ``problem`` in about the time that threads need to meet."""
    return _effort(problem) <= MACHINE.meeting


def _effort(problem: Problem) -> int:
    taps = prod(problem.attrs.get("kernel_size", ()))
    shapes = (*problem.inputs, *problem.outputs)
    return _products(problem) or _AN_ELEMENT * taps * sum(prod(shape) for shape in shapes if shape is not None)


def _products(problem: Problem) -> int:
    """Multiply-adds of an operator that is sums of products, computed the direct way; 0 of others."""
    given = [shape for shape in problem.inputs if shape is not None]
    (first, *rest), result = given, problem.outputs[0]
    if problem.op == "conv2d":
        return prod(result) * prod(rest[0][1:])
    if problem.op == "conv2d_input_grad":
        return prod(first) * prod(rest[0][1:])
    if problem.op == "conv2d_weight_grad":
        return prod(first) * prod(result[1:])
    if problem.op == "linear":
        return prod(result) * first[1]
    if problem.op == "matmul":
        return prod(result) * first[0 if problem.attrs["transpose_a"] else 1]
    return 0


KINDS = {
    "convolutions": ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"),
    "linear": ("linear", "matmul"),
    "statistics": ("batch_stats", "batch_norm_grad_sums", "reduce_sum"),
    "pooling": tuple(f"{pool}_pool2d{grad}" for pool in ("max", "avg", "adaptive_avg") for grad in ("", "_grad")),
    "softmax and loss": ("softmax", "log_softmax", "softmax_grad", "log_softmax_grad", "cross_entropy",
                         "cross_entropy_grad", "cross_entropy_with_grad"),
    "reorders": ("to_blocked", "from_blocked", "repeat_channels"),
}  # fmt: skip
"""The operators of each kind. Loops over elements are "elementwise", or "update" where state is all that they write."""

_KIND = {op: kind for kind, ops in KINDS.items() for op in ops}
_OF_AN_ELEMENT = {"batch_stats": 4, "batch_norm_grad_sums": 4, "to_blocked": 0, "from_blocked": 0, "repeat_channels": 0}
"""Operations for each element that is read, where it is not one."""


def kind(op: str) -> str:
    """The kind that an operator's time counts for."""
    return _KIND.get(op, "others")


def flops(problem: Problem) -> int:
    """Operations of ``problem`` computed the direct way, a multiply-add being two."""
    if products := _products(problem):
        return 2 * products
    first, result = problem.inputs[0], problem.outputs[0]
    assert first is not None
    if _KIND.get(problem.op) == "pooling":
        whole, pooled = sorted((prod(first), prod(result)), reverse=True)
        return pooled * prod(problem.attrs["kernel_size"]) if "kernel_size" in problem.attrs else whole
    return _OF_AN_ELEMENT.get(problem.op, 1) * prod(first)
