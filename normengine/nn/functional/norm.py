"""Batch normalization."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...settings import finite
from .. import eager
from ..arithmetic import ArrayLike
from ..context import current
from ..tensor import Tensor
from .activation import as_traced

__all__ = ["batch_norm"]


def batch_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float | Tensor | None = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel (Ioffe and Szegedy, 2015).

    Args:
        input: (N, C) or (N, C, ...) float32.
        running_mean, running_var: (C,) float32, or both None. Used as mean and var unless ``training``; then mean
            and biased variance are those of the batch, and ``running = (1 - momentum) * running + momentum * batch``
            is stored in place, with the unbiased variance m / (m - 1) of the m values of a channel.
        weight, bias: (C,) float32, or None for ones and zeros.

    Raises: OperatorError, a ValueError, for one value per channel in training, or shapes that do not fit.
    """

    def body(x: ArrayLike, w: ArrayLike | None, b: ArrayLike | None) -> Tensor:
        return _batch_norm(x, running_mean, running_var, w, b, training, momentum, eps)

    return with_running(body, (input, weight, bias), running_mean, running_var, "batch_norm")


def with_running(
    body: Callable[..., Tensor],
    args: Sequence[ArrayLike | None],
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    what: str,
) -> Tensor:
    """``body(*args)``, which reads running statistics and updates them in place where they are arrays."""
    if current() is not None:
        return body(*args)

    def call(*given: ArrayLike | None) -> Tensor:
        tracer = current()
        assert tracer is not None
        for name, array in (("running_mean", running_mean), ("running_var", running_var)):
            if isinstance(array, np.ndarray):
                tracer.bind(name, array)
        return body(*given)

    result: Tensor = eager.run(call, tuple(args), {}, (), what)
    return result


def update_running(
    running_mean: ArrayLike, running_var: ArrayLike, mean: Tensor, unbiased: Tensor, momentum: float | Tensor
) -> None:
    """``running = (1 - momentum) * running + momentum * batch`` for both."""
    tracer = mean._tracer
    share = as_traced(momentum)
    kept = as_traced(1.0 - momentum) if isinstance(momentum, float) else tracer.constant(1.0) - share
    for running, batch in ((as_traced(running_mean), mean), (as_traced(running_var), unbiased)):
        tracer.update(running, running * kept + batch * share)


def _batch_norm(
    input: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    training: bool,
    momentum: float | Tensor | None,
    eps: float,
) -> Tensor:
    x = as_traced(input)
    tracer = x._tracer
    if x.ndim < 2:
        raise tracer.error(f"input must be (N, C) or (N, C, ...), got shape {x.shape}")
    eps = finite(eps, "batch_norm: eps", low=0)
    momentum = momentum if isinstance(momentum, Tensor) else finite(momentum, "batch_norm: momentum", 0, 1)
    channels = x.shape[1]
    gamma = as_traced(np.ones(channels, np.float32) if weight is None else weight)
    beta = as_traced(np.zeros(channels, np.float32) if bias is None else bias)
    if not training:
        if running_mean is None or running_var is None:
            raise tracer.error("batch_norm needs running_mean and running_var unless it is training")
        return x._apply("batch_norm", gamma, beta, as_traced(running_mean), as_traced(running_var), eps=eps)
    y, mean, var = tracer.add_multi("batch_norm_train", x, gamma, beta, eps=eps)
    if running_mean is not None and running_var is not None:
        count = math.prod(x.shape) // channels
        unbiased = var * tracer.constant(count / (count - 1))
        update_running(running_mean, running_var, mean, unbiased, momentum)
    return y
