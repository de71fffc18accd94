"""From a fused graph to kernel calls: which kernel, on which memory, with which numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from ..compiling import DEFAULT, CompileOptions
from ..graph import Graph, Node, Value
from ..kernels import Problem
from ..kernels.blocks import blocked_shape
from ..kernels.cpu import backend, isas
from .access import Access, view_of
from .arena import Lifetime, place, side_by_side
from .blocked import fits_blocks
from .calls import in_group
from .depth_first import Segment
from .in_place import in_place
from .loops import Loop, elementwise_call
from .merged_updates import merge_updates
from .plan import Memory, Plan
from .prefetch import with_prefetch
from .reductions import as_alternating
from .segments import Segments, segments_of
from .storage import block_width
from .trials import stores, trials

VIEWS = ("reshape", "permute", "slice")


def make_plan(graph: Graph, options: CompileOptions = DEFAULT, tried: bool = False) -> Plan:
    """Lower a graph of kernel operators, chains and movements (see ``passes``) to a :class:`Plan`.

    With ``tried`` all updates are tried before the first of them is done.
    """
    compiled, width = backend() == "compiled", block_width(isas()) if options.blocks else 0
    depth_first = compiled and width > 0 and options.depth_first
    lowering = _Lowering(graph, width, depth_first, dict(options.kernels))
    lowering.lower()
    lowering.updates_last(tried)
    if options.in_place:
        lowering.taken = in_place(lowering.calls)
    if options.prefetch:
        lowering.prefetch_calls()
    if compiled and options.merged_updates:
        lowering.merge_updates()
    return lowering.plan()


class _Lowering(Segments):
    def __init__(self, graph: Graph, width: int, depth_first: bool, preferred: Mapping[str, str]) -> None:
        segments = (
            segments_of(graph, isas(), preferred) if depth_first else [Segment((node,), False) for node in graph.nodes]
        )
        nodes = tuple(node for segment in segments for node in segment.nodes)
        graph = Graph(graph.inputs, graph.outputs, nodes, graph.state, graph.constants, graph.updates)
        super().__init__(graph, width, isas(), preferred)
        self.segments = segments
        self.after_loss = self.guard = 0
        self.taken: dict[Memory, Memory] = {}
        self.results = frozenset(graph.results())
        self.read_by: dict[Value, set[Segment]] = {}
        for segment in segments:
            for value in (v for node in segment.nodes for v in node.inputs):
                self.read_by.setdefault(value, set()).add(segment)
        self.stored = {new for _, new in graph.updates}
        for value in (*graph.inputs, *graph.state):
            self.memory[value] = Memory("feed", value.spec.nbytes, value.name)
        for value, array in graph.constants.items():
            self.memory[value] = Memory("constant", value.spec.nbytes, value.name, array=array)
        self.in_place = self._updates_in_place()
        self._give_homes()

    # Where values live.

    def _updates_in_place(self) -> dict[Value, Value]:
        """New values that can be written straight over the old: made by a chain after which nobody reads the old, and
        whose results all are such ones, stored once and read by nobody, so that it can run when all else is done."""
        producers, readers = self.graph.producers(), self.graph.consumers()
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
        times = Counter(new for _, new in self.graph.updates)
        for old, new in self.graph.updates:
            producer = producers.get(new)
            if producer is None or producer.op != "chain" or times[new] > 1 or old in read_at_end:
                continue
            if new in outputs or new in readers:
                continue
            through_view = any(base.get(v) is old for v in producer.inputs)
            if last_read.get(old, -1) <= position[producer] and not through_view:
                legal[new] = old
        return {new: old for new, old in legal.items() if all(v in legal for v in producers[new].outputs)}

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

    # Calls.

    def lower(self) -> None:
        for segment in self.segments:
            if segment.images:
                self.lower_segment(segment.nodes, partial(self._read_outside, segment))
            else:
                self.lower_node(*segment.nodes)
            if self.graph.outputs and any(self.graph.outputs[0] in node.outputs for node in segment.nodes):
                self._store_output(0)
                self.after_loss = len(self.calls)
        for index in range(1 if self.after_loss else 0, len(self.graph.outputs)):
            self._store_output(index)
        self._store_updates()

    def updates_last(self, tried: bool) -> None:
        """Put what stores to state behind everything else, where no call reads what another one of them has stored."""
        last = [call for call in self.calls if stores(call)]
        self.calls = [call for call in self.calls if not stores(call)] + (trials(last) if tried else [])
        self.guard = len(self.calls)
        self.calls += last

    def _read_outside(self, segment: Segment, value: Value) -> bool:
        return value in self.results or bool(self.read_by.get(value, set()) - {segment})

    def lower_node(self, node: Node) -> None:
        if node.op == "slice" and self._moves_blocks(node, node.outputs[0].shape):
            self._slice_blocks(node)
        elif node.op in VIEWS:
            source = self.access(node.inputs[0], node.layer)
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
            self.kernel(self.problem(node), node.inputs, node.outputs, node.layer)

    def _chain(self, node: Node) -> None:
        added = node.attrs.get("sums", ())
        summed = dict.fromkeys(n.inputs[0] for n in added)
        made = [v for v in node.outputs if not any(v in n.outputs for n in added)]
        shape = node.attrs["nodes"][0].outputs[0].shape
        on_blocks = self._runs_on_blocks(node, shape)
        if on_blocks:
            loop = Loop(shape, self.width, self.lane_flags(shape), self.group is not None)
            sources = {v: self.walked_in_blocks(v, shape, node.layer) for v in node.inputs}
            targets = {v: Access.whole(self.hold(v)) for v in made}
            sums = {v: self.partial_sums(shape, [*sources.values(), *targets.values()]) for v in summed}
        else:
            loop = Loop(shape, group=self.group is not None)
            sources = {v: self.access(v, node.layer).broadcast(shape) for v in node.inputs}
            targets = {v: Access.whole(v) for v in dict.fromkeys((*made, *summed))}
            sums = {}
        plain = {} if on_blocks else self.in_place
        aliases = {new: old for new in node.outputs if (old := plain.get(new)) in sources}
        nodes = node.attrs["nodes"]
        tries = any(new.dtype == "float32" for new in node.outputs if new in plain)
        call = elementwise_call(nodes, sources, targets, aliases, self.pointer, node.layer, loop, sums, tries)
        if self.group is not None:
            call = in_group(call)
        self.calls.append(call._replace(kind="update") if self.stored.issuperset(node.outputs) else call)
        assert on_blocks or not added or self.group is None, f"{node.layer}: a group's sums are taken over blocks"
        for reduction in added:
            if on_blocks:
                self.add_up(sums[reduction.inputs[0]], reduction.outputs[0], node.layer)
            else:
                self._reduce(reduction)

    def _runs_on_blocks(self, node: Node, shape: tuple[int, ...]) -> bool:
        """Whether a chain goes over blocks of channels: if one of its inputs is held so, and all can be. In a group a
        chain that takes sums does; one that makes new state does not, which is not held so."""
        if self.stored.issuperset(node.outputs):
            return False
        summing = self.group is not None and "sums" in node.attrs
        wanted = summing or any(v in self.held and v.shape == shape for v in node.inputs)
        return wanted and self.width > 0 and fits_blocks(node)

    def _moves_blocks(self, node: Node, shape: tuple[int, ...]) -> bool:
        """Whether a slice of an activation held in blocks is one of whole blocks, or puts whole blocks back."""
        if node.inputs[0] not in self.held or any(step != 1 for step in node.attrs["steps"]):
            return False
        part, whole = sorted((node.inputs[0].shape[1], shape[1]))
        first = node.attrs["starts"][1]
        return first % self.width == 0 and (part % self.width == 0 or first + part == whole)

    def _part(self, whole: Access, node: Node, shape: tuple[int, ...]) -> Access:
        """The part of ``shape`` of an activation in blocks that the slice means."""
        n, c, h, w = node.attrs["starts"]
        return whole.sliced((n, c // self.width, h, w, 0), (1,) * 5, blocked_shape(shape, self.width))

    def _slice_blocks(self, node: Node) -> None:
        source, target = node.inputs[0], node.outputs[0]
        part = self._part(self.in_blocks(source, node.layer), node, target.shape)
        self.copy(part, Access.whole(self.hold(target)), node.layer)

    def _concat(self, node: Node) -> None:
        target, axis, start = node.outputs[0], node.attrs["axis"], 0
        in_blocks = any(v in self.held for v in node.inputs) and all(v.dtype == "float32" for v in node.inputs)
        if axis == 1:
            in_blocks = in_blocks and all(v.shape[1] % self.width == 0 for v in node.inputs[:-1])
        whole = Access.whole(self.hold(target) if in_blocks else target)
        for value in node.inputs:
            source = (self.in_blocks if in_blocks else self.access)(value, node.layer)
            starts = [0] * len(whole.shape)
            starts[axis] = start
            start += source.shape[axis]
            self.copy(source, whole.sliced(starts, [1] * len(starts), source.shape), node.layer)

    def _unslice(self, node: Node) -> None:
        target = node.outputs[0]
        in_blocks = self._moves_blocks(node, target.shape)
        whole = Access.whole(self.hold(target) if in_blocks else target)
        zero = Value("zero", replace(node.outputs[0].spec, shape=()))
        self.memory[zero] = Memory("constant", zero.spec.nbytes, array=np.zeros((), zero.dtype))
        self.copy(Access.whole(zero).broadcast(whole.shape), whole, node.layer)
        if in_blocks:
            source = self.in_blocks(node.inputs[0], node.layer)
            part = self._part(whole, node, node.inputs[0].shape)
        else:
            source = self.access(node.inputs[0], node.layer)
            part = whole.sliced(node.attrs["starts"], node.attrs["steps"], source.shape)
        self.copy(source, part, node.layer)

    def _reduce(self, node: Node) -> None:
        """Sum over any set of axes, as few sums over at most two runs of axes each."""
        source, target = node.inputs[0], node.outputs[0]
        if source in self.only_held and node.attrs["axes"] == (0, 2, 3):
            problem = Problem("reduce_sum", (source.shape,), (target.shape,), node.attrs)
            self.kernel(problem, [source], [target], node.layer)
            return
        steps = as_alternating(source.shape, node.attrs["axes"])
        for i, (shape, kept) in enumerate(steps):
            last = i == len(steps) - 1
            result = target if last else Value(target.name, replace(target.spec, shape=kept))
            attrs = {"axes": (0, 2), "keepdims": False}
            self.kernel(Problem("reduce_sum", (shape,), (kept,), attrs), [source], [result], node.layer)
            source = result

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
            if self.in_place.get(new) is old:
                continue
            access = self.access(new)
            if self.home(access.base).kind == "feed":
                fresh = Value(new.name, new.spec)
                self.copy(access, Access.whole(fresh), "")
                access = Access.whole(fresh)
            copies.append((access, Access.whole(old)))
        for source, target in copies:
            self.copy(source, target, "")

    # The result.

    def merge_updates(self) -> None:
        before, after = merge_updates(self.calls[: self.guard]), merge_updates(self.calls[self.guard :])
        self.calls, self.guard = before + after, len(before)

    def prefetch_calls(self) -> None:
        self.calls = [with_prefetch(call, self.taken) if call.groups else call for call in self.calls]

    def plan(self) -> Plan:
        alive: dict[Memory, Lifetime] = {}
        homes: dict[Memory, Memory] = {}
        for i, call in enumerate(self.calls):
            for memory in call.memories():
                if memory.kind in ("arena", "scratch"):
                    home = homes[memory] = homes.get(memory) or self._home_of(memory)
                    alive[home] = Lifetime(home.nbytes, alive[home].first if home in alive else i, i)
        at, total = self._place(alive)
        where = {**{memory: at[home] for memory, home in homes.items()}, **self.places}
        return Plan(self.graph, tuple(self.calls), tuple(self.setup), total, where, self.guard)

    def _place(self, alive: dict[Memory, Lifetime]) -> tuple[dict[Memory, int], int]:
        """Where everything lies in the arena, and its size. Gradients, which are what updates read of all that is made
        after the loss, lie side by side in the order of the updates."""
        updates = (call for outer in self.calls for call in outer.inner or (outer,) if call.kind == "update")
        read = dict.fromkeys(m for call in updates for m in call.memories() if m not in call.writes)
        gradients = {m: alive[m] for m in read if m in alive and alive[m].first >= self.after_loss}
        others = {m: lifetime for m, lifetime in alive.items() if m not in gradients}
        block, begins = side_by_side(list(gradients.values()))
        (start, *offsets), total = place([block, *others.values()], shared=True)
        at = {m: start + begin for m, begin in zip(gradients, begins, strict=True)}
        return at | dict(zip(others, offsets, strict=True)), total

    def _home_of(self, memory: Memory) -> Memory:
        """The memory that was there first where results take another's place."""
        while memory in self.taken:
            memory = self.taken[memory]
        return memory
