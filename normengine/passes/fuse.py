"""Connected elementwise nodes of one shape become one ``chain`` node, which is one loop over memory, and so do those
that read an array in common and wait for the same others.

A chain's attribute ``nodes`` holds the nodes it stands for, in order; its inputs are the values they read from
outside, its outputs the values that are read outside. Sums over batch and image of what a chain makes are taken in the
same loop: the attribute ``sums`` holds their nodes. Elementwise nodes whose results are only stored to state at the end
of the run (running statistics, the optimizer's update) are never joined with others, so that all of them can run last.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from types import MappingProxyType

from ..graph import Graph, Node, Value, check
from ..ops import OPS

MAX_OPERANDS = 12


def fuse(graph: Graph) -> Graph:
    """``graph`` with its elementwise nodes grouped into chains, the nodes in an order in which updates come last."""
    last = update_only(graph)
    return _in_chains(graph, _Grouping(graph, last).groups(), last)


def separate(graph: Graph) -> Graph:
    """As :func:`fuse`, but every elementwise node becomes a chain of its own."""
    return _in_chains(graph, [[node] for node in graph.nodes], update_only(graph))


def _in_chains(graph: Graph, groups: list[list[Node]], last: set[Node]) -> Graph:
    readers = graph.consumers()
    results = set(graph.results())
    units = [_chain(group, readers, results) if OPS[group[0].op].scalar else group[0] for group in groups]
    order = {node: i for i, node in enumerate(graph.nodes)}
    keys = [(group[0] in last, max(order[n] for n in group)) for group in groups]
    return check(_with_nodes(graph, _sorted(units, keys, graph)))


def update_only(graph: Graph) -> set[Node]:
    """Elementwise nodes all of whose results are, at the end, only stored to state: by an update or by another such
    node."""
    readers = graph.consumers()
    stored = {new for _, new in graph.updates}
    outputs = set(graph.outputs)
    found: set[Node] = set()
    for node in reversed(graph.nodes):
        used = [v for v in node.outputs if v in stored or v in readers]
        elementwise = OPS[node.op].scalar is not None
        if elementwise and used and all(v not in outputs and all(r in found for r in readers.get(v, ())) for v in used):
            found.add(node)
    return found


class _Grouping:
    """Greedy grouping in program order; ``above[u]`` is the bit set of units that unit ``u`` depends on, ``needed`` are
    the units that others depend on."""

    def __init__(self, graph: Graph, last: set[Node]) -> None:
        self.graph = graph
        self.last = last
        self.members: list[list[Node]] = []
        self.above: list[int] = []
        self.needed: set[int] = set()
        self.unit_of: dict[Value, int] = {}
        self.readers: dict[Value, list[int]] = {}
        self.sums: set[Value] = set()
        self.order = {node: i for i, node in enumerate(graph.nodes)}

    def groups(self) -> list[list[Node]]:
        for node in self.graph.nodes:
            sources = dict.fromkeys(self.unit_of[v] for v in node.inputs if v in self.unit_of)
            if self._is_sum(node):
                homes = [u for u in sources if self._sums(u, node)]
            else:
                homes = [u for u in sources if self._alike(u, node) and not self._reads_sums(u, [node])]
            home = next((u for u in homes if self._may_join(u, sources)), None)
            if home is None:
                home = len(self.members)
                self.members.append([])
                self.above.append(0)
            if self.members[home] and self._is_sum(node):
                self.sums.update(node.outputs)
            self.members[home].append(node)
            self.unit_of.update(dict.fromkeys(node.outputs, home))
            self._depend(home, [u for u in sources if u != home])
            for other in homes:
                if other != home:
                    self._merge(other, home)
            for other in self._beside(home, node):
                self._merge(other, home)
            for value in node.inputs:
                self.readers.setdefault(value, []).append(home)
        return [m for m in self.members if m]

    def _beside(self, home: int, node: Node) -> list[int]:
        """Loops that read one of the node's arrays and wait for the same units as its loop, of which neither waits for
        the other."""
        arrays = [v for v in node.inputs if v.shape == node.outputs[0].shape and v.spec.size > 1]
        found = dict.fromkeys(u for v in arrays for u in self.readers.get(v, ()))
        waiting = [u for u in found if u != home and self.members[u] and self.above[u] == self.above[home]]
        return [u for u in waiting if self._alike(u, node)]

    def _alike(self, unit: int, node: Node) -> bool:
        first = self.members[unit][0]
        return (
            OPS[node.op].scalar is not None
            and OPS[first.op].scalar is not None
            and first.outputs[0].shape == node.outputs[0].shape
            and (first in self.last) == (node in self.last)
            and len(self._operands([*self.members[unit], node])) <= MAX_OPERANDS
        )

    @staticmethod
    def _is_sum(node: Node) -> bool:
        """Whether the node adds up the values of each channel of images."""
        return node.op == "reduce_sum" and len(node.inputs[0].shape) == 4 and node.attrs["axes"] == (0, 2, 3)

    def _sums(self, unit: int, node: Node) -> bool:
        """Whether the unit is a loop that makes what ``node`` sums up."""
        first = self.members[unit][0]
        return (
            OPS[first.op].scalar is not None
            and first not in self.last
            and first.outputs[0].shape == node.inputs[0].shape
            and node.inputs[0].dtype == "float32"
        )

    def _reads_sums(self, unit: int, nodes: list[Node]) -> bool:
        return any(v in self.sums and self.unit_of[v] == unit for n in nodes for v in n.inputs)

    @staticmethod
    def _operands(nodes: list[Node]) -> set[Value]:
        made = {v for n in nodes for v in n.outputs}
        return {v for n in nodes for v in n.inputs if v not in made}

    def _may_join(self, unit: int, sources: dict[int, None]) -> bool:
        return not any(self.above[u] >> unit & 1 for u in sources if u != unit)

    def _depend(self, unit: int, sources: list[int]) -> None:
        added = 0
        for u in sources:
            added |= self.above[u] | 1 << u
        self.needed.update(sources)
        if not added & ~self.above[unit]:
            return
        self.above[unit] |= added
        if unit not in self.needed:
            return
        for u, bits in enumerate(self.above):
            if bits >> unit & 1:
                self.above[u] |= added

    def _merge(self, unit: int, home: int) -> None:
        """Move ``unit`` into ``home``, which reads it, if no third unit lies on a way between them."""
        others = self.above[home] & ~self.above[unit] & ~(1 << unit)
        between = any(self.above[u] >> unit & 1 for u in _bits(others))
        joined = self.members[unit] + self.members[home]
        if between or self.above[unit] >> home & 1 or len(self._operands(joined)) > MAX_OPERANDS:
            return
        if self._reads_sums(unit, self.members[home]):
            return
        self.members[home] = sorted(joined, key=self.order.__getitem__)
        self.members[unit] = []
        for node in joined:
            self.unit_of.update(dict.fromkeys(node.outputs, home))
            for value in node.inputs:
                self.readers.setdefault(value, []).append(home)
        inherited = self.above[unit]
        self.above[unit] = 0
        if unit in self.needed:
            self.needed.add(home)
        for u, bits in enumerate(self.above):
            if bits >> unit & 1 and u != home:
                self.above[u] = bits & ~(1 << unit) | 1 << home
        self.above[home] = self.above[home] & ~(1 << unit) | inherited
        for u, bits in enumerate(self.above):
            if bits >> home & 1:
                self.above[u] |= self.above[home]


def _bits(number: int) -> Iterator[int]:
    """The positions of the bits that are set."""
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


def _chain(group: list[Node], readers: dict[Value, list[Node]], results: set[Value]) -> Node:
    members = set(group)
    made = dict.fromkeys(v for n in group for v in n.outputs)
    inputs = dict.fromkeys(v for n in group for v in n.inputs if v not in made)
    outputs = [v for v in made if v in results or any(r not in members for r in readers.get(v, ()))]
    layer = next((n.layer for n in reversed(group) if n.layer), "")
    attrs: dict[str, tuple[Node, ...]] = {"nodes": tuple(n for n in group if OPS[n.op].scalar)}
    if len(attrs["nodes"]) < len(group):
        attrs["sums"] = tuple(n for n in group if not OPS[n.op].scalar)
    return Node("chain", tuple(inputs), tuple(outputs), MappingProxyType(attrs), layer)


def _sorted(units: list[Node], keys: list[tuple[bool, int]], graph: Graph) -> tuple[Node, ...]:
    """Units in dependency order, the smallest key first among those that are ready."""
    made_by = {v: i for i, unit in enumerate(units) for v in unit.outputs}
    needs = [{made_by[v] for v in unit.inputs if v in made_by} for unit in units]
    unlocks: list[list[int]] = [[] for _ in units]
    for i, need in enumerate(needs):
        for j in need:
            unlocks[j].append(i)
    ready = [(keys[i], i) for i, need in enumerate(needs) if not need]
    heapq.heapify(ready)
    done: list[Node] = []
    while ready:
        _, i = heapq.heappop(ready)
        done.append(units[i])
        for j in unlocks[i]:
            needs[j].discard(i)
            if not needs[j]:
                heapq.heappush(ready, (keys[j], j))
    assert len(done) == len(units), "fusion made a cycle"
    return tuple(done)


def _with_nodes(graph: Graph, nodes: tuple[Node, ...]) -> Graph:
    return Graph(graph.inputs, graph.outputs, nodes, graph.state, graph.constants, graph.updates)
