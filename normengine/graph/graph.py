"""Values, the nodes that make them, and the graph that holds both. Nothing here changes once made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from .spec import Spec


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """One array of the graph, known by identity; the name is for people and, for state, the key it is bound by."""

    name: str
    spec: Spec

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self) -> str:
        return self.spec.dtype

    def __repr__(self) -> str:
        return f"%{self.name}: {self.spec}"


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One application of an operator. ``layer`` names the module it came from (``features.3``), for messages."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: Mapping[str, Any]
    layer: str = ""

    def __repr__(self) -> str:
        attrs = ", ".join(f"{k}={v!r}" for k, v in self.attrs.items())
        outs = ", ".join(f"%{v.name}: {v.spec}" for v in self.outputs)
        ins = ", ".join(f"%{v.name}" for v in self.inputs)
        layer = f"  # {self.layer}" if self.layer else ""
        return f"{outs} = {self.op}({ins}{'; ' + attrs if attrs else ''}){layer}"


_NOTHING: Mapping[Value, np.ndarray] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Graph:
    """A list of nodes in an order in which they can run, and where their values come from and go to.

    ``inputs`` are given at every run; ``state`` values (parameters, buffers, optimizer state) are live arrays bound
    by name; ``constants`` carry their arrays. After the nodes ran, each ``updates`` pair ``(old, new)`` stores
    ``new`` over the state value or input ``old``.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    state: tuple[Value, ...] = ()
    constants: Mapping[Value, np.ndarray] = field(default_factory=lambda: _NOTHING)
    updates: tuple[tuple[Value, Value], ...] = ()

    def producers(self) -> dict[Value, Node]:
        """The node that makes each value."""
        return {v: n for n in self.nodes for v in n.outputs}

    def consumers(self) -> dict[Value, list[Node]]:
        """The nodes that read each value, in order; a value that only leaves the graph has none."""
        readers: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                readers.setdefault(value, []).append(node)
        return readers

    def results(self) -> tuple[Value, ...]:
        """Values that are read after the nodes ran: outputs and what updates store."""
        return self.outputs + tuple(new for _, new in self.updates)

    def pruned(self) -> Graph:
        """This graph without the nodes, constants and state that no result needs; inputs stay."""
        needed = set(self.results())
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if any(v in needed for v in node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        stored = {old for old, _ in self.updates}
        return replace(
            self,
            nodes=tuple(reversed(kept)),
            state=tuple(v for v in self.state if v in needed or v in stored),
            constants={v: a for v, a in self.constants.items() if v in needed},
        )

    def __str__(self) -> str:
        head = [f"input  %{v.name}: {v.spec}" for v in self.inputs]
        head += [f"state  %{v.name}: {v.spec}" for v in self.state]
        head += [f"const  %{v.name}: {v.spec}" for v in self.constants]
        tail = [f"update %{old.name} <- %{new.name}" for old, new in self.updates]
        tail += [f"output %{v.name}: {v.spec}" for v in self.outputs]
        return "\n".join(head + [repr(n) for n in self.nodes] + tail)
