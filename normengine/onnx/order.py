"""Topological order: each name made once, each node behind those that it reads from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .node import OnnxError, OnnxNode


def in_order(nodes: Sequence[OnnxNode], given: Iterable[str]) -> Sequence[OnnxNode]:
    """``nodes`` in an order in which they can run, their own where it is one; ``given`` are the names that no node
    makes.

    Raises :class:`OnnxError` where a name is made twice or never, and where nodes wait for each other.
    """
    ready = {"", *given}
    made: set[str] = set()
    ordered = True
    for node in nodes:
        ordered = ordered and ready.issuperset(node.inputs)
        for name in node.outputs:
            if name in ready and name:
                raise OnnxError(f"{node} makes '{name}', which exists already")
            made.add(name)
            ready.add(name)
    if ordered:
        return nodes
    for node in nodes:
        if not ready.issuperset(node.inputs):
            name = next(name for name in node.inputs if name not in ready)
            raise OnnxError(f"{node} reads '{name}', which nothing before it makes")
    return _sorted(nodes, made)


def _sorted(nodes: Sequence[OnnxNode], made: set[str]) -> list[OnnxNode]:
    """Kahn's algorithm: a node follows when the last of what it reads has been made."""
    made.discard("")
    missing = [len(made.intersection(node.inputs)) for node in nodes]
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in made.intersection(node.inputs):
            readers.setdefault(name, []).append(i)
    order = [i for i, count in enumerate(missing) if count == 0]
    for i in order:  # grows while it is read
        for name in nodes[i].outputs:
            for reader in readers.get(name, ()):
                missing[reader] -= 1
                if missing[reader] == 0:
                    order.append(reader)
    if len(order) < len(nodes):
        first = next(node for node, count in zip(nodes, missing, strict=True) if count)
        raise OnnxError(f"{first} reads what is only made from its own outputs: the graph has a cycle")
    return [nodes[i] for i in order]


def needed(nodes: Sequence[OnnxNode], outputs: Iterable[str]) -> list[OnnxNode]:
    """The nodes, in their order, that one of the outputs needs."""
    wanted = set(outputs)
    kept: list[OnnxNode] = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(filter(None, node.inputs))
            kept.append(node)
    return kept[::-1]
