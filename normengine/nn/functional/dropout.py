"""Random noise of training: masks, factors and summands from a counter, so that they can be drawn again.

Every function changes its input while ``training`` and returns it as it is otherwise. The noise is a function of
(seed, step, layer, element) alone. All but alpha dropout and :func:`gaussian_noise` multiply by noise of mean 1.
"""

from __future__ import annotations

import math

from ...settings import finite, whole
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced, inplace_result
from .padding import pad
from .pooling import max_pool2d

__all__ = [
    "alpha_dropout",
    "drop_block2d",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "stochastic_depth",
    "uniform_dropout",
]

MODES = ("batch", "row")
"""What stochastic depth drops as a whole: the batch, or each sample."""

_SATURATION = 1.6732632423543772 * 1.0507009873554805
"""-SELU(-infinity) = alpha * lambda (Klambauer et al., 2017, equation 14)."""


def stochastic_depth_mode(mode: object, what: str) -> str:
    """``mode`` as one of :data:`MODES`; raises ValueError, which ``what`` begins, for anything else."""
    if mode not in MODES:
        raise ValueError(f"{what}: mode must be 'batch' or 'row', got {mode!r}")
    return str(mode)


def _noisy(x: Tensor, op: str, **attrs: object) -> Tensor:
    seed, step, layer = x._tracer.random()
    return x._apply(op, seed, step, layer=layer, **attrs)


