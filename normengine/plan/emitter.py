"""Appends calls to a plan: kernels chosen for problems, and whatever brings their inputs where they want them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ..graph import Node, Value
from ..kernels import REGISTRY, Kernel, Problem
from ..kernels.machine import TrafficCosts
from .access import Access, dense_strides
from .arguments import Accumulate, Argument, Memory, Pointer
from .call import Call, KernelCall, Work
from .groups import Group
from .kernel_calls import in_group, kernel_call, packing_call, problem_of
from .loops import Loop, elementwise_call
from .placement import Placement
from .small_calls import SMALL_BYTES, is_small

Given = Mapping[str, Value | None]
LayoutCost = Callable[[Kernel], float]


class Choice(NamedTuple):
    """What kernels are chosen from: the instruction sets in use and, by operator, the algorithm that the user wants."""

    isas: Sequence[str]
    preferred: Mapping[str, str]


class Emitter:
    """Appends to ``calls``, and to ``setup`` what is done once before the first run.

    That of a ``group`` of images appends what is done for each group; what is the same for all of them goes to the
    emitter ``outside``.
    """

    def __init__(self, placement: Placement, choice: Choice) -> None:
        self.placement = placement
        self.choice = choice
        self.calls: list[Call] = []
        self.setup: list[KernelCall] = []
        self.group: Group | None = None
        self.outside = self

    def for_group(self, group: Group) -> Emitter:
        inside = Emitter(self.placement, self.choice)
        inside.setup, inside.group, inside.outside = self.setup, group, self
        return inside

    def append(self, made: Value, call: KernelCall) -> None:
        """Append the call that makes ``made``."""
        (self if made in self.placement.local else self.outside).calls.append(call)

    # Kernels.

    def node(self, node: Node) -> None:
        """The kernel that is best for ``node``."""
        self.kernel(problem_of(node), node.inputs, node.outputs, node.layer)

    def kernel(self, problem: Problem, inputs: Sequence[Value], outputs: Sequence[Value], layer: str) -> None:
        """The kernel that is best for ``problem``."""
        placement, signature = self.placement, REGISTRY.signatures[problem.op]
        given: Given = dict(zip(signature.inputs, signature.arranged(inputs, problem.attrs), strict=True))
        group = self.group if placement.local.issuperset(outputs) else None
        asked = self._whole(problem, given, outputs, group)
        layout_cost = self._layout_cost(asked, given, group)
        kernel = REGISTRY.choose(asked, self.choice.isas, layout_cost, self.choice.preferred)
        problem = problem._replace(single_thread=group is not None)
        launch = kernel.launch(problem)
        pointers: dict[str, Argument] = {name: self._read(kernel, name, v, layer) for name, v in given.items()}
        for name, v in zip(signature.outputs, outputs, strict=True):
            pointers[name] = Pointer(placement.home(placement.hold(v) if name in kernel.blocked else v))
        packed = self._packs_once(kernel, given)
        scratch = "packed" if packed else "local" if group and not kernel.packs else "scratch"
        nbytes = sum(v.spec.nbytes for v in (*given.values(), *outputs) if v is not None)
        work = self._work(asked, layout_cost, nbytes)
        call = kernel_call(kernel, problem, launch, pointers, Memory(scratch, launch.scratch), layer, work)
        once = self.setup if packed else self.outside.calls if group and kernel.packs else None
        if once is not None:
            once.append(packing_call(call, kernel, is_small(asked)))
            call = call._replace(stages=call.stages[1:])
        self.append(outputs[0], in_group(call) if group else call)

    def sum_over_groups(self, node: Node) -> None:
        """A sum over the batch: a call for each group, and one behind the segment that adds up those of all chunks."""
        group, signature = self.group, REGISTRY.signatures[node.op]
        assert group is not None
        problem = problem_of(node)._replace(single_thread=True)
        given: Given = dict(zip(signature.inputs, node.inputs, strict=True))
        asked = self._whole(problem, given, (), group)
        layout_cost = self._layout_cost(asked, given, group)
        rows = REGISTRY.supporting(asked, self.choice.isas, self.choice.preferred)
        kernel = min((k for k in rows if k.partial_sums), key=lambda k: k.cost(asked) + layout_cost(k))
        assert kernel.partial_sums is not None
        first, last = kernel.partial_sums.group(problem), kernel.partial_sums.merge(problem, group.chunks)
        sums = Memory("scratch", first.scratch * group.chunks)
        read: dict[str, Argument] = {name: self._read(kernel, name, v, node.layer) for name, v in given.items()}
        made: dict[str, Argument] = dict.fromkeys(signature.outputs)
        work = self._work(asked, layout_cost, sum(v.spec.nbytes for v in node.inputs))
        call = kernel_call(kernel, problem, first, {**read, **made}, sums, node.layer, work)
        slots = list(call.arguments)
        slots[call.workspace_slot - 1] = Pointer(sums, chunk_stride=first.scratch)
        slots[first.slot(signature, "accumulate")] = Accumulate()
        self.calls.append(in_group(call._replace(stages=call.stages[:1], arguments=tuple(slots))))

        def add_up() -> None:
            home = self.placement.home
            result = {name: Pointer(home(v)) for name, v in zip(signature.outputs, node.outputs, strict=True)}
            merge = kernel_call(kernel, problem, last, {**dict.fromkeys(read), **result}, sums, node.layer, work)
            stages, small = ((kernel.stages[1], last.tasks[0]),), sums.nbytes <= SMALL_BYTES
            effort = merge.work._replace(flops=0, nbytes=sums.nbytes)
            self.outside.calls.append(merge._replace(stages=stages, small=small, work=effort))

        group.after.append(add_up)

    def _work(self, asked: Problem, layout_cost: LayoutCost, nbytes: int) -> Work:
        why = partial(REGISTRY.explain, asked, self.choice.isas, layout_cost, self.choice.preferred)
        return Work(why, "", nbytes=nbytes)

    def _read(self, kernel: Kernel, name: str, value: Value | None, layer: str) -> Argument:
        if value is None:
            return None
        return self.placement.pointer((self.in_blocks if name in kernel.blocked else self.dense)(value, layer))

    def _packs_once(self, kernel: Kernel, given: Given) -> bool:
        """Whether all that the kernel packs is constant."""
        packed = [value for name in kernel.packs if (value := given[name]) is not None]
        return bool(packed) and all(map(self.placement.is_constant, packed))

    def _whole(self, problem: Problem, given: Given, outputs: Sequence[Value], group: Group | None) -> Problem:
        """The problem for all images, by which a kernel is chosen: what it does once it does for all groups."""
        if group is None:
            return problem
        inputs = tuple(None if v is None else self._whole_shape(v, group) for v in given.values())
        made = tuple(self._whole_shape(v, group) for v in outputs) or problem.outputs
        return problem._replace(inputs=inputs, outputs=made, single_thread=False)

    def _whole_shape(self, value: Value, group: Group) -> tuple[int, ...]:
        return group.whole(value).shape if value in self.placement.local else value.shape

    def _layout_cost(self, problem: Problem, given: Given, group: Group | None) -> LayoutCost:
        """What it costs a kernel to bring the inputs, where they are now, into the memory that it wants them in, less
        the packing that is done once."""
        placement, times = self.placement, 1 if group is None else group.groups
        sizes = {name: (v, times * v.spec.size) for name, v in given.items() if v is not None}
        to_blocks = {name: size for name, (v, size) in sizes.items() if v not in placement.held}
        to_plain = {name: size for name, (v, size) in sizes.items() if v in placement.only_held}

        def layout_cost(kernel: Kernel) -> float:
            if kernel.blocked and kernel.width != placement.width:
                return math.inf
            wrong = ((to_blocks if name in kernel.blocked else to_plain).get(name, 0) for name in given)
            once = kernel.packing_cost(problem) if self._packs_once(kernel, given) else 0.0
            return 2 * TrafficCosts.value * sum(wrong) - once

        return layout_cost

    # Values brought elsewhere.

    def access(self, value: Value, layer: str = "") -> Access:
        """Where ``value`` is as the graph has it, put there first if it is only held in blocks."""
        placement = self.placement
        if value in placement.only_held:
            placement.only_held.discard(value)
            blocks = Access.whole(placement.held[value])
            if placement.same_in_blocks(value):
                blocks = self.access(blocks.base)
                strides = dense_strides(value.shape)
                placement.accesses[value] = Access(blocks.base, value.shape, blocks.offset, strides)
            else:
                problem = Problem("from_blocked", (value.shape,), (value.shape,), {}, dtype=value.dtype)
                self.kernel(problem, [value], [value], layer)
        return placement.accesses.get(value) or Access.whole(value)

    def in_blocks(self, value: Value, layer: str) -> Access:
        """Where ``value`` ``(N, C, H, W)`` is in blocks of channels, put there first if it is not."""
        placement = self.placement
        if value not in placement.held:
            source = self.dense(value, layer)
            shadow = placement.hold(value)
            placement.only_held.discard(value)
            if placement.same_in_blocks(value):
                strides = dense_strides(shadow.shape)
                placement.accesses[shadow] = Access(source.base, shadow.shape, source.offset, strides)
            else:
                problem = Problem("to_blocked", (value.shape,), (value.shape,), {}, dtype=value.dtype)
                self.kernel(problem, [value], [value], layer)
        return self.access(placement.held[value])

    def dense(self, value: Value, layer: str) -> Access:
        """Where ``value`` lies in row-major order, copied there first if it is a view that does not."""
        access = self.access(value, layer)
        if not access.dense:
            copy = self.placement.like(value, Value(value.name, value.spec))
            self.copy(access, Access.whole(copy), layer)
            access = self.placement.accesses[value] = Access.whole(copy)
        return access

    def copy(self, source: Access, target: Access, layer: str) -> None:
        """Copy elements one by one; the source may be a broadcast."""
        placement, value = self.placement, source.base
        view = Value(value.name, replace(value.spec, shape=target.shape))
        made = Value(value.name, view.spec)
        node = Node("expand", (view,), (made,), {"shape": target.shape}, layer)
        source = source.broadcast(target.shape)
        tries = placement.home(target.base).kind == "feed" and view.dtype == "float32"
        where = {view: source}, {made: target}
        call = elementwise_call([node], *where, {}, placement.pointer, layer, Loop(target.shape), tries=tries)
        self.append(target.base, call._replace(work=call.work._replace(kind="reorders", flops=0)))


def block_width(isas: Sequence[str], dtype: str = "float32") -> int:
    """Channels of a block: those of the best instruction set in use whose kernels of the dtype take blocks, or 0."""
    rows = [k for rows in REGISTRY.kernels.values() for k in rows if k.blocked and k.dtype == dtype]
    kernels = [k for k in rows if k.isa in isas]
    return max(kernels, key=lambda k: isas.index(k.isa)).width if kernels else 0
