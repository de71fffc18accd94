"""Random noise that training multiplies with: masks and factors from a counter, so that they can be drawn again.

Every function multiplies by noise of mean 1 while ``training`` and returns its input otherwise. The noise is a
function of (seed, step, layer, element) alone.
"""

from __future__ import annotations

from ...settings import finite
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced, inplace_result

__all__ = ["dropout", "dropout2d", "gaussian_dropout", "uniform_dropout"]


def _noisy(x: Tensor, op: str, **attrs: object) -> Tensor:
    seed, step, layer = x._tracer.random()
    return x._apply(op, seed, step, layer=layer, **attrs)


@function
def dropout(input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element becomes 0 with probability ``p``, else x / (1 - p) (Srivastava et al., 2014)."""
    p = finite(p, "dropout: p", 0, 1)
    x = as_traced(input)
    if not training or p == 0:
        return x
    return inplace_result(input, _noisy(x, "dropout", p=p, per_channel=False), inplace)


@function
def dropout2d(input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel (n, c) of (N, C, H, W) becomes 0 as a whole with probability ``p`` (Tompson et al., 2015)."""
    p = finite(p, "dropout2d: p", 0, 1)
    x = as_traced(input)
    if x.ndim != 4:
        raise x._tracer.error(f"input must be (N, C, H, W), got shape {x.shape}")
    if not training or p == 0:
        return x
    return inplace_result(input, _noisy(x, "dropout", p=p, per_channel=True), inplace)


@function
def gaussian_dropout(input: ArrayLike, p: float = 0.5, training: bool = True) -> Tensor:
    """Times N(1, p / (1 - p)), the variance of dropout with rate ``p`` (Srivastava et al., 2014, section 10)."""
    p = finite(p, "gaussian_dropout: p", 0, 1, below=True)
    x = as_traced(input)
    return _noisy(x, "gaussian_dropout", p=p, per_channel=False) if training and p else x


@function
def uniform_dropout(input: ArrayLike, beta: float = 0.1, training: bool = True) -> Tensor:
    """Times 1 + r with r uniform in [-beta, beta] ("Uout"; Li et al., CVPR 2019)."""
    beta = finite(beta, "uniform_dropout: beta", low=0)
    x = as_traced(input)
    return _noisy(x, "uniform_dropout", beta=beta, per_channel=False) if training and beta else x
