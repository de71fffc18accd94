"""Where a NaN or infinity came from: the forward pass once more, with every value kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..graph import Graph
from ..runtime import compile_graph


def explain_nonfinite(forward: Graph, feeds: Mapping[str, np.ndarray], kinds: Mapping[str, str]) -> str:
    """One clause that names the first input, parameter or layer whose values are not all finite.

    ``forward`` is the graph from inputs to loss without updates, ``feeds`` what the step was given, ``kinds`` the
    class of each layer by name.
    """
    for value in (*forward.inputs, *forward.state):
        array = feeds[value.name]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            what = "input" if value in forward.inputs else "state"
            return f"{what} '{value.name}' already holds values that are not finite"
    made = [(node, v) for node in forward.nodes for v in node.outputs if v.dtype == "float32"]
    arrays = compile_graph(replace(forward, outputs=tuple(v for _, v in made))).run(feeds)
    for (node, _), array in zip(made, arrays, strict=True):
        if not np.isfinite(array).all():
            where = f"{kinds.get(node.layer, node.op)} '{node.layer}'" if node.layer else node.op
            return f"the first values that are not finite come out of {where}; a lower learning rate may help"
    return "every value before it is finite"
