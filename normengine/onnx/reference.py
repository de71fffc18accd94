"""ONNX's own reference evaluator, as a second opinion on a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Graph
from ..ops import OPS

_LIMIT = 2e8
"""Multiplications for one sample up to which the evaluator takes well under a second."""

_ELEMENTS = 2**26
"""Elements of all arrays up to which it takes little memory."""


def can_evaluate_quickly(graph: Graph, opset: int) -> bool:
    """Whether the evaluator computes ``graph`` in little time, and right.

    Before opset 14 it mixes the batch's statistics into a batch normalization that is run.
    """
    records = [OPS[node.op] for node in graph.nodes]
    if not all(op.evaluator_is_exact for op in records) or (opset < 14 and any(op.normalizes for op in records)):
        return False
    total = 0.0
    for node, op in zip(graph.nodes, records, strict=True):
        if op.products is not None:
            inputs, outputs = ([v.shape for v in values] for values in (node.inputs, node.outputs))
            total += op.products(inputs, outputs, node.attrs) / outputs[0][0]
    return total <= _LIMIT


def evaluate_file(content: bytes, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of the file's network."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(onnx.load_model_from_string(content)).run(None, dict(feeds))
    return [np.asarray(a) for a in results]


def evaluated_quickly(content: bytes, graph: Graph, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """All outputs of the file, whose graph is ``graph``; None where that would take long or the evaluator cannot."""
    import onnx

    model = onnx.load_model_from_string(content)
    opset = max((o.version for o in model.opset_import), default=0)
    elements = sum(value.spec.size for node in graph.nodes for value in (*node.inputs, *node.outputs))
    if elements > _ELEMENTS or not can_evaluate_quickly(graph, opset):
        return None
    try:
        return evaluate_file(content, feeds)
    except Exception:  # whatever an evaluator raises that knows fewer forms than are read here
        return None
