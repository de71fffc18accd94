"""Statistics of each channel and the sums of batch normalization's gradient, in float64. A task is one channel."""

from __future__ import annotations

import math

import numpy as np

from ..base import Launch, Problem
from .build import Array, portable


def batch_stats(x: Array, mean: Array, var: Array, N: int, C: int, S: int, begin: int, end: int) -> None:
    """Sums of the values, and of their squares, after the channel's first value is taken from each."""
    for c in range(begin, end):
        shift = np.float64(x[c * S])
        total = 0.0
        squares = 0.0
        for n in range(N):
            first = (n * C + c) * S
            for i in range(first, first + S):
                d = np.float64(x[i]) - shift
                total += d
                squares += d * d
        m = np.float64(N * S)
        mean[c] = shift + total / m
        var[c] = max(squares - total * (total / m), 0.0) / m


def batch_norm_grad_sums(
    dy: Array, x: Array, mean: Array, var: Array, dweight: Array, dbias: Array,
    N: int, C: int, S: int, eps: float, begin: int, end: int,
) -> None:  # fmt: skip
    """``dbias = sum(dy)``, ``dweight = sum(dy * (x - mean)) / sqrt(var + eps)``."""
    for c in range(begin, end):
        middle = np.float64(mean[c])
        plain = 0.0
        weighted = 0.0
        for n in range(N):
            first = (n * C + c) * S
            for i in range(first, first + S):
                g = np.float64(dy[i])
                plain += g
                weighted += g * (np.float64(x[i]) - middle)
        dbias[c] = plain
        dweight[c] = weighted / math.sqrt(np.float64(var[c]) + eps)


def moments(x: Array, mean: Array, var: Array, S: int, begin: int, end: int) -> None:
    """As :func:`batch_stats`, of each image by itself; a task is one channel of one image."""
    for row in range(begin, end):
        shift = np.float64(x[row * S])
        total = 0.0
        squares = 0.0
        for i in range(row * S, row * S + S):
            d = np.float64(x[i]) - shift
            total += d
            squares += d * d
        mean[row] = shift + total / S
        var[row] = max(squares - total * (total / S), 0.0) / S


def normalize_grad_sums(
    dy: Array, x: Array, mean: Array, weighted: Array, plain: Array, S: int, begin: int, end: int
) -> None:
    """``plain = sum(dy)``, ``weighted = sum(dy * (x - mean))`` of each channel of each image."""
    for row in range(begin, end):
        middle = np.float64(mean[row])
        total = 0.0
        products = 0.0
        for i in range(row * S, row * S + S):
            g = np.float64(dy[i])
            total += g
            products += g * (np.float64(x[i]) - middle)
        plain[row] = total
        weighted[row] = products


def group_mean(
    x: Array, y: Array, images: int, groups: int, channels: int, begin: int, end: int
) -> None:  # fmt: skip
    """The mean of each group of channels of a part of the batch, at each of them; a task is one part."""
    row = groups * channels
    for part in range(begin, end):
        for group in range(groups):
            first = part * images * row + group * channels
            total = 0.0
            for image in range(images):
                for c in range(channels):
                    total += np.float64(x[first + image * row + c])
            mean = total / (images * channels)
            for image in range(images):
                for c in range(channels):
                    y[first + image * row + c] = mean


def sum_images(x: Array, y: Array, N: int, C: int, S: int, begin: int, end: int) -> None:
    """The sum of all images; a task is one channel."""
    for c in range(begin, end):
        for i in range(c * S, c * S + S):
            total = 0.0
            for n in range(N):
                total += np.float64(x[n * C * S + i])
            y[i] = total


def _channels(problem: Problem) -> Launch:
    return Launch((math.prod(problem.outputs[0]),))


def _channels_of_images(problem: Problem) -> Launch:
    return Launch((problem.outputs[0][0],))


def _each_image(problem: Problem) -> Launch:
    n, c, *_ = problem.inputs[0] or ()
    return Launch((n * c,))


def _parts(problem: Problem) -> Launch:
    n, *_ = problem.inputs[0] or ()
    return Launch((n // problem.attrs["images"],))


portable("batch_stats", _channels, batch_stats)
portable("batch_norm_grad_sums", _channels, batch_norm_grad_sums)
portable("sum_images", _channels_of_images, sum_images)
portable("moments", _each_image, moments)
portable("normalize_grad_sums", _each_image, normalize_grad_sums)
portable("group_mean", _parts, group_mean)
