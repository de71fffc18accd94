"""Direct calls computed by the operators' references: what layers mean, without compiling anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from normengine.graph import Graph
from normengine.nn import eager
from normengine.ops import evaluate


class ReferencePrograms:
    """Stands in for the cache of programs."""

    def get(self, graph: Graph, options: object) -> ReferencePrograms:
        self.graph = graph
        return self

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        graph = self.graph
        values = evaluate(graph, {v: feeds[v.name] for v in (*graph.inputs, *graph.state)})
        for old, new in graph.updates:
            feeds[old.name][...] = values[new]
        return [np.asarray(values[v], v.dtype) for v in graph.outputs]


@pytest.fixture
def references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Direct calls run on float64 references instead of compiled programs."""
    programs = ReferencePrograms()
    monkeypatch.setattr(eager, "_programs", lambda: programs)


@pytest.fixture(params=["references", "programs"])
def either(request: pytest.FixtureRequest) -> str:
    """Direct calls run on references in one test, on compiled programs in the next."""
    if request.param == "references":
        request.getfixturevalue("references")
    return str(request.param)
