"""Which calls are too small to be worth sharing out: threads that meet after a call spend more than they save."""

from __future__ import annotations

from math import prod

from ..kernels import Problem

SMALL = 100_000
"""Multiply-adds, a few microseconds of one thread: about what it costs several threads to meet."""
_AN_ELEMENT = 8
"""What an element that is read or written counts, in multiply-adds, where there is no product to count."""


def is_small(problem: Problem) -> bool:
    """Whether one thread does ``problem`` in about the time that threads need to meet."""
    return _effort(problem) <= SMALL


def _effort(problem: Problem) -> int:
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
    taps = prod(problem.attrs.get("kernel_size", ()))
    return _AN_ELEMENT * taps * sum(prod(shape) for shape in (*given, *problem.outputs))