def _ones(x: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
    """1 with probability ``p``, else 0, in a shape, drawn anew in each step."""
    return x._tracer.bernoulli(x._tracer.real(p).expand(shape))


def _require_rank(x: Tensor, layout: str) -> None:
    if x.ndim != layout.count(",") + 1:
        raise x._tracer.error(f"input must be {layout}, got shape {x.shape}")


def _per_channel(x: Tensor) -> tuple[int, ...]:
    """The shape of one number for each channel (n, c) of (N, C, ...)."""
    if x.ndim < 2:
        raise x._tracer.error(f"input must be (N, C, ...), got shape {x.shape}")
    return (*x.shape[:2], *(1 for _ in x.shape[2:]))


def _channel_dropout(input: ArrayLike, p: float, training: bool, inplace: bool, layout: str) -> Tensor:
    x = as_traced(input)
    _require_rank(x, layout)
    if not training or p == 0:
        return x
    return inplace_result(input, _noisy(x, "dropout", p=p, per_channel=True), inplace)


def _alpha(x: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
    """Alpha dropout with one draw for each element of ``shape``, which broadcasts to that of ``x``."""
    if p == 1:
        return x * 0.0
    a = 1.0 / math.sqrt((_SATURATION**2 * p + 1.0) * (1.0 - p))
    kept = _ones(x, 1.0 - p, shape)
    return x * (kept * a) + ((kept - 1.0) * (_SATURATION * a) + _SATURATION * a * p)


@function
def dropout(input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element becomes 0 with probability ``p``, else x / (1 - p) (Srivastava et al., 2014)."""
    p = finite(p, "dropout: p", 0, 1)
    x = as_traced(input)
    if not training or p == 0:
        return x
    return inplace_result(input, _noisy(x, "dropout", p=p, per_channel=False), inplace)


@function
def dropout1d(input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel (n, c) of (N, C, L) becomes 0 as a whole with probability ``p``, else x / (1 - p)."""
    return _channel_dropout(input, finite(p, "dropout1d: p", 0, 1), training, inplace, "(N, C, L)")


@function
def dropout2d(input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel (n, c) of (N, C, H, W) becomes 0 as a whole with probability ``p``, else x / (1 - p)
    (Tompson et al., 2015)."""
    return _channel_dropout(input, finite(p, "dropout2d: p", 0, 1), training, inplace, "(N, C, H, W)")


@function
def dropout3d(input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel (n, c) of (N, C, D, H, W) becomes 0 as a whole with probability ``p``, else x / (1 - p)."""
    return _channel_dropout(input, finite(p, "dropout3d: p", 0, 1), training, inplace, "(N, C, D, H, W)")


@function
def alpha_dropout(input: ArrayLike, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for networks of SELU: values of mean 0 and variance 1 keep both.

    ``y = a * (x * kept - alpha' * (1 - kept)) + a * alpha' * p`` with kept = 0 with probability ``p``, else 1, the
    saturation alpha' = 1.7580993 of SELU and ``a = 1 / sqrt((1 - p) * (1 + p * alpha'^2))``; 0 for ``p`` = 1
    (Klambauer et al., "Self-normalizing neural networks", NIPS 2017, section 3).

    Args:
        input: float32 of any shape; the result has the same.
        p: in [0, 1].
        training: unless it is set, the input is returned as it is; as in PyTorch, it is not by default.

    Raises:
        ValueError: ``p`` is not in [0, 1].
    """
    p = finite(p, "alpha_dropout: p", 0, 1)
    x = as_traced(input)
    return inplace_result(input, _alpha(x, p, x.shape), inplace) if training and p else x


@function
def feature_alpha_dropout(input: ArrayLike, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """:func:`alpha_dropout` of whole channels: one draw for each (n, c) of (N, C, ...) float32."""
    p = finite(p, "feature_alpha_dropout: p", 0, 1)
    x = as_traced(input)
    shape = _per_channel(x)
    return inplace_result(input, _alpha(x, p, shape), inplace) if training and p else x


@function
def drop_block2d(
    input: ArrayLike, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True
) -> Tensor:
    """Squares of ``block_size`` pixels of a channel become 0, about the share ``p`` of all pixels.

    With s = min(block_size, H, W), each position where a square lies inside the image begins one with probability
    ``gamma = p * H * W / (s^2 * (H - s + 1) * (W - s + 1))``, in each channel by itself; pixels of a square have
    mask 0, others 1, and ``y = x * mask * count / (eps + sum(mask))`` over the count = N * C * H * W pixels
    (Ghiasi et al., "DropBlock", NeurIPS 2018, arXiv 1810.12890; torchvision's arithmetic, and even sizes too).

    Args:
        input: (N, C, H, W) float32; the result has the same shape.
        p: in [0, 1]. Squares overlap, so that fewer pixels are dropped where it is large.
        block_size: the side of a square, 1 or more.
        eps: 0 or more.
        training: unless it is set, the input is returned as it is.

    Raises:
        ValueError: a setting is outside of these bounds, or the input is no (N, C, H, W).
    """
    p, eps = finite(p, "drop_block2d: p", 0, 1), finite(eps, "drop_block2d: eps", 0)
    size = whole(block_size, "drop_block2d: block_size", 1)
    x = as_traced(input)
    _require_rank(x, "(N, C, H, W)")
    if not training or p == 0:
        return x
    mask = _block_mask(x, p, min(size, *x.shape[2:]))
    return inplace_result(input, x * mask * (float(x.numel()) / (mask.sum() + eps)), inplace)


def _block_mask(x: Tensor, p: float, size: int) -> Tensor:
    """0 where a square of ``size`` lies, else 1. A maximum over squares is one over columns, then over rows."""
    *batch, height, width = x.shape
    rows, columns = height - size + 1, width - size + 1
    gamma = p * height * width / (size**2 * rows * columns)
    seeds = _ones(x, gamma, (*batch, rows, columns))
    streaks = max_pool2d(pad(seeds, [size - 1] * 4), (size, 1), stride=1)
    return 1.0 - max_pool2d(streaks, (1, size), stride=1)


@function
def stochastic_depth(input: ArrayLike, p: float, mode: str, training: bool = True) -> Tensor:
    """The whole input, or each sample of it, becomes 0 with probability ``p``, else x / (1 - p).

    What the branch of a residual block gives, so that training skips the block at random (Huang et al., "Deep networks
    with stochastic depth", ECCV 2016, arXiv 1603.09382; "drop path").

    Args:
        input: (N, ...) float32; the result has the same shape.
        p: in [0, 1].
        mode: ``"batch"`` for one draw, ``"row"`` for one for each of the N samples.
        training: unless it is set, the input is returned as it is.

    Raises:
        ValueError: ``p`` is not in [0, 1], ``mode`` is another, or the input has no axis of samples.
    """
    p = finite(p, "stochastic_depth: p", 0, 1)
    mode = stochastic_depth_mode(mode, "stochastic_depth")
    x = as_traced(input)
    if not x.ndim:
        raise x._tracer.error(f"input must be (N, ...), got shape {x.shape}")
    if not training or p == 0:
        return x
    draws = x.shape[0] if mode == "row" else 1
    kept = _ones(x, 1.0 - p, (draws, *(1 for _ in x.shape[1:])))
    return x * (kept / (1.0 - p) if p < 1 else kept)


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


@function
def gaussian_noise(input: ArrayLike, std: float, training: bool = True) -> Tensor:
    """Plus N(0, std^2) for each element of float32 of any shape (Bishop, "Training with noise is equivalent to Tikhonov
    regularization", Neural Computation 7, 1995); ``std`` in the input's units, 0 or more."""
    std = finite(std, "gaussian_noise: std", low=0)
    x = as_traced(input)
    return x + x._tracer.draw("random_normal", x.shape) * std if training and std else x
