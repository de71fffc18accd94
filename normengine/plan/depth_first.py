"""Depth-first scheduling: nodes that treat the images of a batch one by one are run for a few images, all of them,
before the next images come, so that what one node makes is in the cache when the next one reads it.

Here the nodes of a graph are put into segments of that kind, and into an order in which these are long. A node that
sums over the batch belongs to the segment that makes what it sums; whoever reads the sum begins another. What a cheap
loop made in an earlier segment from a single array is computed again in a later one (rematerialized), which then reads
that array, there as it is, and not the loop's result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from ..graph import Graph, Node, Value
from ..ops import OPS
from ..passes.rematerialize import is_cheap, operands_of, steps_to


class Segment(NamedTuple):
    """Nodes in their order; with ``images`` they treat images one by one."""

    nodes: tuple[Node, ...]
    images: bool


Joins = Callable[[Sequence[Node], Node], bool]
"""Whether a node may go depth first together with the given ones."""


def in_segments(graph: Graph, batch: int, joins: Joins) -> list[Segment]:
    """The nodes of ``graph``, as ``fuse`` made them, in segments; ``batch`` is the extent of axis 0 of the images."""
    segments = _Segments(graph, batch)
    for node in graph.nodes:
        segments.take(node, joins)
    segments.close()
    return segments.done


def image_positions(node: Node, batch: int) -> tuple[int, ...]:
    """Which inputs of ``node`` go with its images, the others being the same for all; none where it does not treat
    images one by one, and of views that cost nothing where they are of all images."""
    positions = _samples(node)
    values = (*(node.inputs[i] for i in positions), *image_outputs(node))
    return positions if all(len(v.shape) == 4 and v.shape[0] == batch for v in values) else ()


def image_inputs(node: Node, batch: int) -> tuple[Value, ...]:
    """The inputs of ``node`` that go with its images."""
    return tuple(node.inputs[i] for i in image_positions(node, batch))


def image_outputs(node: Node) -> tuple[Value, ...]:
    """The results of ``node`` that are images, not sums over them."""
    if sums_images(node):
        return ()
    summed = {v for n in node.attrs.get("sums", ()) if 0 in n.attrs["axes"] for v in n.outputs}
    return tuple(v for v in node.outputs if v not in summed)


def sums_images(node: Node) -> bool:
    """Whether the results of ``node`` are sums over the batch."""
    return node.op in OPS and OPS[node.op].sums_samples


def _samples(node: Node) -> tuple[int, ...]:
    if node.op not in OPS:
        return _chain_samples(node)
    op = OPS[node.op]
    if op.view is not None and op.taken is None:
        return ()
    if op.together is not None:
        return (0,)
    return () if op.samples is None else op.samples(node)


def images_together(node: Node) -> int:
    """How many neighbouring images a group must have all of, or none."""
    together = OPS[node.op].together if node.op in OPS else None
    return 1 if together is None else together(node)


def _chain_samples(node: Node) -> tuple[int, ...]:
    shape = node.attrs["nodes"][0].outputs[0].shape
    same = (len(v.shape) == len(shape) and v.shape[:1] == shape[:1] for v in node.inputs)
    return tuple(i for i, is_image in enumerate(same) if is_image)


class _Segments:
    """The segment under way, and what waits for its end."""

    def __init__(self, graph: Graph, batch: int) -> None:
        self.batch = batch
        self.done: list[Segment] = []
        self.segment: list[Node] = []
        self.waiting: list[Node] = []
        self.made: set[Value] = set()
        self.unknown: set[Value] = set()
        self.maker = graph.producers()
        self.stored = {new for _, new in graph.updates}

    def take(self, node: Node, joins: Joins) -> None:
        """The next node, in an order in which all could run."""
        images = image_positions(node, self.batch)
        if not images or not self.stored.isdisjoint(node.outputs) or not joins((), node):
            self._outside(node)
            return
        shared = {v for i, v in enumerate(node.inputs) if i not in images}
        if (
            not self.unknown.isdisjoint(node.inputs)
            or not self.made.isdisjoint(shared)
            or not joins(self.segment, node)
        ):
            self.close()
        node = self._with_copies(node, images)
        self.segment.append(node)
        self.made.update(image_outputs(node))
        self.unknown.update(v for v in node.outputs if v not in self.made)

    def close(self) -> None:
        """The end of the segment: all that it makes is known."""
        if self.segment:
            self.done.append(Segment(tuple(self.segment), True))
        self.done += [Segment((node,), False) for node in self.waiting]
        self.segment, self.waiting = [], []
        self.made, self.unknown = set(), set()

    def _outside(self, node: Node) -> None:
        """A node that is no part of a segment comes before the one under way, or after it where it needs its results or
        makes nothing but new state, which waits until the step is known to be good."""
        late = bool(node.outputs) and self.stored.issuperset(node.outputs)
        if self.segment and (late or any(v in self.made or v in self.unknown for v in node.inputs)):
            self.waiting.append(node)
            self.unknown.update(node.outputs)
        else:
            self.done.append(Segment((node,), False))

    def _with_copies(self, node: Node, images: Sequence[int]) -> Node:
        """``node``, reading copies of what earlier segments made where a loop makes them again from one array."""
        if node.op == "chain":
            return node
        inputs = list(node.inputs)
        for i in images:
            if inputs[i] not in self.made and (copy := self._copied(inputs[i])) is not None:
                inputs[i] = copy
        return replace(node, inputs=tuple(inputs))

    def _copied(self, value: Value) -> Value | None:
        chain = self.maker.get(value)
        if chain is None or chain.op != "chain":
            return None
        steps = steps_to(value, chain.attrs["nodes"])
        if not steps or not all(map(is_cheap, steps)):
            return None
        inputs = operands_of(steps)
        large = [v for v in inputs if v.shape == value.shape]
        if len(large) != 1 or not self._kept(large[0]) or not self.unknown.isdisjoint(inputs):
            return None
        copy = Value(value.name, value.spec)
        last = replace(steps[-1], outputs=(copy,))
        attrs = MappingProxyType({"nodes": (*steps[:-1], last)})
        self.segment.append(Node("chain", tuple(inputs), (copy,), attrs, chain.layer))
        self.made.add(copy)
        return copy

    def _kept(self, value: Value) -> bool:
        """Whether an array is there as long as anyone reads it: no loop makes it again."""
        return value not in self.maker or self.maker[value].op != "chain"
