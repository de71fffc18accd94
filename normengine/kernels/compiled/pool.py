"""How pooling over channel-blocked activations splits a problem, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from ..base import REGISTRY, Launch, Nothing, Problem
from ..machine import PoolCosts
from .launches import Parts, Sizes, ceil_div, tasks_wanted
from .row import Cost, Row

COST = PoolCosts


class Pool(NamedTuple):
    """The numbers that every pooling operator has; an adaptive one's window is that of most of its outputs."""

    n: int
    c: int
    h: int
    w: int
    oh: int
    ow: int
    taps: int

    @classmethod
    def of(cls, problem: Problem) -> Pool:
        signature = REGISTRY.signatures[problem.op]
        numbers = dict(zip(signature.parameters, map(int, signature.values(problem)), strict=True))
        n, c, h, w, oh, ow = (numbers[name] for name in ("n", "c", "h", "w", "oh", "ow"))
        kernel = numbers.get("kh", ceil_div(h, oh)), numbers.get("kw", ceil_div(w, ow))
        return cls(n, c, h, w, oh, ow, prod(kernel))

    def planes(self, sizes: Sizes) -> int:
        """Planes of blocks of channels."""
        return self.n * ceil_div(self.c, sizes["width"])


def rows(problem: Problem, sizes: Sizes) -> Launch:
    """Several tasks a plane where there are few planes."""
    p = Pool.of(problem)
    parts = min(p.oh, ceil_div(tasks_wanted(problem), p.planes(sizes)))
    return Launch(tasks=(p.planes(sizes) * parts,), extra=Parts(parts))


def planes(problem: Problem, sizes: Sizes) -> Launch:
    """One task a plane."""
    return Launch(tasks=(Pool.of(problem).planes(sizes),))


def _cost(problem: Problem, sizes: Sizes, a_tap: float, images: int) -> float:
    """``a_tap`` for each value of each window, and reading or writing so many arrays of the size of the input."""
    p = Pool.of(problem)
    moved = images * p.h * p.w + p.oh * p.ow
    return p.planes(sizes) * (p.oh * p.ow * (COST.pixel + a_tap * p.taps) + COST.moved * moved)


def max_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(problem, sizes, COST.max_tap, 1)


def max_grad_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(problem, sizes, COST.max_grad_tap, 2)


def avg_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(problem, sizes, COST.avg_tap, 1)


def avg_grad_cost(problem: Problem, sizes: Sizes) -> float:
    return _cost(problem, sizes, COST.avg_grad_tap, 1)


def _row(op: str, launch: Callable[[Problem, Sizes], Launch], cost: Cost, blocked: tuple[str, ...]) -> Row:
    extra = Parts if launch is rows else Nothing
    return Row(op, "", (f"{op}_blocked",), launch, extra, cost=cost, blocked=blocked)


ROWS = (
    _row("max_pool2d", rows, max_cost, ("x", "y")),
    _row("max_pool2d_grad", planes, max_grad_cost, ("dy", "x", "dx")),
    _row("avg_pool2d", rows, avg_cost, ("x", "y")),
    _row("avg_pool2d_grad", planes, avg_grad_cost, ("dy", "dx")),
    _row("adaptive_avg_pool2d", planes, avg_cost, ("x", "y")),
    _row("adaptive_avg_pool2d_grad", planes, avg_grad_cost, ("dy", "dx")),
)
