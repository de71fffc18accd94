"""Anomaly detection: where a NaN or infinity came from, found by the step once more with every value kept and
without its update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..compiling import CompileOptions
from ..graph import Graph, Node, Value
from ..ops.evaluate import evaluate
from ..runtime import compile_graph

_MEMORY = "optimizer."
"""What the names of an optimizer's state begin with."""


def explain_nonfinite(
    forward: Graph, feeds: Mapping[str, np.ndarray], kinds: Mapping[str, str], options: CompileOptions
) -> str:
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
    arrays = compile_graph(replace(forward, outputs=tuple(v for _, v in made)), options).run(feeds)
    known = dict(zip((v for _, v in made), arrays, strict=True))
    for node, value in made:
        if not np.isfinite(known[value]).all():
            where = f"{kinds.get(node.layer, node.op)} '{node.layer}'" if node.layer else node.op
            why = _empty_mean(node, forward, feeds) or _by_zero(node, known) or "a lower learning rate may help"
            return f"the first values that are not finite come out of {where}; {why}"
    return "every value before it is finite"


def _empty_mean(found: Node, forward: Graph, feeds: Mapping[str, np.ndarray]) -> str:
    """What to do if a cross entropy, or the quotient that ``nll_loss`` is, has no label that counts."""
    quotient = {"cross_entropy": "cross_entropy", "div": "at_label"}.get(found.op)
    for node in forward.nodes:
        if node.op != quotient:
            continue
        # Of the two sums of a negative log likelihood this is that of the weights.
        read = node.inputs[1:] if quotient == "cross_entropy" else (node.inputs[1], node.inputs[0])
        if quotient == "at_label" and read[1].spec.size not in (1, node.inputs[2].spec.size):
            continue
        source = replace(forward, outputs=read, updates=()).pruned()
        values = evaluate(source, {v: feeds[v.name] for v in (*source.inputs, *source.state)})
        labels, *weight = (values[v] for v in read)
        ignored = node.attrs["ignore_index"]
        counted = labels[labels != ignored].astype(np.int64)
        advice = "; leave such batches out, or take reduction='sum'"
        if not counted.size:
            return (
                f"all {labels.size} labels are ignore_index {ignored}, which leaves nothing to take the mean of{advice}"
            )
        if weight and weight[0].size > 1 and not weight[0].ravel()[counted].any():
            return f"the class weights of all labels are 0, which leaves nothing to take the mean of{advice}"
    return ""


def _by_zero(node: Node, known: Mapping[Value, np.ndarray]) -> str:
    if node.op != "div" or np.all(known.get(node.inputs[1], 1)):
        return ""
    return "it divides by 0; add a small number to what it divides by"


def explain_update(
    graph: Graph,
    gradients: Mapping[str, Value],
    feeds: Mapping[str, np.ndarray],
    kinds: Mapping[str, str],
    options: CompileOptions,
) -> str:
    """One clause that names the first statistic, gradient or new value that is not finite.

    ``graph`` is that of the whole step, ``gradients`` has the gradient of each parameter by its name, in the order of
    the forward pass; for the others see :func:`explain_nonfinite`.
    """
    stored = {old.name: new for old, new in graph.updates if new.dtype == "float32"}
    statistics = {name: new for name, new in stored.items() if name not in gradients and not name.startswith(_MEMORY)}
    asked = [(f"the new {_of(name, kinds)} is not finite", new) for name, new in statistics.items()]
    asked += [
        (f"the gradient of {_of(name, kinds)} is not finite", grad) for name, grad in reversed(list(gradients.items()))
    ]
    asked += [(f"all gradients are finite, but the new {_of(name, kinds)} is not", new) for name, new in stored.items()]
    arrays = compile_graph(replace(graph, outputs=tuple(v for _, v in asked), updates=()), options).run(feeds)
    for (what, _), array in zip(asked, arrays, strict=True):
        if not np.isfinite(array).all():
            return f"{what}; smaller inputs or a lower learning rate may help"
    return "what it would store is not finite; smaller inputs or a lower learning rate may help"


def _of(name: str, kinds: Mapping[str, str]) -> str:
    layer = name.rpartition(".")[0]
    return f"'{name}' of {kinds[layer]}" if layer in kinds else f"'{name}'"
