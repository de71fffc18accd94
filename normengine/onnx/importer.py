"""The import of an ONNX model as a graph, for given extents of its inputs.

Extents are concrete, so the arithmetic that exporters write for shapes (``Shape``, ``Gather``, ``Concat``, ...) is
done while reading and never reaches the graph. What is known while reading is an array; what is not is a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..graph import Graph
from . import families  # noqa: F401  (its import fills the tables)
from .import_context import ImportContext
from .node import OnnxError, OnnxNode
from .parse import OnnxModel
from .table import EVALUATORS, READERS


@np.errstate(all="ignore")
def import_graph(model: OnnxModel, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The graph of ``model`` for inputs of the given ``shapes``; its weights are the model's own arrays.

    Raises :class:`OnnxError` for operators that are not supported (all of them in one message), for nodes that break
    their operator's rules, and where an array would not fit into the machine's memory.
    """
    check_operators(model.source, model.nodes)
    reading = ImportContext(model, shapes, READERS, EVALUATORS)
    for node in model.nodes:
        reading.read(node)
    _refuse(model.source, reading.refused)  # of operators that are supported on known arrays alone
    return reading.builder.graph([reading.output(port) for port in model.outputs])


def check_operators(source: str, nodes: Sequence[OnnxNode]) -> None:
    """Raise :class:`OnnxError` for all nodes of operators that are not supported, whatever the inputs' extents."""
    _refuse(source, [n for n in nodes if n.domain or not (n.op_type in READERS or n.op_type in EVALUATORS)])


def _refuse(source: str, nodes: Sequence[OnnxNode]) -> None:
    named: dict[str, list[str]] = {}
    for node in nodes:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        named.setdefault(name, []).append(f"'{node.label}'")
    if named:
        listed = _some([f"{name} ({_some(labels, ', ')})" for name, labels in sorted(named.items())], "; ")
        raise OnnxError(f"{source} uses operators that are not supported: {listed}")


def _some(words: list[str], between: str, most: int = 20) -> str:
    more = [f"and {len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *more])
