"""Attention, written out as products of matrices and a softmax."""

from __future__ import annotations

import math

import numpy as np

from ...settings import finite
from ..arithmetic import ArrayLike
from ..eager import function
from ..tensor import Tensor
from .activation import as_traced
from .dropout import dropout

__all__ = ["scaled_dot_product_attention"]


@function
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query key^T * scale + attn_mask) value``.

    Args:
        query: (..., L, E) float32.
        key: (..., S, E) float32; leading axes broadcast.
        value: (..., S, V) float32.
        attn_mask: what is added to the products, broadcast to (..., L, S); an array of bool says where a query sees a
            key.
        dropout_p: the share of the weights that are dropped, whatever the mode: 0 for none.
        is_causal: whether query i sees the keys 0 to i alone; there must be no mask then.
        scale: 1 / sqrt(E) where it is None.
        enable_gqa: False: keys and values of fewer heads must be repeated by the caller.

    Returns: (..., L, V) float32.

    Raises: ValueError for a mask beside ``is_causal``; OperatorError, a ValueError, for shapes that do not fit.

    Source: Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762.
    """
    q, k, v = as_traced(query), as_traced(key), as_traced(value)
    tracer = q._tracer
    for name, tensor in (("query", q), ("key", k), ("value", v)):
        if tensor.ndim < 2:
            raise tracer.error(f"scaled_dot_product_attention: {name} must be (..., L, E), got shape {tensor.shape}")
    if enable_gqa:
        raise ValueError("scaled_dot_product_attention: enable_gqa is not supported; repeat the heads of key and value")
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else finite(scale, "scaled_dot_product_attention: scale")
    scores = tracer.add("matmul", q * tracer.constant(factor), k, transpose_a=False, transpose_b=True)
    if is_causal:
        if attn_mask is not None:
            raise ValueError("scaled_dot_product_attention: is_causal is a mask already; leave attn_mask out")
        scores = scores + tracer.array(
            np.where(np.tri(scores.shape[-2], scores.shape[-1]) > 0, np.float32(0), np.float32(-np.inf))
        )
    elif attn_mask is not None:
        scores = scores + _added(as_traced(attn_mask))
    weights = scores.softmax(-1)
    return (dropout(weights, dropout_p) if dropout_p else weights) @ v


def _added(mask: Tensor) -> Tensor:
    """What is added to the products: of truths nothing where a query sees a key, else minus infinity."""
    if mask.dtype == np.float32:
        return mask
    add, constant = mask._tracer.add, mask._tracer.constant
    return add("where", add("greater", mask.float(), constant(0.0)), constant(0.0), constant(-math.inf))
