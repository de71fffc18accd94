"""Two-dimensional convolution in its three directions; the inner loops run along a row of the output."""

from __future__ import annotations

import math

import numpy as np

from ..base import Launch, Problem
from .build import Array, portable
from .window import end_inside, first_inside


def add_rows(
    y: Array, out: int, move: int, x: Array, source: int, plane: int, step: int,
    weight: Array, factor: int, taps: int, count: int, low: int, high: int,
) -> None:  # fmt: skip
    """``y[out + i * move] += sum_k weight[factor + k * taps] * x[source + k * plane + i * step]`` for i in low..high.

    The sum over ``count`` rows k is taken four at a time, so that y is read and written less often.
    """
    for k in range(0, count - 3, 4):
        a = weight[factor + k * taps]
        b = weight[factor + (k + 1) * taps]
        c = weight[factor + (k + 2) * taps]
        d = weight[factor + (k + 3) * taps]
        for i in range(low, high):
            at = source + k * plane + i * step
            y[out + i * move] += a * x[at] + b * x[at + plane] + (c * x[at + 2 * plane] + d * x[at + 3 * plane])
    for k in range(count - count % 4, count):
        a = weight[factor + k * taps]
        for i in range(low, high):
            y[out + i * move] += a * x[source + k * plane + i * step]


def conv2d(
    x: Array, weight: Array, bias: Array, has_bias: bool, residual: Array, has_residual: bool, y: Array,
    C: int, H: int, W: int, OC: int, OH: int, OW: int, KH: int, KW: int,
    stride_h: int, stride_w: int, pad_top: int, pad_left: int, dilation_h: int, dilation_w: int, groups: int,
    low: float, high: float, begin: int, end: int,
) -> None:  # fmt: skip
    """A task is one output plane (n, oc)."""
    channels = C // groups
    taps = KH * KW
    for task in range(begin, end):
        n = task // OC
        oc = task % OC
        first = n * C + oc // (OC // groups) * channels
        constant = bias[oc] if has_bias else np.float32(0)
        for oh in range(OH):
            out = (task * OH + oh) * OW
            for ow in range(OW):
                y[out + ow] = constant + residual[out + ow] if has_residual else constant
            for kh in range(KH):
                h = oh * stride_h - pad_top + kh * dilation_h
                if h < 0 or h >= H:
                    continue
                for kw in range(KW):
                    start = kw * dilation_w - pad_left
                    inside = first_inside(start, stride_w)
                    outside = end_inside(start, stride_w, W, OW)
                    source = (first * H + h) * W + start
                    factor = (oc * channels * KH + kh) * KW + kw
                    add_rows(y, out, 1, x, source, H * W, stride_w, weight, factor, taps, channels, inside, outside)
            for ow in range(OW):
                if y[out + ow] < low:
                    y[out + ow] = low
                if y[out + ow] > high:
                    y[out + ow] = high


def conv2d_input_grad(
    dy: Array, weight: Array, dx: Array,
    C: int, H: int, W: int, OC: int, OH: int, OW: int, KH: int, KW: int,
    stride_h: int, stride_w: int, pad_top: int, pad_left: int, dilation_h: int, dilation_w: int, groups: int,
    begin: int, end: int,
) -> None:  # fmt: skip
    """A task is one plane (n, c) of the input's gradient."""
    channels = C // groups
    outputs = OC // groups
    plane = OH * OW
    taps = channels * KH * KW
    for task in range(begin, end):
        n = task // C
        c = task % C
        for i in range(task * H * W, (task + 1) * H * W):
            dx[i] = np.float32(0)
        oc = c // channels * outputs
        for oh in range(OH):
            source = ((n * OC + oc) * OH + oh) * OW
            for kh in range(KH):
                h = oh * stride_h - pad_top + kh * dilation_h
                if h < 0 or h >= H:
                    continue
                for kw in range(KW):
                    start = kw * dilation_w - pad_left
                    low = first_inside(start, stride_w)
                    high = end_inside(start, stride_w, W, OW)
                    out = (task * H + h) * W + start
                    factor = ((oc * channels + c % channels) * KH + kh) * KW + kw
                    add_rows(dx, out, stride_w, dy, source, plane, 1, weight, factor, taps, outputs, low, high)


def conv2d_weight_grad(
    dy: Array, x: Array, dw: Array,
    N: int, C: int, H: int, W: int, OC: int, OH: int, OW: int, KH: int, KW: int,
    stride_h: int, stride_w: int, pad_top: int, pad_left: int, dilation_h: int, dilation_w: int, groups: int,
    begin: int, end: int,
) -> None:  # fmt: skip
    """A task is one filter plane (oc, c); rows are summed in float32, images and rows of them in float64."""
    channels = C // groups
    for task in range(begin, end):
        oc = task // channels
        c = oc // (OC // groups) * channels + task % channels
        for kh in range(KH):
            for kw in range(KW):
                start = kw * dilation_w - pad_left
                low = first_inside(start, stride_w)
                high = end_inside(start, stride_w, W, OW)
                total = 0.0
                for n in range(N):
                    for oh in range(OH):
                        h = oh * stride_h - pad_top + kh * dilation_h
                        if h < 0 or h >= H:
                            continue
                        given = ((n * OC + oc) * OH + oh) * OW
                        source = ((n * C + c) * H + h) * W + start
                        row = np.float32(0)
                        for ow in range(low, high):
                            row += dy[given + ow] * x[source + ow * stride_w]
                        total += np.float64(row)
                dw[(task * KH + kh) * KW + kw] = total


def _planes(problem: Problem) -> Launch:
    return Launch((math.prod(problem.outputs[0][:2]),))


portable("conv2d", _planes, conv2d)
portable("conv2d_input_grad", _planes, conv2d_input_grad)
portable("conv2d_weight_grad", _planes, conv2d_weight_grad)
