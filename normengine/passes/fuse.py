"""Loop fusion: connected elementwise nodes of one shape become one ``chain`` node, which is one loop over memory. So do
nodes that are not connected but read an array in common, if neither has to wait for the other.

A chain's attribute ``nodes`` holds the nodes it stands for, in order; its inputs are the values they read from
outside, its outputs the values that are read outside. Sums over batch and image of what a chain makes are taken in the
same loop: the attribute ``sums`` holds their nodes. Elementwise nodes whose results are only stored to state at the end
of the run (running statistics, the optimizer's update) are never joined with others, so that all of them can run last.
A line of nodes that is longer than ``MAX_OPERATIONS`` allows becomes several chains, which share their code where they
are alike.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice
from types import MappingProxyType

from ..graph import Graph, Node, Value, check
from ..ops import OPS

MAX_OPERANDS = 12
MAX_RESULTS = 16
MAX_OPERATIONS = 256
"""Of a chain, each node counting one more than it has (see :class:`~normengine.ops.base.Scalar`): what a compiler takes
for a chain grows with them, and more in one pass over memory would save next to nothing."""
MOST_BESIDE = 16
"""Loops that read one array and are tried for one that begins to read it, the last ones."""


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


class _Unit:
    """Nodes that become one: a node alone, or those of a chain. ``above`` is the bit set of the units that this one
    depends on, ``needs`` and ``feeds`` are those next to it on either side. ``operands`` are the values that it reads
    from outside, ``unread`` counts for each value that it makes the readers outside, of which what the graph gives has
    one more."""

    def __init__(self, number: int) -> None:
        self.bit = 1 << number
        self.nodes: list[Node] = []
        self.above = 0
        self.needs: dict[_Unit, None] = {}
        self.feeds: dict[_Unit, None] = {}
        self.operands: set[Value] = set()
        self.unread: dict[Value, int] = {}
        self.operations = 0

    def waits_for(self, other: _Unit) -> bool:
        return bool(self.above & other.bit)


class _Grouping:
    """Greedy grouping in program order."""

    def __init__(self, graph: Graph, last: set[Node]) -> None:
        self.graph = graph
        self.last = last
        self.units: list[_Unit] = []
        self.unit_of: dict[Value, _Unit] = {}
        self.readers: dict[Value, dict[_Unit, None]] = {}
        self.sums: set[Value] = set()
        self.order = {node: i for i, node in enumerate(graph.nodes)}
        self.results = set(graph.results())
        self.reads = Counter(v for node in graph.nodes for v in dict.fromkeys(node.inputs))

    def groups(self) -> list[list[Node]]:
        for node in self.graph.nodes:
            sources = dict.fromkeys(self.unit_of[v] for v in node.inputs if v in self.unit_of)
            if self._is_sum(node):
                homes = [u for u in sources if self._sums(u, node)]
            else:
                homes = [u for u in sources if self._alike(u, node) and not self._reads_sums(u, [node])]
            home = next((u for u in homes if self._may_join(u, sources)), None)
            if home is None:
                home = _Unit(len(self.units))
                self.units.append(home)
            if home.nodes and self._is_sum(node):
                self.sums.update(node.outputs)
            self._append(home, node)
            self._depend(home, [u for u in sources if u is not home])
            for other in homes:
                if other is not home:
                    self._merge(other, home)
            for other in self._beside(home, node):
                self._merge(other, home)
            for value in node.inputs:
                self.readers.setdefault(value, {})[home] = None
        return [u.nodes for u in self.units if u.nodes]

    def _append(self, unit: _Unit, node: Node) -> None:
        unit.nodes.append(node)
        unit.operations += operations([node])
        unit.operands, unit.unread = self._with(unit, node)
        self.unit_of.update(dict.fromkeys(node.outputs, unit))

    def _with(self, unit: _Unit, node: Node) -> tuple[set[Value], dict[Value, int]]:
        """The unit's ``operands`` and ``unread`` with one more node."""
        unread = {**unit.unread, **{v: self.reads[v] + (v in self.results) for v in node.outputs}}
        operands = unit.operands | {v for v in node.inputs if self.unit_of.get(v) is not unit}
        for value in dict.fromkeys(node.inputs):
            if value in unread:
                unread[value] -= 1
        return operands, {v: count for v, count in unread.items() if count}

    def _beside(self, home: _Unit, node: Node) -> list[_Unit]:
        """Loops that read one of the node's arrays and wait for the same units as its loop, of which neither waits for
        the other."""
        arrays = [v for v in node.inputs if v.shape == node.outputs[0].shape and v.spec.size > 1]
        found = dict.fromkeys(u for v in arrays for u in self._last_readers(v))
        return [u for u in found if u is not home and u.above == home.above and self._alike(u, node)]

    def _last_readers(self, value: Value) -> list[_Unit]:
        """The loops that were the last to begin to read ``value``, in order."""
        return list(islice(reversed(self.readers.get(value, {})), MOST_BESIDE))[::-1]

    def _alike(self, unit: _Unit, node: Node) -> bool:
        first = unit.nodes[0]
        return (
            OPS[node.op].scalar is not None
            and OPS[first.op].scalar is not None
            and first.outputs[0].shape == node.outputs[0].shape
            and (first in self.last) == (node in self.last)
            and self._has_room(unit, node)
        )

    def _has_room(self, unit: _Unit, node: Node) -> bool:
        return unit.operations + operations([node]) <= MAX_OPERATIONS and _fits(*self._with(unit, node))

    @staticmethod
    def _is_sum(node: Node) -> bool:
        """Whether the node adds up the values of each channel of images, of all of them or of each by itself."""
        if not OPS[node.op].sums_axes or len(node.inputs[0].shape) != 4:
            return False
        return node.attrs["axes"] == (0, 2, 3) or (node.attrs["axes"] == (2, 3) and node.attrs["keepdims"])

    def _sums(self, unit: _Unit, node: Node) -> bool:
        """Whether the unit is a loop that makes what ``node`` sums up."""
        first = unit.nodes[0]
        return (
            OPS[first.op].scalar is not None
            and first not in self.last
            and first.outputs[0].shape == node.inputs[0].shape
            and node.inputs[0].dtype == "float32"
            and not self._reads_sums(unit, [node])
            and not any(n.inputs == node.inputs and self._is_sum(n) for n in unit.nodes)
            and self._has_room(unit, node)
        )

    def _reads_sums(self, unit: _Unit, nodes: list[Node]) -> bool:
        return any(v in self.sums and self.unit_of[v] is unit for n in nodes for v in n.inputs)

    def _may_join(self, unit: _Unit, sources: dict[_Unit, None]) -> bool:
        return not any(u.waits_for(unit) for u in sources if u is not unit)

    def _depend(self, unit: _Unit, sources: list[_Unit]) -> None:
        added = 0
        for u in sources:
            added |= u.above | u.bit
            unit.needs[u] = u.feeds[unit] = None
        if added & ~unit.above:
            unit.above |= added
            self._pass_on(unit)

    def _pass_on(self, unit: _Unit, gone: int = 0) -> None:
        """What ``unit`` depends on, and itself, those that wait for it depend on too, and not on what is ``gone``."""
        changed = [unit]
        while changed:
            current = changed.pop()
            inherited = current.above | current.bit
            for u in current.feeds:
                if inherited & ~u.above or u.above & gone:
                    u.above = (u.above | inherited) & ~gone
                    changed.append(u)

    def _merge(self, unit: _Unit, home: _Unit) -> None:
        """Move ``unit`` into ``home``, which reads it, if no third unit lies on a way between them."""
        if unit.waits_for(home) or any(u.waits_for(unit) for u in home.needs if u is not unit):
            return
        if unit.operations + home.operations > MAX_OPERATIONS or self._reads_sums(unit, home.nodes):
            return
        operands, unread = self._joined(unit, home)
        if not _fits(operands, unread):
            return
        home.operands, home.unread = operands, unread
        home.operations += unit.operations
        home.nodes = sorted(unit.nodes + home.nodes, key=self.order.__getitem__)
        for node in unit.nodes:
            self.unit_of.update(dict.fromkeys(node.outputs, home))
            for value in node.inputs:
                self.readers[value].pop(unit, None)
        for node in home.nodes:
            for value in node.inputs:
                self.readers.setdefault(value, {})[home] = None
        unit.nodes = []
        self._take_place(unit, home)

    def _joined(self, unit: _Unit, home: _Unit) -> tuple[set[Value], dict[Value, int]]:
        """What ``operands`` and ``unread`` are of both units together."""
        unread = {**unit.unread, **home.unread}
        for reader, maker in ((home, unit), (unit, home)):
            for node in reader.nodes:
                for value in dict.fromkeys(node.inputs):
                    if self.unit_of.get(value) is maker:
                        unread[value] -= 1
        operands = {v for v in unit.operands | home.operands if self.unit_of.get(v) not in (unit, home)}
        return operands, {v: count for v, count in unread.items() if count}

    def _take_place(self, unit: _Unit, home: _Unit) -> None:
        """Whoever feeds ``unit`` or waits for it now does so with ``home``. Of their bits the older one stays, since
        more units wait for it."""
        for u in unit.needs:
            del u.feeds[unit]
            u.feeds[home] = home.needs[u] = None
        for u in unit.feeds:
            del u.needs[unit]
            if u is not home:
                u.needs[home] = home.feeds[u] = None
        home.above = (home.above | unit.above) & ~(home.bit | unit.bit)
        home.bit, gone = sorted((home.bit, unit.bit))
        self._pass_on(home, gone)


def operations(nodes: Iterable[Node]) -> int:
    """What nodes count of those that a chain may have: their operations, and one for the result of each."""
    scalars = (OPS[node.op].scalar for node in nodes)
    return sum(1 + (scalar.operations if scalar else 1) for scalar in scalars)


def _fits(operands: Collection[Value], results: Collection[Value]) -> bool:
    return len(operands) <= MAX_OPERANDS and len(results) <= MAX_RESULTS


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
