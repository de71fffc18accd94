"""From a fused graph to kernel calls: which kernel, on which memory, with which numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..graph import Graph, Node, Value
from ..kernels import REGISTRY, Kernel, Problem
from ..kernels.cpu import isas
from .access import Access, view_of
from .arena import Lifetime, place
from .effort import is_small
from .loops import elementwise_call
from .plan import Argument, Call, Memory, Plan, Pointer
from .reductions import as_alternating, describe

VIEWS = ("reshape", "permute", "slice")


def make_plan(graph: Graph) -> Plan:
    """Lower a graph of kernel operators, chains and movements (see ``passes``) to a :class:`Plan`."""
    lowering = _Lowering(graph)
    lowering.lower()
    return lowering.plan()


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.isas = isas()
        self.calls: list[Call] = []
        self.setup: list[Call] = []
        self.guard = 0
        self.accesses: dict[Value, Access] = {}
        self.memory: dict[Value, Memory] = {}
        for value in (*graph.inputs, *graph.state):
            self.memory[value] = Memory("feed", value.spec.nbytes, value.name)
        for value, array in graph.constants.items():
            self.memory[value] = Memory("constant", value.spec.nbytes, value.name, array=array)
        self.in_place = self._updates_in_place()
        self._give_homes()

    # Where values live.

    def _updates_in_place(self) -> dict[Value, Value]:
        """New values that can be written straight over the old: made by a chain after which nobody reads the old."""
        producers = self.graph.producers()
        position = {node: i for i, node in enumerate(self.graph.nodes)}
        last_read: dict[Value, int] = {}
        base: dict[Value, Value] = {}
        for node in self.graph.nodes:
            for value in node.inputs:
                last_read[base.get(value, value)] = position[node]
            if node.op in VIEWS:
                base[node.outputs[0]] = base.get(node.inputs[0], node.inputs[0])
        outputs = set(self.graph.outputs)
        read_at_end = {base.get(v, v) for v in self.graph.results()}
        legal: dict[Value, Value] = {}
        for old, new in self.graph.updates:
            producer = producers.get(new)
            if producer is None or producer.op != "chain" or new in outputs or new in legal or old in read_at_end:
                continue
            through_view = any(base.get(v) is old for v in producer.inputs)
            if last_read.get(old, -1) <= position[producer] and not through_view:
                legal[new] = old
        return legal

    def _give_homes(self) -> None:
        for new, old in self.in_place.items():
            self.memory[new] = self.memory[old]
        producers = self.graph.producers()
        for index, output in enumerate(self.graph.outputs):
            value = output
            while value in producers and producers[value].op == "reshape":
                value = producers[value].inputs[0]
            if value in producers and producers[value].op not in VIEWS and value not in self.memory:
                self.memory[value] = Memory("output", value.spec.nbytes, index=index)

    def access(self, value: Value) -> Access:
        return self.accesses.get(value) or Access.whole(value)

    def home(self, value: Value) -> Memory:
        if value not in self.memory:
            self.memory[value] = Memory("arena", value.spec.nbytes)
        return self.memory[value]

    def pointer(self, access: Access) -> Pointer:
        return Pointer(self.home(access.base), access.offset * np.dtype(access.base.dtype).itemsize)

    def dense(self, value: Value, layer: str) -> Access:
        """Where ``value`` lies in row-major order, copied there first if it is a view that does not."""
        access = self.access(value)
        if not access.dense:
            copy = Value(value.name, value.spec)
            self.copy(access, Access.whole(copy), layer)
            access = self.accesses[value] = Access.whole(copy)
        return access

    # Calls.

    def lower(self) -> None:
        for node in self.graph.nodes:
            self._lower_node(node)
            if self.graph.outputs and self.graph.outputs[0] in node.outputs:
                self._store_output(0)
                self.guard = len(self.calls)
        for index in range(1 if self.guard else 0, len(self.graph.outputs)):
            self._store_output(index)
        self._store_updates()

    def _lower_node(self, node: Node) -> None:
        if node.op in VIEWS:
            source = self.access(node.inputs[0])
            view = view_of(node, source) or view_of(node, self.dense(node.inputs[0], node.layer))
            assert view is not None
            self.accesses[node.outputs[0]] = view
        elif node.op == "chain":
            self._chain(node)
        elif node.op == "concat":
            self._concat(node)
        elif node.op == "unslice":
            self._unslice(node)
        elif node.op == "reduce_sum":
            self._reduce(node)
        else:
            problem = Problem(node.op, self._input_shapes(node), tuple(v.shape for v in node.outputs), node.attrs)
            self._kernel(problem, [self.dense(v, node.layer) for v in node.inputs], node.outputs, node.layer)

    def _input_shapes(self, node: Node) -> tuple[tuple[int, ...] | None, ...]:
        return REGISTRY.signatures[node.op].arranged([v.shape for v in node.inputs], node.attrs)

    def _kernel(self, problem: Problem, inputs: Sequence[Access], outputs: Sequence[Value], layer: str) -> None:
        kernel = REGISTRY.choose(problem, self.isas, _plain_only)
        signature = REGISTRY.signatures[problem.op]
        launch = kernel.launch(problem)
        slots: list[Argument] = [self.pointer(a) for a in inputs]
        slots += [None] * (len(signature.inputs) - len(inputs))
        slots += [Pointer(self.home(v)) for v in outputs]
        packed = bool(kernel.packs) and all(
            inputs[i].base in self.graph.constants
            for i, name in enumerate(signature.inputs)
            if name in kernel.packs and i < len(inputs)
        )
        scratch = Memory("packed" if packed else "scratch", launch.scratch) if launch.scratch else None
        workspace_slot = len(slots) + 1
        slots += [Pointer(scratch) if scratch else None, None, launch.workspace]
        slots += [*signature.values(problem), *launch.extra]
        call = Call(
            op=problem.op,
            kernel=kernel.name,
            layer=layer,
            stages=tuple(zip(kernel.stages, launch.tasks, strict=True)),
            arguments=tuple(slots),
            workspace=launch.workspace,
            workspace_slot=workspace_slot,
            shapes=describe(problem),
            small=is_small(problem),
            why=REGISTRY.explain(problem, self.isas, _plain_only),
        )
        if packed:
            self.setup.append(replace(call, stages=call.stages[:1], arguments=_without_outputs(call, kernel)))
            call = replace(call, stages=call.stages[1:])
        self.calls.append(call)

    def _chain(self, node: Node) -> None:
        sources = {v: self.access(v) for v in node.inputs}
        targets = {v: Access.whole(v) for v in node.outputs}
        aliases = {new: old for new in node.outputs if (old := self.in_place.get(new)) in sources}
        self.calls.append(elementwise_call(node.attrs["nodes"], sources, targets, aliases, self.pointer, node.layer))

    def copy(self, source: Access, target: Access, layer: str) -> None:
        """Copy elements one by one; the source may be a broadcast."""
        value = source.base
        view = Value(value.name, replace(value.spec, shape=target.shape))
        made = Value(value.name, view.spec)
        node = Node("expand", (view,), (made,), {"shape": target.shape}, layer)
        call = elementwise_call([node], {view: source}, {made: target}, {}, self.pointer, layer)
        self.calls.append(call)

    def _concat(self, node: Node) -> None:
        whole, axis, start = Access.whole(node.outputs[0]), node.attrs["axis"], 0
        for value in node.inputs:
            starts = [0] * whole.base.spec.rank
            starts[axis] = start
            start += value.shape[axis]
            self.copy(self.access(value), whole.sliced(starts, [1] * len(starts), value.shape), node.layer)

    def _unslice(self, node: Node) -> None:
        whole = Access.whole(node.outputs[0])
        zero = Value("zero", replace(node.outputs[0].spec, shape=()))
        self.memory[zero] = Memory("constant", zero.spec.nbytes, array=np.zeros((), zero.dtype))
        self.copy(Access.whole(zero).broadcast(whole.shape), whole, node.layer)
        source = self.access(node.inputs[0])
        self.copy(source, whole.sliced(node.attrs["starts"], node.attrs["steps"], source.shape), node.layer)

    def _reduce(self, node: Node) -> None:
        """Sum over any set of axes, as few sums over at most two runs of axes each."""
        source, target = self.dense(node.inputs[0], node.layer), node.outputs[0]
        steps = as_alternating(node.inputs[0].shape, node.attrs["axes"])
        for i, (shape, kept) in enumerate(steps):
            last = i == len(steps) - 1
            result = target if last else Value(target.name, replace(target.spec, shape=kept))
            attrs = {"axes": (0, 2), "keepdims": False}
            self._kernel(Problem("reduce_sum", (shape,), (kept,), attrs), [source], [result], node.layer)
            source = Access.whole(result)

    def _store_output(self, index: int) -> None:
        """Copy an output that is a view or lies in memory with another purpose."""
        value = self.graph.outputs[index]
        access = self.access(value)
        memory = self.home(access.base)
        if memory.kind != "output" or memory.index != index or not access.dense:
            result = Value(value.name, value.spec)
            self.memory[result] = Memory("output", value.spec.nbytes, index=index)
            self.copy(access, Access.whole(result), "")

    def _store_updates(self) -> None:
        """Copy state that was not updated in place."""
        copies = []
        for old, new in self.graph.updates:
            if self.in_place.get(new) is not old:
                access = self.access(new)
                if self.home(access.base).kind == "feed":
                    fresh = Value(new.name, new.spec)
                    self.copy(access, Access.whole(fresh), "")
                    access = Access.whole(fresh)
                copies.append((access, Access.whole(old)))
        for source, target in copies:
            self.copy(source, target, "")

    # The result.

    def plan(self) -> Plan:
        alive: dict[Memory, tuple[int, int]] = {}
        for i, call in enumerate(self.calls):
            for argument in call.arguments:
                if isinstance(argument, Pointer) and argument.memory.kind in ("arena", "scratch"):
                    first, _ = alive.get(argument.memory, (i, i))
                    alive[argument.memory] = (first, i)
        offsets, total = place([Lifetime(m.nbytes, first, last) for m, (first, last) in alive.items()])
        where = dict(zip(alive, offsets, strict=True))
        return Plan(self.graph, tuple(self.calls), tuple(self.setup), total, where, self.guard)


def _plain_only(kernel: Kernel) -> float:
    return math.inf if kernel.blocked else 0.0


def _without_outputs(call: Call, kernel: Kernel) -> tuple[Argument, ...]:
    """The arguments of a set-up call, which has only what is constant: the packed inputs and the scratch memory."""
    signature = REGISTRY.signatures[call.op]
    slots: list[Argument] = list(call.arguments)
    for i, name in enumerate(signature.inputs + signature.outputs):
        if name not in kernel.packs:
            slots[i] = None
    return tuple(slots)
