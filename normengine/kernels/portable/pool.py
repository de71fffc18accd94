"""Pooling over windows, and values at the places of their maxima. A task is one plane (n, c)."""

from __future__ import annotations

import math

import numpy as np

from ..base import Launch, Problem
from .build import Array, portable
from .window import end_inside, first_inside


def largest(
    x: Array, plane: int, H: int, W: int, top: int, left: int, KH: int, KW: int, dilation_h: int, dilation_w: int
) -> int:
    """Index in the plane of a window's maximum: the first of equal ones, a NaN before all; -1 for an empty window."""
    best = np.float32(-np.inf)
    place = -1
    for kh in range(first_inside(top, dilation_h), end_inside(top, dilation_h, H, KH)):
        h = top + kh * dilation_h
        for kw in range(first_inside(left, dilation_w), end_inside(left, dilation_w, W, KW)):
            w = left + kw * dilation_w
            value = x[plane + h * W + w]
            if value > best or value != value or place < 0:
                best = value
                place = h * W + w
    return place


def max_pool2d(
    x: Array, y: Array, H: int, W: int, OH: int, OW: int, KH: int, KW: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int, dilation_h: int, dilation_w: int, begin: int, end: int,
) -> None:  # fmt: skip
    """``y = max`` of the window's values inside the image.

    Comparisons take denormal numbers for zero, so a maximum that is one may be any of them, of either sign; the sum
    with 0 makes it 0.
    """
    for task in range(begin, end):
        plane = task * H * W
        for oh in range(OH):
            top = oh * stride_h - pad_top
            for ow in range(OW):
                left = ow * stride_w - pad_left
                place = largest(x, plane, H, W, top, left, KH, KW, dilation_h, dilation_w)
                best = x[plane + place] if place >= 0 else np.float32(-np.inf)
                y[(task * OH + oh) * OW + ow] = best + np.float32(0)


def max_pool2d_grad(
    dy: Array, x: Array, dx: Array, H: int, W: int, OH: int, OW: int, KH: int, KW: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int, dilation_h: int, dilation_w: int, begin: int, end: int,
) -> None:  # fmt: skip
    """Each window's gradient goes to its maximum."""
    for task in range(begin, end):
        plane = task * H * W
        for i in range(plane, plane + H * W):
            dx[i] = np.float32(0)
        for oh in range(OH):
            top = oh * stride_h - pad_top
            for ow in range(OW):
                left = ow * stride_w - pad_left
                place = largest(x, plane, H, W, top, left, KH, KW, dilation_h, dilation_w)
                if place >= 0:
                    dx[plane + place] += dy[(task * OH + oh) * OW + ow]


def avg_pool2d(
    x: Array, y: Array, H: int, W: int, OH: int, OW: int, KH: int, KW: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int, pad_bottom: int, pad_right: int, count_include_pad: int, begin: int, end: int,
) -> None:  # fmt: skip
    """``y = sum / count``, the count with or without the padding that the window covers."""
    for task in range(begin, end):
        for oh in range(OH):
            top = oh * stride_h - pad_top
            h0 = max(top, 0)
            h1 = min(top + KH, H)
            rows = min(top + KH, H + pad_bottom) - top if count_include_pad else h1 - h0
            for ow in range(OW):
                left = ow * stride_w - pad_left
                w0 = max(left, 0)
                w1 = min(left + KW, W)
                columns = min(left + KW, W + pad_right) - left if count_include_pad else w1 - w0
                total = 0.0
                for h in range(h0, h1):
                    for i in range((task * H + h) * W + w0, (task * H + h) * W + w1):
                        total += x[i]
                y[(task * OH + oh) * OW + ow] = total / np.float64(rows * columns)


def avg_pool2d_grad(
    dy: Array, dx: Array, H: int, W: int, OH: int, OW: int, KH: int, KW: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int, pad_bottom: int, pad_right: int, count_include_pad: int, begin: int, end: int,
) -> None:  # fmt: skip
    """Each window's gradient is shared out among its values."""
    for task in range(begin, end):
        for i in range(task * H * W, (task + 1) * H * W):
            dx[i] = np.float32(0)
        for oh in range(OH):
            top = oh * stride_h - pad_top
            h0 = max(top, 0)
            h1 = min(top + KH, H)
            rows = min(top + KH, H + pad_bottom) - top if count_include_pad else h1 - h0
            for ow in range(OW):
                left = ow * stride_w - pad_left
                w0 = max(left, 0)
                w1 = min(left + KW, W)
                columns = min(left + KW, W + pad_right) - left if count_include_pad else w1 - w0
                share = np.float32(dy[(task * OH + oh) * OW + ow] / np.float64(rows * columns))
                for h in range(h0, h1):
                    for i in range((task * H + h) * W + w0, (task * H + h) * W + w1):
                        dx[i] += share


