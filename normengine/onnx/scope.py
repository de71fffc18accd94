"""Names while a file is read: from which of the network's inputs each comes, and those of a graph that is put in place
of a node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from ..graph import Value
from .node import Body, OnnxNode

MOST_DECIDING = 1024
"""Elements of an input of integers or truth values on which the network itself may depend."""

MOST_FLOATS = 16
"""As many of an input of other numbers, such as the limits of a clip or the scales of a resize."""


class Origins:
    """What each name is computed from; ``inputs`` are the values of the network's inputs that are not known."""

    def __init__(self) -> None:
        self.inputs: dict[str, Value] = {}
        self._read: dict[str, tuple[str, ...]] = {}

    def add(self, node: OnnxNode) -> None:
        """Remember what the node's outputs are computed from."""
        self._read.update(dict.fromkeys(node.outputs, node.inputs))

    def deciding(self, name: str, known: Collection[str], floats: int = MOST_FLOATS) -> set[str]:
        """The network's inputs that ``name`` is computed from beside what is ``known``, if they are integers or truth
        values and few, or no more than so many ``floats``; else nothing."""
        found: set[str] = set()
        left, seen = [name], {name}
        while left:
            at = left.pop()
            value = self.inputs.get(at)
            if value is not None:
                if value.spec.size > (floats if value.dtype == "float32" else MOST_DECIDING):
                    return set()
                found.add(at)
            fresh = [n for n in self._read.get(at, ()) if n and n not in known and n not in seen]
            seen.update(fresh)
            left += fresh
        return found


def names_within(node: OnnxNode, body: Body, arguments: Sequence[str]) -> dict[str, str]:
    """What the names of ``body`` are where it takes the place of ``node`` and its own inputs are ``arguments``."""
    own = inner_name(node)
    given = (*arguments, *[""] * (len(body.inputs) - len(arguments)))
    names = dict(zip(body.inputs, given, strict=True)) | {name: own(name) for name in body.weights}
    names.update((name, own(name)) for inner in body.nodes for name in inner.outputs)
    return names | {"": ""}


def inner_name(node: OnnxNode) -> Callable[[str], str]:
    """How names within a graph that takes the place of ``node`` are told from all others."""
    prefix = next(filter(None, node.outputs), node.label)
    return lambda name: f"{prefix} > {name}"


def renamed(node: OnnxNode, names: Mapping[str, str], around: str) -> OnnxNode:
    """The node with other names of what it reads and makes, as one within the node ``around``."""
    inputs = tuple(names.get(name, name) for name in node.inputs)
    outputs = tuple(names.get(name, name) for name in node.outputs)
    return replace(node, label=f"{around}/{node.label}", inputs=inputs, outputs=outputs)
