"""Moments of each channel over any number of batches, in float64."""

from __future__ import annotations

import math

import numpy as np

_BLOCK = 2**20
"""Elements that are converted to float64 at a time."""


class Moments:
    """Count, mean and sum of squared deviations of the values of each channel, axis 1 of ``(N, C)`` or ``(N, C, ...)``.

    Blocks are summed relative to their own mean and merged as in Chan, Golub and LeVeque, "Algorithms for Computing the
    Sample Variance", The American Statistician 37, 1983.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: np.ndarray = np.zeros(())
        self.m2: np.ndarray = np.zeros(())

    @classmethod
    def of(cls, array: np.ndarray) -> Moments:
        """Those of one array."""
        moments = cls()
        moments.add(array)
        return moments

    @property
    def variance(self) -> np.ndarray:
        """The biased variance of each channel, ``(C,)`` float64."""
        return self.m2 / self.count

    def add(self, array: np.ndarray) -> None:
        """Take in the values of a batch."""
        samples = max(1, _BLOCK // max(1, array[0].size))
        for begin in range(0, len(array), samples):
            block = array[begin : begin + samples].astype(np.float64)
            axes = (0, *range(2, block.ndim))
            mean = block.mean(axes, keepdims=True)
            block -= mean
            self.merge(math.prod(block.shape) // block.shape[1], mean.reshape(-1), np.square(block).sum(axes))

    def merge(self, count: int, mean: np.ndarray, m2: np.ndarray) -> None:
        """Take in what is known of ``count`` other values of each channel."""
        total = self.count + count
        delta = mean - self.mean
        self.mean = self.mean + delta * (count / total)
        self.m2 = self.m2 + m2 + np.square(delta) * (self.count * count / total)
        self.count = total
