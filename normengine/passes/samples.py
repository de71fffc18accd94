"""Whether a graph treats the samples of a batch one by one, so that a batch may be cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

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
    scalar = OPS[node.op].scalar
    if scalar is not None:
        return not scalar.indexed and _elementwise(node, apart)
    rule = _RULES.get(node.op)
    return rule is not None and rule(node, apart)


def _elementwise(node: Node, apart: set[Value]) -> bool:
    rank = len(node.outputs[0].shape)
    return all(len(v.shape) == rank if v in apart else len(v.shape) < rank or v.shape[0] == 1 for v in node.inputs)


def _first_alone(node: Node, apart: set[Value]) -> bool:
    return node.inputs[0] in apart and not any(v in apart for v in node.inputs[1:])


def _all(node: Node, apart: set[Value]) -> bool:
    return all(v in apart for v in node.inputs)


_POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")
_RULES: Mapping[str, Callable[[Node, set[Value]], bool]] = MappingProxyType(
    {
        **dict.fromkeys((*_POOLS, "conv2d", "linear", "reshape"), _first_alone),
        "matmul": lambda n, apart: _first_alone(n, apart) and not n.attrs["transpose_a"],
        **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_mean"), lambda n, apart: 0 not in n.attrs["axes"]),
        **dict.fromkeys(("softmax", "log_softmax"), lambda n, apart: n.attrs["axis"] % len(n.inputs[0].shape) != 0),
        "permute": lambda n, apart: n.attrs["axes"][0] == 0,
        "slice": lambda n, apart: n.attrs["starts"][0] == 0 and n.attrs["steps"][0] == 1,
        "unslice": lambda n, apart: n.attrs["starts"][0] == 0 and n.attrs["steps"][0] == 1,
        "concat": lambda n, apart: n.attrs["axis"] != 0 and _all(n, apart),
    }
)
