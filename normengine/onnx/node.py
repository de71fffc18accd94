"""One node of an ONNX graph, and the one kind of error that reading a file raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..graph import MAX_RANK


class OnnxError(ValueError):
    """A file cannot be read or a network cannot be written; the message names the file, the node and the reason."""


class UnknownInputError(OnnxError):
    """What the network is depends on the values of its inputs ``names``, which are not known."""

    def __init__(self, message: str, names: Iterable[str]) -> None:
        super().__init__(message)
        self.names = frozenset(names)


class Body(NamedTuple):
    """A graph that takes the place of a node: a branch, or what an operator is made of.

    ``inputs`` are its own names of the node's inputs in their order (of a branch: of what it reads from around it),
    ``opset`` is the version of the operators in it, None for that of the file.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    weights: Mapping[str, np.ndarray]
    opset: int | None = None


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """``label`` is the node's name, or its first output's where it has none; absent inputs are empty strings.

    The last ``captured`` of the inputs are what graphs in its attributes read from around them.
    """

    op_type: str
    label: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    captured: int = 0

    @property
    def own_inputs(self) -> tuple[str, ...]:
        """The inputs that the operator has by itself."""
        return self.inputs[: len(self.inputs) - self.captured]

    def __str__(self) -> str:
        return f"{self.op_type} '{self.label}'"

    def integer(self, name: str, default: int | None = None) -> int:
        """The attribute, an integer; ``default`` where the file leaves it out."""
        return int(self._get(name, int, "an integer", default))

    def number(self, name: str, default: float | None = None) -> float:
        """The attribute, a number; ``default`` where the file leaves it out."""
        return float(self._get(name, float, "a number", default))

    def text(self, name: str, default: str | None = None) -> str:
        """The attribute, a text; ``default`` where the file leaves it out."""
        return str(self._get(name, str, "a string", default))

    def integers(self, name: str, default: tuple[int, ...] | None = None, most: int = 2 * MAX_RANK) -> tuple[int, ...]:
        """A list that says something of each axis: at most two numbers for it, if ``most`` is not given."""
        found = self._get(name, tuple, "a list of integers", default)
        if len(found) > most:
            raise OnnxError(f"attribute '{name}' must have at most {most} integers, got {len(found)}")
        if not all(type(n) is int for n in found):
            raise OnnxError(f"attribute '{name}' must be a list of integers, got {found}")
        return tuple(found)

    def numbers(self, name: str, most: int = 2 * MAX_RANK) -> tuple[float, ...]:
        """A list of numbers that says something of each axis: at most two for it, if ``most`` is not given."""
        found = self._get(name, tuple, "a list of numbers", None)
        if len(found) > most or not all(type(n) in (int, float) for n in found):
            raise OnnxError(f"attribute '{name}' must be a list of at most {most} numbers, got {str(found)[:80]}")
        return tuple(map(float, found))

    def tensor(self, name: str) -> np.ndarray:
        """The attribute, an array."""
        found: np.ndarray = self._get(name, np.ndarray, "a tensor", None)
        return found

    def body(self, name: str) -> Body:
        """The attribute, a graph."""
        found: Body = self._get(name, Body, "a graph", None)
        return found

    def _get(self, name: str, kind: type, words: str, default: object) -> Any:
        found = self.attributes.get(name, default)
        if found is None:
            raise OnnxError(f"attribute '{name}' is missing")
        if not isinstance(found, kind):
            raise OnnxError(f"attribute '{name}' must be {words}, got {str(found)[:80]}")
        return found
