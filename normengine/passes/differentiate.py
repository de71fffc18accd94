"""Reverse-mode differentiation: from the nodes that make a scalar to the nodes that make its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Value
from ..ops import OPS, Builder
from .decompose import write_out


def differentiate(builder: Builder, loss: Value, wrt: Sequence[Value]) -> list[Value | None]:
    """Append the nodes of d ``loss`` / d ``wrt`` to ``builder`` and return the gradients, in order.

    ``loss`` is a float32 scalar, shape ``()``. A gradient is None where ``loss`` does not depend on the value.
    Only what lies between ``wrt`` and ``loss`` is differentiated; the sum over several uses of a value is taken in
    reverse order of the uses. Composite operators without a gradient of their own are written out in ``builder``, so
    that forward and backward share what these are made of. Raises ValueError for a loss that is no scalar, or an
    operator without a gradient.
    """
    if loss.shape != ():
        raise ValueError(f"the loss must be a scalar, got shape {loss.shape}; reduce it with .mean() or .sum()")
    write_out(builder, lambda op: op.gradient is None)
    forward = list(builder.nodes)
    live = set(wrt)  # values that depend on wrt
    for node in forward:
        if any(v in live for v in node.inputs):
            live.update(v for v in node.outputs if v.dtype == "float32")

    grads: dict[Value, Value] = {}
    if loss in live:
        grads[loss] = builder.constant(np.ones((), np.float32))
    for node in reversed(forward):
        if not any(v in grads for v in node.outputs) or not any(v in live for v in node.inputs):
            continue
        gradient = OPS[node.op].gradient
        if gradient is None:
            raise ValueError(f"{node.op} '{node.layer}' has no gradient, but the loss depends on parameters through it")
        with builder.at(node.layer):
            parts = gradient(builder, node, [grads.get(v) for v in node.outputs])
            for value, part in zip(node.inputs, parts, strict=True):
                if part is None or value not in live:
                    continue
                grads[value] = builder.add("add", grads[value], part) if value in grads else part
    return [grads.get(v) for v in wrt]
