"""The interface of a trace: what it offers to the tensors, parameters and modules that take part in it. Those that
call it need not know how it records (see :mod:`.tracer`)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy as np

from ..ops import OperatorError

T = TypeVar("T")


class BufferOwner(Protocol):
    """A module, as one that has buffers."""

    _buffers: dict[str, np.ndarray | None]
    _non_persistent: set[str]

    def _become_buffer(self, name: str, array: np.ndarray) -> None:
        """What ``forward`` assigned under that name is a buffer from now on, in ``array``."""


class Recorder(Protocol[T]):
    """A trace under way, whose tensors are ``T``: each method adds to the graph what its result needs."""

    looked: bool
    """Whether somebody read values, so that the trace holds for this run alone."""
    gradients: bool
    """Whether gradients flow through what is added now."""
    grad_enabled: bool
    """What the user said last of gradients."""

    def add(self, op: str, *inputs: T, **attrs: Any) -> T:
        """The one output of a new node."""

    def add_multi(self, op: str, *inputs: T, **attrs: object) -> tuple[T, ...]:
        """All outputs of a new node."""

    def detached(self, tensor: T) -> T:
        """The same values, through which no gradient flows."""

    def error(self, message: str) -> OperatorError:
        """The error to raise for ``message``, the layer at work before it."""

    def inside(self, module: object) -> AbstractContextManager[None]:
        """Nodes added inside belong to ``module``."""

    def tensor(self, x: object) -> T:
        """What a user hands in, a parameter, a number or an array, as a tensor."""

    def operand(self, x: object) -> T | None:
        """``x`` as a float32 side of arithmetic, None if it cannot be one."""

    def real(self, x: object) -> T:
        """``x`` as a tensor, constants and buffers of integers converted to float32."""

    def integer(self, number: int) -> T:
        """A whole number as an int64 tensor."""

    def array(self, array: np.ndarray) -> T:
        """An array that is part of a formula."""

    def constant(self, number: float) -> T:
        """A number that is part of a formula."""

    def buffer(self, module: BufferOwner, key: str) -> T | None:
        """The newest value of a module's buffer, None where the module has None."""

    def derive(self, module: BufferOwner, key: str, tensor: T) -> T:
        """``tensor``, noted as what a module's attribute is computed to be."""

    def bind(self, name: str, array: np.ndarray) -> None:
        """Make ``array`` state, so that updates change it in place."""

    def update(self, buffer: T, new: T) -> None:
        """Store ``new`` in ``buffer`` when the graph has run."""

    def assign(self, module: BufferOwner, name: str, tensor: T) -> None:
        """``tensor`` becomes what ``module`` has under ``name``, which each run writes."""

    def random(self) -> tuple[T, T, int]:
        """The seed and step of the run, and a number that nothing else random in this trace has."""

    def draw(self, op: str, shape: tuple[int, ...]) -> T:
        """``random_uniform`` or ``random_normal`` numbers of a shape."""

    def bernoulli(self, p: T) -> T:
        """1 with probability ``p``, else 0."""

    def computes(self, tensor: T) -> bool:
        """Whether a node makes the value, which is no input, state or constant then."""

    def values(self, tensor: T) -> np.ndarray | None:
        """What ``tensor`` holds in this run, None where that depends on the inputs."""
