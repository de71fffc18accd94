"""Labels of cross entropies, looked at before a program reads them as indices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..graph import Graph
from .evaluate import evaluate


class LabelRule(NamedTuple):
    """The labels that ``source``, a graph of one output, computes are in 0..``classes``-1 or ``ignored``."""

    source: Graph
    classes: int
    ignored: int
    axis: int | None = None
    """Of extent 1, where the classes are along it: no part of a label's place."""

    @property
    def is_given(self) -> bool:
        """Whether the labels are an input, as they are."""
        return self.source.outputs[0] in self.source.inputs

    @property
    def is_exact(self) -> bool:
        """Whether NumPy computes the same labels as a program, since all on the way to them are integers."""
        values = (v for node in self.source.nodes for v in (*node.inputs, *node.outputs))
        return all(np.dtype(v.dtype).kind in "iub" for v in values)

    def check(self, feeds: Mapping[str, np.ndarray], what: str) -> None:
        """Raise ValueError if one is not; ``feeds`` are the inputs and state by name, ``what`` begins the message."""
        (target,) = self.source.outputs
        if self.is_given:
            labels = feeds[target.name]
            if labels.min() >= 0 and labels.max() < self.classes:
                return
        else:
            given = {v: feeds[v.name] for v in (*self.source.inputs, *self.source.state)}
            labels = evaluate(self.source, given)[target]
        labels = labels if self.axis is None else labels.squeeze(self.axis)
        wrong = ((labels < 0) | (labels >= self.classes)) & (labels != self.ignored)
        if wrong.any():
            at = tuple(int(i[0]) for i in np.nonzero(wrong))
            place = at[0] if len(at) == 1 else at
            raise ValueError(
                f"{what}: labels must be in 0..{self.classes - 1} for {self.classes} classes, "
                f"got {int(labels[at])} at index {place}"
            )


def label_rules(graph: Graph) -> tuple[LabelRule, ...]:
    """A rule for every cross entropy and negative log likelihood of ``graph``."""
    rules: dict[tuple[Any, ...], LabelRule] = {}
    for node in graph.nodes:
        if node.op not in ("cross_entropy", "at_label"):
            continue
        labels, ignored = node.inputs[1], node.attrs["ignore_index"]
        by_class = node.op == "at_label"
        classes = node.inputs[2].spec.size if by_class else node.inputs[0].shape[1]
        source = replace(graph, outputs=(labels,), updates=()).pruned()
        rules.setdefault((labels, classes, ignored), LabelRule(source, classes, ignored, 1 if by_class else None))
    return tuple(rules.values())
