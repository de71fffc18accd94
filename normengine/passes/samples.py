"""Whether a graph treats the samples of a batch one by one, so that a batch may be cut into parts."""

from __future__ import annotations

from ..graph import Graph, Node, Value
from ..ops import OPS


def samples_apart(graph: Graph) -> bool:
    """Whether each sample of every output depends on the same sample of the inputs alone.

    A sample is an index of axis 0, which all inputs and outputs share. Operators that are not known to keep samples
    apart count as mixing them.
    """
    extents = {v.shape[0] if v.shape else 0 for v in (*graph.inputs, *graph.outputs)}
    if len(extents) != 1 or graph.state or graph.updates:
        return False
    (batch,) = extents
    apart = set(graph.inputs)
    for node in graph.nodes:
        if not any(v in apart for v in node.inputs):
            continue
        if not _keeps_apart(node, apart, batch):
            return False
        apart.update(node.outputs)
    return all(v in apart for v in graph.outputs)


def largest_sample(graph: Graph) -> int:
    """Bytes that the operator with the largest inputs and outputs reads and writes for each sample."""
    batch = graph.inputs[0].shape[0]
    return max(
        sum(v.spec.nbytes for v in (*n.inputs, *n.outputs) if v not in graph.constants) // batch for n in graph.nodes
    )


def _keeps_apart(node: Node, apart: set[Value], batch: int) -> bool:
    if any(not v.shape or v.shape[0] != batch for v in (*node.outputs, *(v for v in node.inputs if v in apart))):
        return False
    op = OPS[node.op]
    if op.scalar is not None:
        return not op.scalar.indexed and _elementwise(node, apart)
    if op.samples is None or op.sums_samples:
        return False
    positions = op.samples(node)
    return bool(positions) and all((v in apart) == (i in positions) for i, v in enumerate(node.inputs))


def _elementwise(node: Node, apart: set[Value]) -> bool:
    rank = len(node.outputs[0].shape)
    return all(len(v.shape) == rank if v in apart else len(v.shape) < rank or v.shape[0] == 1 for v in node.inputs)
