"""Kernels chosen and called: which one, its arguments, and what of its work is done once for all runs or groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ..graph import Graph, Node, Value
from ..kernels import REGISTRY, Kernel, Problem
from ..kernels.base import Launch
from ..kernels.machine import TrafficCosts
from .groups import Group
from .plan import Accumulate, Argument, Call, Memory, Pointer
from .reductions import describe
from .small_calls import SMALL_BYTES, flops, is_small, kind
from .storage import Storage

Given = Mapping[str, Value | None]
LayoutCost = Callable[[Kernel], float]


class Calls(Storage):
    """Appends calls of kernels to those of the plan; ``setup`` are those that run once. Kernels are those of
    ``isas`` and, by operator, of the algorithms that the user prefers."""

    def __init__(self, graph: Graph, width: int, isas: Sequence[str], preferred: Mapping[str, str]) -> None:
        super().__init__(width)
        self.graph = graph
        self.isas = isas
        self.preferred = preferred
        self.setup: list[Call] = []

    def problem(self, node: Node) -> Problem:
        inputs = REGISTRY.signatures[node.op].arranged([v.shape for v in node.inputs], node.attrs)
        return Problem(node.op, inputs, tuple(v.shape for v in node.outputs), node.attrs, dtype=node.outputs[0].dtype)

    def kernel(self, problem: Problem, inputs: Sequence[Value], outputs: Sequence[Value], layer: str) -> None:
        signature = REGISTRY.signatures[problem.op]
        given: Given = dict(zip(signature.inputs, signature.arranged(inputs, problem.attrs), strict=True))
        group = self.group if self.group is not None and self.group.known.issuperset(outputs) else None
        asked = self._whole(problem, given, outputs, group)
        layout_cost = self._layout_cost(asked, given, group)
        kernel = REGISTRY.choose(asked, self.isas, layout_cost, self.preferred)
        problem = problem._replace(single_thread=group is not None)
        launch = kernel.launch(problem)
        pointers: dict[str, Argument] = {name: self._read(kernel, name, v, layer) for name, v in given.items()}
        for name, v in zip(signature.outputs, outputs, strict=True):
            pointers[name] = Pointer(self.home(self.hold(v) if name in kernel.blocked else v))
        packed = self._packs_once(kernel, given)
        scratch = "packed" if packed else "local" if group and not kernel.packs else "scratch"
        call = self._call(kernel, problem, launch, pointers, Memory(scratch, launch.scratch), layer)._replace(
            why=partial(REGISTRY.explain, asked, self.isas, layout_cost, self.preferred),
            nbytes=sum(v.spec.nbytes for v in (*given.values(), *outputs) if v is not None),
        )
        once = self.setup if packed else group.outer if group and kernel.packs else None
        if once is not None:
            pack = call._replace(stages=call.stages[:1], arguments=_without_outputs(call, kernel), flops=0)
            pack = pack._replace(small=is_small(asked))
            once.append(pack)
            call = call._replace(stages=call.stages[1:])
        self.calls_for(outputs[0]).append(in_group(call) if group else call)

    def sum_over_groups(self, node: Node) -> None:
        """A sum over the batch: a call for each group, and one behind the run that adds up those of all chunks."""
        group = self.group
        assert group is not None
        problem = self.problem(node)._replace(single_thread=True)
        signature = REGISTRY.signatures[node.op]
        given: Given = dict(zip(signature.inputs, node.inputs, strict=True))
        asked = self._whole(problem, given, (), group)
        layout_cost = self._layout_cost(asked, given, group)
        rows = [k for k in REGISTRY.supporting(asked, self.isas, self.preferred) if k.partial_sums is not None]
        kernel = min(rows, key=lambda k: k.cost(asked) + layout_cost(k))
        assert kernel.partial_sums is not None
        first, last = kernel.partial_sums.group(problem), kernel.partial_sums.merge(problem, group.chunks)
        sums = Memory("scratch", first.scratch * group.chunks)
        read: dict[str, Argument] = {name: self._read(kernel, name, v, node.layer) for name, v in given.items()}
        made: dict[str, Argument] = dict.fromkeys(signature.outputs)
        call = self._call(kernel, problem, first, {**read, **made}, sums, node.layer)
        slots = list(call.arguments)
        slots[call.workspace_slot - 1] = Pointer(sums, chunk_stride=first.scratch)
        slots[first.slot(signature, "accumulate")] = Accumulate()
        why = partial(REGISTRY.explain, asked, self.isas, layout_cost, self.preferred)
        call = call._replace(
            stages=((kernel.stages[0], first.tasks[0]),),
            arguments=tuple(slots),
            why=why,
            nbytes=sum(v.spec.nbytes for v in node.inputs),
        )
        self.calls.append(in_group(call))

        def add_up() -> None:
            result = {name: Pointer(self.home(v)) for name, v in zip(signature.outputs, node.outputs, strict=True)}
            merge = self._call(kernel, problem, last, {**dict.fromkeys(read), **result}, sums, node.layer)
            merge = merge._replace(stages=((kernel.stages[1], last.tasks[0]),), small=sums.nbytes <= SMALL_BYTES)
            self.calls.append(merge._replace(why=why, flops=0, nbytes=sums.nbytes))

        group.after.append(add_up)

    def _read(self, kernel: Kernel, name: str, value: Value | None, layer: str) -> Argument:
        if value is None:
            return None
        return self.pointer((self.in_blocks if name in kernel.blocked else self.dense)(value, layer))

    def _packs_once(self, kernel: Kernel, given: Given) -> bool:
        """Whether all that the kernel packs is constant."""
        memory = [self.memory.get(value) for name in kernel.packs if (value := given[name]) is not None]
        return bool(memory) and all(m is not None and m.kind == "constant" for m in memory)

    def _call(
        self,
        kernel: Kernel,
        problem: Problem,
        launch: Launch,
        pointers: Mapping[str, Argument],
        scratch: Memory,
        layer: str,
    ) -> Call:
        """All the kernel's stages, on arguments by the names of their slots."""
        signature = REGISTRY.signatures[problem.op]
        slots = [pointers[name] for name in signature.inputs + signature.outputs]
        workspace_slot = len(slots) + 1
        slots += [Pointer(scratch) if scratch.nbytes else None, None, launch.workspace]
        slots += [*signature.values(problem), *launch.numbers]
        return Call(
            op=problem.op,
            kernel=kernel.name,
            layer=layer,
            stages=tuple(zip(kernel.stages, launch.tasks, strict=False)),
            arguments=tuple(slots),
            workspace=launch.workspace,
            workspace_slot=workspace_slot,
            shapes=describe(problem),
            small=is_small(problem),
            kind=kind(problem.op),
            flops=flops(problem),
            writes=frozenset(a.memory for n in signature.outputs if isinstance(a := pointers[n], Pointer)),
            prefetch=kernel.prefetch,
            prefetcher_slot=launch.slot(signature, "prefetcher") if kernel.prefetch else -1,
            products=kernel.prefetch.share * flops(problem) / (2 * kernel.width) if kernel.prefetch else 0.0,
        )

    def _whole(self, problem: Problem, given: Given, outputs: Sequence[Value], group: Group | None) -> Problem:
        """The problem for all images, by which a kernel is chosen: what it does once it does for all groups."""
        if group is None:
            return problem
        inputs = tuple(None if v is None else self._whole_shape(v, group) for v in given.values())
        made = tuple(self._whole_shape(v, group) for v in outputs) or problem.outputs
        return problem._replace(inputs=inputs, outputs=made, single_thread=False)

    @staticmethod
    def _whole_shape(value: Value, group: Group) -> tuple[int, ...]:
        return group.whole(value).shape if value in group.known else value.shape

    def _layout_cost(self, problem: Problem, given: Given, group: Group | None) -> LayoutCost:
        """What it costs a kernel to bring the inputs, where they are now, into the memory that it wants them in, less
        the packing that is done once."""
        times = 1 if group is None else group.groups
        to_blocks = {name: times * v.spec.size for name, v in given.items() if v is not None and v not in self.held}
        to_plain = {name: times * v.spec.size for name, v in given.items() if v in self.only_held}

        def layout_cost(kernel: Kernel) -> float:
            if kernel.blocked and kernel.width != self.width:
                return math.inf
            wrong = ((to_blocks if name in kernel.blocked else to_plain).get(name, 0) for name in given)
            once = kernel.packing_cost(problem) if self._packs_once(kernel, given) else 0.0
            return 2 * TrafficCosts.value * sum(wrong) - once

        return layout_cost


def in_group(call: Call) -> Call:
    """``call`` with its workspace, and what its stages share, in the memory of the thread that does the group."""
    if not call.workspace:
        return call
    slots = list(call.arguments)
    slots[call.workspace_slot] = Pointer(Memory("local", call.workspace))
    slots[call.workspace_slot + 1] = 0
    return call._replace(arguments=tuple(slots), workspace=0)


def _without_outputs(call: Call, kernel: Kernel) -> tuple[Argument, ...]:
    """The arguments of a call that packs: the inputs that are packed, and where to."""
    signature = REGISTRY.signatures[call.op]
    slots: list[Argument] = list(call.arguments)
    for i, name in enumerate(signature.inputs + signature.outputs):
        if name not in kernel.packs:
            slots[i] = None
    return tuple(slots)
