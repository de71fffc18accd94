"""Which calls are too small to be worth sharing out: threads that meet after a call spend more than they save."""

from __future__ import annotations

from math import prod

from ..kernels import Problem
from ..kernels.base import Shape
from ..kernels.machine import MACHINE, l2
from ..ops import OPS

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
    op = OPS.get(problem.op)
    return 0 if op is None or op.products is None else op.products(_given(problem), problem.outputs, problem.attrs)


def _given(problem: Problem) -> list[Shape]:
    return [shape for shape in problem.inputs if shape is not None]


def kind(op: str) -> str:
    """The kind that the time of an operator counts for; one that no graph has brings elements elsewhere. Loops over
    elements are "elementwise", or "update" where state is all that they write."""
    return OPS[op].kind if op in OPS else "reorders"


def flops(problem: Problem) -> int:
    """Operations of ``problem`` computed the direct way, a multiply-add being two."""
    op = OPS.get(problem.op)
    if op is None:
        return 0
    return 2 * _products(problem) or op.operations(_given(problem), problem.outputs, problem.attrs)
