"""Runs of nodes that go depth first, as one call each: all of them for one group of images, then for the next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from ..graph import Graph, Node, Value
from ..passes.depth_first import SUMMED, Run, image_inputs, image_outputs, in_runs
from .access import Access
from .calls import Calls
from .group_size import Joining, group_size, group_sizes
from .groups import Group, local_places, moved
from .plan import Call, Memory, depth_first


def batch_of(graph: Graph) -> int:
    """The number of images that the graph is given, or 0."""
    return next((v.shape[0] for v in graph.inputs if len(v.shape) == 4), 0)


def runs_of(graph: Graph, isas: Sequence[str]) -> list[Run]:
    """The nodes of ``graph`` in the order in which they are lowered, those together that go depth first."""
    batch = batch_of(graph)
    if not group_sizes(batch):
        return [Run((node,), False) for node in graph.nodes]
    runs = in_runs(graph, batch, Joining(batch, isas))
    return [Run(run.nodes, run.images and len(run.nodes) > 1) for run in runs]


class Runs(Calls):
    """Lowers the nodes of a run for one group, and gathers the calls; ``places`` are those of local memory."""

    def __init__(self, graph: Graph, width: int, isas: Sequence[str]) -> None:
        super().__init__(graph, width, isas)
        self.places: dict[Memory, int] = {}

    @abstractmethod
    def lower_node(self, node: Node) -> None:
        """Append the calls of one node."""

    def depth_first(self, nodes: Sequence[Node], read_outside: Callable[[Value], bool]) -> None:
        """Append one call for ``nodes``, and what comes before and after it."""
        batch = batch_of(self.graph)
        images = group_size(nodes, batch)
        group = Group(images, batch // images, self.calls)
        made = dict.fromkeys(v for node in nodes for v in image_outputs(node))
        for node in nodes:
            for value in image_inputs(node, batch) or ():
                if value not in made and value not in group.part:
                    self._enter(value, group, node.layer)
        for value in made:
            group.make(value)
        self.group, self.calls = group, []
        for node in nodes:
            if node.op in SUMMED:
                self.sum_over_groups(group.node(node))
            else:
                self.lower_node(group.node(node))
        inner, self.group, self.calls = self.calls, None, group.outer
        homes = dict(self._leave(value, group) for value in made if read_outside(value))
        self.calls.append(self._gathered([moved(call, homes) for call in inner], group))
        for append in group.after:
            append()

    def _enter(self, value: Value, group: Group, layer: str) -> None:
        """What is known of all images becomes known of each group's."""
        part = group.make(value)
        if value in self.held:
            access = self.access(self.held[value])
            self.held[part] = group.make(self.held[value])
            group.bind(self.held[part], self.home(access.base), _start(access))
        if value in self.only_held:
            self.only_held.add(part)
        else:
            access = self.dense(value, layer)
            group.bind(part, self.home(access.base), _start(access))

    def _leave(self, value: Value, group: Group) -> tuple[Memory, tuple[Memory, int]]:
        """The local memory of what a group makes, and where all groups' is instead, with the bytes of a group's."""
        part = group.part[value]
        in_blocks = part in self.held
        made = self.held[part] if in_blocks else part
        access = self.accesses.get(made) or Access.whole(made)
        local = self.memory[access.base]
        assert local.kind == "local" and local.nbytes == made.spec.nbytes, f"%{value.name} is not a run's own"
        return local, (self.home(self.hold(value) if in_blocks else value), local.nbytes)

    def _gathered(self, calls: Sequence[Call], group: Group) -> Call:
        """The depth-first call of ``calls``."""
        places, local = local_places(calls)
        self.places.update(places)
        layer = next((call.layer for call in calls if call.layer), "")
        return depth_first(calls, group.images, group.groups, group.chunks, local, layer)


def _start(access: Access) -> int:
    return access.offset * np.dtype(access.base.dtype).itemsize
