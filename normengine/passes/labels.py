"""What to call the nodes of a graph in reports and files."""

from __future__ import annotations

from collections import Counter

from ..graph import Graph, Node
from ..ops import OPS


def labels(graph: Graph) -> dict[Node, str]:
    """What to call each node: its layer, where that names this node alone, else the layer and the operator."""
    layers = Counter(node.layer for node in graph.nodes)
    containers = {layer[:i] for layer in layers for i, c in enumerate(layer) if c == "."} | {""}
    alone = {layer for layer, count in layers.items() if count == 1 and layer not in containers}
    names: dict[Node, str] = {}
    for node in graph.nodes:
        main = OPS[node.op].folds_norms or OPS[node.op].normalizes
        own = node.layer in alone or (main and node.layer not in containers)
        names[node] = node.layer if own else f"{node.layer}.{node.op}".lstrip(".")
    return names
