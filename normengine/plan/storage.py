"""Where values are while a plan is made: in memory of their own or in another's, as the graph has them or in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..graph import Node, Spec, Value
from ..kernels import REGISTRY, Problem
from ..kernels.blocks import blocked_shape
from .access import Access, dense_strides
from .blocked import blocked_strides, repeats, rows_of_images
from .groups import Group
from .loops import Loop, elementwise_call
from .plan import Call, Memory, Pointer


class Storage(ABC):
    """The places of values, and the calls that bring them elsewhere.

    An activation is held as the graph has it, in blocks of ``width`` channels, or both: ``held`` maps it to the value
    that stands for its blocks, ``only_held`` has those that are nowhere else.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.calls: list[Call] = []
        self.accesses: dict[Value, Access] = {}
        self.memory: dict[Value, Memory] = {}
        self.held: dict[Value, Value] = {}
        self.only_held: set[Value] = set()
        self.repeated: dict[tuple[Value, int, int, int], Access] = {}
        self.group: Group | None = None

    def calls_for(self, made: Value) -> list[Call]:
        """Where a call goes that makes ``made``: what a segment's groups share is made before the segment."""
        return self.calls if self.group is None or made in self.group.known else self.group.outer

    def like(self, value: Value, made: Value) -> Value:
        """``made``, which holds the elements of ``value``: if that is one of a group, it is too."""
        if self.group is not None and value in self.group.known:
            self.group.known.add(made)
        return made

    @abstractmethod
    def kernel(self, problem: Problem, inputs: Sequence[Value], outputs: Sequence[Value], layer: str) -> None:
        """Append the call of the kernel that is best for ``problem``."""

    def access(self, value: Value, layer: str = "") -> Access:
        """Where ``value`` is as the graph has it, put there first if it is only held in blocks."""
        if value in self.only_held:
            self.only_held.discard(value)
            blocks = Access.whole(self.held[value])
            if self._same_memory(value):
                blocks = self.access(blocks.base)
                self.accesses[value] = Access(blocks.base, value.shape, blocks.offset, dense_strides(value.shape))
            else:
                problem = Problem("from_blocked", (value.shape,), (value.shape,), {}, dtype=value.dtype)
                self.kernel(problem, [value], [value], layer)
        return self.accesses.get(value) or Access.whole(value)

    def in_blocks(self, value: Value, layer: str) -> Access:
        """Where ``value`` ``(N, C, H, W)`` is in blocks of channels, put there first if it is not."""
        if value not in self.held:
            source = self.dense(value, layer)
            shadow = self.hold(value)
            self.only_held.discard(value)
            if self._same_memory(value):
                self.accesses[shadow] = Access(source.base, shadow.shape, source.offset, dense_strides(shadow.shape))
            else:
                problem = Problem("to_blocked", (value.shape,), (value.shape,), {}, dtype=value.dtype)
                self.kernel(problem, [value], [value], layer)
        return self.access(self.held[value])

    def hold(self, value: Value) -> Value:
        """The value that stands for ``value`` in blocks, which are about to be written."""
        if value in self.held:
            return self.held[value]
        spec = Spec(blocked_shape(value.shape, self.width), value.dtype)
        self.only_held.add(value)
        self.held[value] = self.like(value, Value(value.name, spec))
        return self.held[value]

    def _same_memory(self, value: Value) -> bool:
        return value.shape[1] % self.width == 0 and value.shape[2:] == (1, 1)

    def home(self, value: Value) -> Memory:
        if value not in self.memory:
            local = self.group is not None and value in self.group.known
            self.memory[value] = Memory("local" if local else "arena", value.spec.nbytes)
        return self.memory[value]

    def pointer(self, access: Access) -> Pointer:
        offset = access.offset * np.dtype(access.base.dtype).itemsize
        if self.group is not None and access.base in self.group.bound:
            memory, start, step = self.group.bound[access.base]
            return Pointer(memory, start + offset, group_stride=step)
        return Pointer(self.home(access.base), offset)

    def dense(self, value: Value, layer: str) -> Access:
        """Where ``value`` lies in row-major order, copied there first if it is a view that does not."""
        access = self.access(value, layer)
        if not access.dense:
            copy = self.like(value, Value(value.name, value.spec))
            self.copy(access, Access.whole(copy), layer)
            access = self.accesses[value] = Access.whole(copy)
        return access

    def copy(self, source: Access, target: Access, layer: str) -> None:
        """Copy elements one by one; the source may be a broadcast."""
        value = source.base
        view = Value(value.name, replace(value.spec, shape=target.shape))
        made = Value(value.name, view.spec)
        node = Node("expand", (view,), (made,), {"shape": target.shape}, layer)
        loop = Loop(target.shape)
        source = source.broadcast(target.shape)
        tries = self.home(target.base).kind == "feed" and view.dtype == "float32"
        call = elementwise_call([node], {view: source}, {made: target}, {}, self.pointer, layer, loop, tries=tries)
        self.calls_for(target.base).append(call._replace(kind="reorders", flops=0))

    def partial_sums(self, shape: tuple[int, ...], walked: Sequence[Access]) -> Access:
        """Memory for what a loop over an activation of ``shape`` sums up in each of its rows."""
        whole = blocked_shape(shape, self.width)
        n, blocks, *_, width = whole
        rows = rows_of_images(whole, [a.strides for a in walked])
        value = Value("sums", Spec((n, blocks, rows, width)))
        if self.group is not None:
            self.group.sums[value] = self.group.whole(value)
            self.group.bind(value, self.home(self.group.sums[value]))
        return Access(value, whole, 0, (blocks * rows * width, rows * width, width if rows > 1 else 0, 0, 1))

    def add_up(self, partial: Access, result: Value, layer: str) -> None:
        """Sums of rows to the sum of each channel; those of all groups, after a segment."""
        if self.group is not None:
            whole = Access.whole(self.group.sums[partial.base])
            self.group.after.append(lambda: self.add_up(whole, result, layer))
            return
        _, blocks, _, width = partial.base.shape
        made = Value(result.name, Spec((blocks, width)))
        problem = Problem("reduce_sum", (partial.base.shape,), (made.shape,), {"axes": (0, 2), "keepdims": False})
        self.kernel(problem, [partial.base], [made], layer)
        self.accesses[result] = Access(made, result.shape, 0, dense_strides(result.shape))

    def lane_flags(self, shape: tuple[int, ...]) -> Access | None:
        """For each lane of a block whether it holds a channel, if there are any that do not."""
        n, blocks, h, w, width = blocked_shape(shape, self.width)
        if shape[1] % width == 0:
            return None
        times = repeats(shape, width)
        flags = np.arange(blocks * width).reshape(blocks, 1, width) < shape[1]
        array = np.ascontiguousarray(np.broadcast_to(flags, (blocks, times, width)))
        value = Value("lanes", Spec.of(array))
        self.memory[value] = Memory("constant", array.nbytes, array=array)
        return Access(value, (n, blocks, h, w, width), 0, (0, times * width, 0, 0, 1), repeated=True)

    def walked_in_blocks(self, value: Value, shape: tuple[int, ...], layer: str) -> Access:
        """``value`` as a loop over an activation of ``shape`` in blocks walks it."""
        if value.shape == shape:
            return self.in_blocks(value, layer)
        blocks = blocked_shape(shape, self.width)
        lifted = (1,) * (4 - len(value.shape)) + value.shape
        plain = self.access(value, layer)
        n, c, h, w = plain.broadcast(shape).strides
        if c == 0:
            return Access(plain.base, blocks, plain.offset, blocked_strides((n, c, h, w), self.width))
        if h == w == 0:
            times = repeats(shape, self.width)
            repeated = self._repeat(value, lifted[0], times, layer)
            row, block = repeated.strides[:2]
            return Access(repeated.base, blocks, 0, (row if n else 0, block, 0, 0, 1), repeated=True)
        dense = self.dense(value, layer)
        whole = self.like(value, Value(value.name, replace(value.spec, shape=lifted)))
        self.accesses[whole] = Access(dense.base, lifted, dense.offset, dense_strides(lifted))
        return self.in_blocks(whole, layer).broadcast(blocks)

    def _repeat(self, value: Value, rows: int, times: int, layer: str) -> Access:
        """Values of channels, of each image or of all, repeated for the pixels that a loop takes together."""
        dense = self.dense(value, layer)
        key = dense.base, dense.offset, rows, times
        if key not in self.repeated:
            channels = value.spec.size // rows
            given = self.like(value, Value(value.name, replace(value.spec, shape=(rows, channels))))
            self.accesses[given] = Access(dense.base, given.shape, dense.offset, dense_strides(given.shape))
            shape = (rows, -(-channels // self.width), times, self.width)
            made = self.like(value, Value(value.name, replace(value.spec, shape=shape)))
            problem = Problem("repeat_channels", (given.shape,), (shape,), {}, dtype=given.dtype)
            self.kernel(problem, [given], [made], layer)
            self.repeated[key] = Access.whole(made)
        return self.repeated[key]


def block_width(isas: Sequence[str], dtype: str = "float32") -> int:
    """Channels of a block: those of the best instruction set in use whose kernels of the dtype take blocks, or 0."""
    rows = [k for rows in REGISTRY.kernels.values() for k in rows if k.blocked and k.dtype == dtype]
    kernels = [k for k in rows if k.isa in isas]
    return max(kernels, key=lambda k: isas.index(k.isa)).width if kernels else 0