def adaptive_avg_pool2d(x: Array, y: Array, H: int, W: int, OH: int, OW: int, begin: int, end: int) -> None:
    """Output row i averages input rows ``floor(i H / OH)`` up to ``ceil((i + 1) H / OH)``, columns alike."""
    for task in range(begin, end):
        for oh in range(OH):
            h0 = oh * H // OH
            h1 = ((oh + 1) * H + OH - 1) // OH
            for ow in range(OW):
                w0 = ow * W // OW
                w1 = ((ow + 1) * W + OW - 1) // OW
                total = 0.0
                for h in range(h0, h1):
                    for i in range((task * H + h) * W + w0, (task * H + h) * W + w1):
                        total += x[i]
                y[(task * OH + oh) * OW + ow] = total / np.float64((h1 - h0) * (w1 - w0))


def adaptive_avg_pool2d_grad(dy: Array, dx: Array, H: int, W: int, OH: int, OW: int, begin: int, end: int) -> None:
    """Each output's gradient is shared out among the values that it averages."""
    for task in range(begin, end):
        for i in range(task * H * W, (task + 1) * H * W):
            dx[i] = np.float32(0)
        for oh in range(OH):
            h0 = oh * H // OH
            h1 = ((oh + 1) * H + OH - 1) // OH
            for ow in range(OW):
                w0 = ow * W // OW
                w1 = ((ow + 1) * W + OW - 1) // OW
                share = np.float32(dy[(task * OH + oh) * OW + ow] / np.float64((h1 - h0) * (w1 - w0)))
                for h in range(h0, h1):
                    for i in range((task * H + h) * W + w0, (task * H + h) * W + w1):
                        dx[i] += share


def max_pool2d_places(
    x: Array, y: Array, H: int, W: int, OH: int, OW: int, KH: int, KW: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int, dilation_h: int, dilation_w: int, column_major: int, begin: int, end: int,
) -> None:  # fmt: skip
    """The pixel of each window's maximum, counted along rows or columns; -1 for an empty window."""
    for task in range(begin, end):
        for oh in range(OH):
            top = oh * stride_h - pad_top
            for ow in range(OW):
                left = ow * stride_w - pad_left
                place = largest(x, task * H * W, H, W, top, left, KH, KW, dilation_h, dilation_w)
                if column_major and place >= 0:
                    place = place % W * H + place // W
                y[(task * OH + oh) * OW + ow] = np.float32(place)


def max_unpool2d(x: Array, places: Array, y: Array, H: int, W: int, OH: int, OW: int, begin: int, end: int) -> None:
    """Values at their places in planes of zeros; places outside are left out."""
    for task in range(begin, end):
        for i in range(task * OH * OW, (task + 1) * OH * OW):
            y[i] = np.float32(0)
        for i in range(task * H * W, (task + 1) * H * W):
            if places[i] >= 0 and places[i] < OH * OW:
                y[task * OH * OW + int(places[i])] = x[i]


def at_places(x: Array, places: Array, y: Array, H: int, W: int, OH: int, OW: int, begin: int, end: int) -> None:
    """Values of a plane from their places; 0 from places outside."""
    for task in range(begin, end):
        for i in range(task * OH * OW, (task + 1) * OH * OW):
            inside = places[i] >= 0 and places[i] < H * W
            y[i] = x[task * H * W + int(places[i])] if inside else np.float32(0)


def _planes(problem: Problem) -> Launch:
    return Launch((math.prod(problem.outputs[0][:2]),))


portable("max_pool2d", _planes, max_pool2d)
portable("max_pool2d_grad", _planes, max_pool2d_grad)
portable("avg_pool2d", _planes, avg_pool2d)
portable("avg_pool2d_grad", _planes, avg_pool2d_grad)
portable("adaptive_avg_pool2d", _planes, adaptive_avg_pool2d)
portable("adaptive_avg_pool2d_grad", _planes, adaptive_avg_pool2d_grad)
portable("max_pool2d_places", _planes, max_pool2d_places)
portable("max_unpool2d", _planes, max_unpool2d)
portable("at_places", _planes, at_places)
