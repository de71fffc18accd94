"""Principal axes: the eigenvectors of the covariance of samples that come in blocks, computed in float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .settings import LARGEST

BLOCK = 2**21
"""Numbers that a block of samples has at most, unless one sample has more: 16 MiB of float64."""


@dataclass(frozen=True)
class Principal:
    """Axes of D numbers along which samples vary independently, the largest variance first; all float64.

    ``mean`` is (D,), ``variances`` (D,) are the eigenvalues of the covariance (which divides by ``samples`` - 1) and
    ``axes`` (D, D) its eigenvectors, one in a row, of length 1, each with its largest entry positive.
    """

    samples: int
    mean: np.ndarray
    variances: np.ndarray
    axes: np.ndarray

    @property
    def rank(self) -> int:
        """How many variances are more than what rounding makes of 0."""
        least = self.variances[0] * len(self.mean) * np.finfo(np.float64).eps
        return int((self.variances > least).sum())

    def scales(self, eps: float, most: int, what: str) -> np.ndarray:
        """``1 / sqrt(variance + eps)`` of the first ``most`` axes; raises ValueError, which ``what`` begins, where
        ``eps`` is 0 and one of these variances is too."""
        if eps == 0 and self.rank < most:
            raise ValueError(
                f"{what}: {self.samples} samples vary along {self.rank} axes, too few to divide by the variances of "
                f"{most}; give an eps above 0"
            )
        return np.asarray(1.0 / np.sqrt(self.variances[:most] + eps))


def principal(blocks: Iterable[np.ndarray], what: str) -> Principal:
    """The principal axes of samples (n, D) that come in blocks; products of blocks are merged as Chan, Golub and
    LeVeque (1983) merge sums of squares.

    Raises:
        ValueError: there are fewer than two samples, or one holds a number that is not finite as float32; ``what``
            begins the message.
    """
    count, mean, products = 0, np.zeros(()), np.zeros(())
    for block in blocks:
        block = finite_rows(block, what)
        own = block.mean(0)
        centred, gap = block - own, own - mean
        share = len(block) / (count + len(block))
        products = products + centred.T @ centred + np.outer(gap, gap) * (count * share)
        mean = mean + gap * share
        count += len(block)
    if count < 2:
        raise ValueError(f"{what}: a covariance takes two samples or more, got {count}")
    variances, columns = np.linalg.eigh(products / (count - 1))
    axes = columns.T[::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return Principal(count, mean, np.maximum(variances[::-1], 0.0), axes * np.sign(largest))


def finite_rows(block: np.ndarray, what: str) -> np.ndarray:
    """``block`` as float64; raises ValueError, which ``what`` begins, for numbers that are not finite as float32."""
    rows = np.asarray(block, np.float64)
    wrong = ~(np.abs(rows) <= LARGEST)
    if wrong.any():
        raise ValueError(f"{what}: numbers must be finite as float32, got {rows[wrong][0]}; leave such samples out")
    return rows
