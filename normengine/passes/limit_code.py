"""A bound on generated code: what is compiled for one program has a limit, beyond which chains become loops of one node
each, which share code.

Chains of the same code are compiled once, so networks of layers that are alike have far less than the bound. A graph
whose loops are all different, which no network is, runs slower instead of keeping a compiler busy for minutes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from types import MappingProxyType

from ..graph import Graph, Node, Value, check
from .fuse import operations

MAX_CODE = 4096
"""Operations, as ``fuse`` counts them, of all chains that differ."""
MAX_FUNCTIONS = 512
"""Chains that differ, those of one node too: each is a function to compile, in tenths of a second. Ordinary networks
have some tens."""


def limit_code(graph: Graph) -> Graph:
    """``graph``, as ``fuse`` made it, with chains taken apart that would be more code than ``MAX_CODE``.

    Raises ValueError where there would be more than ``MAX_FUNCTIONS`` all the same.
    """
    left = MAX_CODE
    known: set[Hashable] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op != "chain" or (code := _code(node)) in known:
            nodes.append(node)
        elif (size := operations(node.attrs["nodes"])) <= left:
            left -= size
            known.add(code)
            nodes.append(node)
        else:
            nodes += _apart(node)
    functions = len({_code(node) for node in nodes if node.op == "chain"})
    if functions > MAX_FUNCTIONS:
        raise ValueError(
            f"elementwise operators need {functions} functions that differ in operators, axes or strides, more than "
            f"the {MAX_FUNCTIONS} that are compiled; split it into several networks"
        )
    return graph if len(nodes) == len(graph.nodes) else check(replace(graph, nodes=tuple(nodes)))


def _code(chain: Node) -> Hashable:
    """What chains of the same code have in common: operators, what they read, and along which axes that varies."""
    place: dict[Value, int] = {}
    shape = chain.attrs["nodes"][0].outputs[0].shape
    operands = [(v.dtype, len(v.shape), *_varies(v, shape)) for v in chain.inputs]
    for value in chain.inputs:
        place[value] = len(place)
    steps = []
    for node in chain.attrs["nodes"]:
        steps.append((node.op, tuple(place[v] for v in node.inputs)))
        place[node.outputs[0]] = len(place)
    sums = tuple(place[n.inputs[0]] for n in chain.attrs.get("sums", ()))
    return len(shape), *operands, *steps, tuple(place.get(v) for v in chain.outputs), sums


def _varies(value: Value, shape: tuple[int, ...]) -> Iterator[bool]:
    return (n == m for n, m in zip(reversed(value.shape), reversed(shape), strict=False))


def _apart(chain: Node) -> Iterator[Node]:
    for node in chain.attrs["nodes"]:
        attrs = MappingProxyType({"nodes": (node,)})
        yield Node("chain", tuple(dict.fromkeys(node.inputs)), node.outputs, attrs, chain.layer)
    yield from chain.attrs.get("sums", ())
