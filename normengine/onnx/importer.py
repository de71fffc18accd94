"""The import of an ONNX model as a graph, for given extents of its inputs.

Extents are concrete, so the arithmetic that exporters write for shapes (``Shape``, ``Gather``, ``Concat``, ...) is
done while reading and never reaches the graph. What is known while reading is an array; what is not is a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..graph import Graph
from . import families  # noqa: F401  (its import fills the tables)
from .expansion import is_expandable
from .import_context import ImportContext
from .node import OnnxError, OnnxNode
from .parse import OnnxModel
from .table import EVALUATORS, READERS

_NONE: Mapping[str, np.ndarray] = {}

_LOOPS = {"Loop", "Scan"}
_NO_LOOPS = "a loop runs as often as the data say, which no compiled network does: export its steps written out"


@np.errstate(all="ignore")
def import_graph(
    model: OnnxModel, shapes: Mapping[str, tuple[int, ...]], inputs: Mapping[str, np.ndarray] = _NONE
) -> Graph:
    """The graph of ``model`` for inputs of the given ``shapes``; its weights are the model's own arrays.

    Those of the model's inputs that ``inputs`` has are known: what the network is may depend on them, and they are no
    inputs of the graph.

    Raises :class:`OnnxError` for operators that are not supported (all of them in one message), for nodes that break
    their operator's rules, and where an array would not fit into the machine's memory; :class:`UnknownInputError`,
    which is one, if it names the inputs that would have to be known.
    """
    check_operators(model.source, model.nodes, model.opset)
    reading = ImportContext(model, shapes, READERS, EVALUATORS, inputs)
    for node in model.nodes:
        reading.read(node)
    _refuse(model.source, reading.refused)  # of operators that are supported on known arrays alone
    return reading.builder.graph([reading.output(port) for port in model.outputs])


def check_operators(source: str, nodes: Sequence[OnnxNode], opset: int) -> None:
    """Raise :class:`OnnxError` for all nodes of operators that are not supported, whatever the inputs' extents."""
    _refuse(source, [node for node in nodes if node.domain or not _is_read(node.op_type, opset)])


def _is_read(op_type: str, opset: int) -> bool:
    return op_type in READERS or op_type in EVALUATORS or is_expandable(op_type, opset)


def _refuse(source: str, nodes: Sequence[OnnxNode]) -> None:
    named: dict[str, list[str]] = {}
    for node in nodes:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        named.setdefault(name, []).append(f"'{node.label}'")
    if named:
        listed = _some([f"{name} ({_some(labels, ', ')})" for name, labels in sorted(named.items())], "; ")
        loops = f"; {_NO_LOOPS}" if _LOOPS & named.keys() else ""
        raise OnnxError(f"{source} uses operators that are not supported: {listed}{loops}")


def _some(words: list[str], between: str, most: int = 20) -> str:
    more = [f"and {len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *more])
