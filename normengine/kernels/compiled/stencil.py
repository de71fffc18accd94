"""A convolution over channel-blocked activations, or its input gradient, as sums for the pixels of grids.

The sums run over input channels and taps. The output of a convolution is one grid, the input gradient is one for each
phase of the stride, read by the taps that reach it.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from ..base import Problem
from ..records import Convolution
from .launches import ceil_div, convolution_of


class Taps(NamedTuple):
    """The taps of one axis that reach a phase, in the order of what they read: the i-th is tap ``first + i * step`` of
    the kernel and reads the pixel's position plus ``shift + i * shift_step``, which ascends. Also a record."""

    taps: int
    first: int
    step: int
    shift: int
    shift_step: int

    def reach(self) -> tuple[int, int]:
        """Lowest and highest position that is read, from that of the pixel."""
        return self.shift, self.shift + (self.taps - 1) * self.shift_step

    def within(self, position: int, size: int) -> int:
        """How many of them read one of ``size`` positions from a pixel at the given one, or one that reads a zero."""
        at, step = position + self.shift, self.shift_step or 1
        return max(1, min(self.taps, (size - 1 - at) // step + 1) - max(0, -(at // step)))


class Phase(NamedTuple):
    """The pixels of the output that lie at ``first + i * step`` along each axis, and their taps."""

    height: int
    width: int
    first: tuple[int, int]
    step: tuple[int, int]
    rows: Taps
    cols: Taps

    @property
    def taps(self) -> int:
        return self.rows.taps * self.cols.taps


class Stencil(NamedTuple):
    """One direction of a convolution as the kernel sees it: channels and pixels read and made, and the step of what is
    read from one pixel of a grid to the next."""

    n: int
    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    out_height: int
    out_width: int
    groups: int
    step_h: int
    step_w: int
    phases: tuple[Phase, ...]
    merged: int = 0
    """Phases that are made side by side, as if each had channels of its own, or 0."""

    @classmethod
    def forward(cls, p: Convolution) -> Stencil:
        rows = Taps(p.kh, 0, 1, -p.pad_top, p.dilation_h)
        cols = Taps(p.kw, 0, 1, -p.pad_left, p.dilation_w)
        phase = Phase(p.oh, p.ow, (0, 0), (1, 1), rows, cols)
        return cls(p.n, p.c, p.h, p.w, p.oc, p.oh, p.ow, p.groups, p.stride_h, p.stride_w, (phase,))

    @classmethod
    def input_grad(cls, p: Convolution, together: int = 1) -> Stencil:
        """With ``together`` rows that are reached by the same taps in phases of their own."""
        step_h = p.stride_h * together
        phases = tuple(
            Phase(
                ceil_div(p.h - i, step_h),
                ceil_div(p.w - j, p.stride_w),
                (i, j),
                (step_h, p.stride_w),
                _phase_taps(p.kh, p.stride_h, p.pad_top, p.dilation_h, i),
                _phase_taps(p.kw, p.stride_w, p.pad_left, p.dilation_w, j),
            )
            for i in range(min(step_h, p.h))
            for j in range(min(p.stride_w, p.w))
        )
        return cls(p.n, p.oc, p.oh, p.ow, p.c, p.h, p.w, p.groups, together, 1, phases)

    def side_by_side(self) -> Stencil:
        """The input gradient on one grid, from a position to all pixels that have it in common."""
        top, left, bottom, right = self.reach()
        rows, cols = Taps(bottom - top + 1, 0, 1, top, 1), Taps(right - left + 1, 0, 1, left, 1)
        first = self.phases[0]
        phase = first._replace(rows=rows, cols=cols)
        merged = first.step[0] * first.step[1]
        return self._replace(out_channels=merged * self.out_channels, phases=(phase,), merged=merged)

    def reach(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of what the taps of all phases read, from the position of a pixel."""
        rows = [f.rows.reach() for f in self.phases if f.taps] or [(0, 0)]
        cols = [f.cols.reach() for f in self.phases if f.taps] or [(0, 0)]
        return min(r[0] for r in rows), min(c[0] for c in cols), max(r[1] for r in rows), max(c[1] for c in cols)

    def inside(self) -> bool:
        """Whether no tap of any pixel falls outside the image."""
        return all(
            f.rows.reach()[0] >= 0
            and f.cols.reach()[0] >= 0
            and (f.height - 1) * self.step_h + f.rows.reach()[1] < self.in_height
            and (f.width - 1) * self.step_w + f.cols.reach()[1] < self.in_width
            for f in self.phases
            if f.taps
        )


def _phase_taps(kernel: int, stride: int, pad: int, dilation: int, phase: int) -> Taps:
    """Input position ``i * stride + phase`` takes output position ``i + (phase + pad - k * dilation) / stride`` from
    every tap k for which that is whole; here from the last one to the first, in the order of what they read."""
    shared = gcd(stride, dilation)
    step = stride // shared
    for first in range(min(step, kernel)):
        if (phase + pad - first * dilation) % stride == 0:
            shift, back = (phase + pad - first * dilation) // stride, dilation // shared
            count = ceil_div(kernel - first, step)
            return Taps(count, first + (count - 1) * step, -step, shift - (count - 1) * back, back)
    return Taps(0, 0, step, 0, 0)


def stencils(problem: Problem, width: int) -> list[Stencil]:
    """What can be made of a problem: of the gradient of few channels, the phases of a pixel side by side too."""
    p = convolution_of(problem)
    if problem.op == "conv2d":
        return [Stencil.forward(p)]
    apart = Stencil.input_grad(p)
    if (
        p.groups > 1
        or 2 * p.c > width
        or (p.dilation_h, p.dilation_w) != (1, 1)
        or p.stride_h > p.h
        or p.stride_w > p.w
    ):
        return [apart]
    most = max(1, width // (p.c * p.stride_h * p.stride_w))
    return [apart, *(Stencil.input_grad(p, rows).side_by_side() for rows in range(1, most + 1))]
