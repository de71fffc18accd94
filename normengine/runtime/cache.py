"""The program cache: graphs of the same structure are compiled once."""

from __future__ import annotations

import hashlib
from typing import Any

from ..compiling import DEFAULT, CompileOptions
from ..graph import Graph, Value
from ..kernels.cpu import backend, isas
from ..locks import new_lock
from ..recent import Recent
from .program import Program, compile_graph


def structure(graph: Graph) -> tuple[Any, ...]:
    """A hashable description that two graphs share exactly if one program serves both.

    State and inputs count by name and spec, constants by content, nodes by operator, attributes and layer. All of it
    is built into Python, so that no signal handler runs while a dictionary compares it.
    """
    number: dict[Value, int] = {}

    def define(value: Value) -> int:
        return number.setdefault(value, len(number))

    sources: list[Any] = [("given", v.name, v.shape, v.dtype, define(v)) for v in (*graph.inputs, *graph.state)]
    for value, array in graph.constants.items():
        sources.append(("constant", value.shape, value.dtype, hashlib.sha256(array.tobytes()).digest(), define(value)))
    nodes = [
        (n.op, tuple(number[v] for v in n.inputs), tuple((define(v), v.shape, v.dtype) for v in n.outputs),
         tuple(sorted(n.attrs.items())), n.layer)
        for n in graph.nodes
    ]  # fmt: skip
    outputs = tuple(number[v] for v in graph.outputs)
    return tuple(sources), tuple(nodes), outputs, tuple((number[old], number[new]) for old, new in graph.updates)


class ProgramCache:
    """The programs of the graphs used last: at most ``size``, and of those that together own more than ``nbytes`` bytes
    only the last. Safe to use from several threads."""

    def __init__(self, size: int = 8, nbytes: int = 1 << 30) -> None:
        self.size = size
        self.nbytes = nbytes
        self._lock = new_lock()
        self._programs: Recent[tuple[Any, ...], Program] = Recent()

    def get(self, graph: Graph, options: CompileOptions = DEFAULT) -> Program:
        """The program of ``graph``, compiled now if no graph of its structure was seen lately with these options."""
        key = (isas(), backend(), options, structure(graph))
        with self._lock:
            program = self._programs.use(key)
            if program is None:
                program = compile_graph(graph, options)
                self._programs.keep(key, program, self.size)
            while len(self._programs) > 1 and sum(p.nbytes for p in self._programs.values()) > self.nbytes:
                self._programs.drop()
            return program
