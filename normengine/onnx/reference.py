"""ONNX's own reference evaluator, as a second opinion on a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Graph

_LIMIT = 2e8
"""Multiplications for one sample up to which the evaluator takes well under a second."""


_UNSTABLE = {"log_softmax", "cross_entropy"}
"""Operators for which the evaluator takes the logarithm of a softmax that may be 0."""


def can_evaluate_quickly(graph: Graph, opset: int) -> bool:
    """Whether the evaluator computes ``graph`` in little time, and right.

    Before opset 14 it mixes the batch's statistics into a batch normalization that is run.
    """
    operators = {node.op for node in graph.nodes}
    if operators & _UNSTABLE or (opset < 14 and "batch_norm" in operators):
        return False
    products = 0.0
    for node in graph.nodes:
        if node.op in ("conv2d", "linear"):
            y, weight = node.outputs[0], node.inputs[1]
            products += y.spec.size / y.shape[0] * weight.spec.size / weight.shape[0]
    return products <= _LIMIT


def evaluate_file(content: bytes, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of the file's network."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(onnx.load_model_from_string(content)).run(None, dict(feeds))
    return [np.asarray(a) for a in results]
