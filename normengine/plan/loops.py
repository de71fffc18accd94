"""Elementwise nodes as one call: the loop, how each operand is walked, and the chain that a kernel is made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..graph import Node, Spec, Value
from ..kernels.chain import Chain, Operand, Ref, Step, chain_launch, compile_chain
from ..ops import OPS
from .access import Access, Strides, collapse, dense_strides
from .plan import Argument, Call, Memory, Pointer


def elementwise_call(
    nodes: Sequence[Node],
    sources: Mapping[Value, Access],
    targets: Mapping[Value, Access],
    aliases: Mapping[Value, Value],
    pointer: Callable[[Access], Pointer],
    layer: str,
) -> Call:
    """The call that runs ``nodes``, all of one shape, in one loop.

    ``sources`` and ``targets`` say where the values read from outside and written are; ``aliases`` maps a target
    that overwrites a source, element by element, to that source. Integer attributes become operands, so that
    layers that differ in nothing else share one compiled chain.
    """
    shape = next(iter(targets.values())).shape
    reads = [(pointer(a), v.dtype, a.broadcast(shape).strides) for v, a in sources.items()]
    place: dict[Value, Ref] = {v: ("input", k) for k, v in enumerate(sources)}
    indices: list[Strides] = []
    steps: list[Step] = []
    for node in nodes:
        scalar = OPS[node.op].scalar
        assert scalar is not None, f"{node.op} is not elementwise"
        arguments = [place[v] for v in node.inputs]
        if scalar.index:
            strides = _index_strides(node, shape)
            if strides not in indices:
                indices.append(strides)
            arguments.append(("index", indices.index(strides)))
        for name in scalar.attrs:
            number = node.attrs[name]
            if isinstance(number, int):
                arguments.append(("input", len(reads)))
                memory = Memory("constant", 4, name, array=np.asarray(number, np.uint32))
                reads.append((Pointer(memory), "uint32", (0,) * len(shape)))
            else:
                arguments.append(("constant", float(number)))
        place[node.outputs[0]] = ("step", len(steps))
        steps.append(Step(scalar.function, tuple(arguments), node.outputs[0].dtype))

    writes = [(pointer(a), v.dtype, a.strides) for v, a in targets.items()]
    walked = [strides for _, _, strides in (*reads, *writes)] + indices
    extents, walks = collapse(shape, walked)
    order = list(targets)
    sources_order = list(sources)
    chain = Chain(
        rank=len(extents),
        inputs=tuple(Operand(d, _kind(s)) for (_, d, _), s in zip(reads, walks, strict=False)),
        outputs=tuple(Operand(d, _kind(s)) for (_, d, _), s in zip(writes, walks[len(reads) :], strict=False)),
        results=tuple(int(place[v][1]) for v in order),
        indices=len(indices),
        aliases=tuple((order.index(new), sources_order.index(old)) for new, old in aliases.items()),
        steps=tuple(steps),
    )
    tasks, rows_per_task, block = chain_launch(extents)
    arguments_: list[Argument] = [p for p, _, _ in (*reads, *writes)]
    arguments_ += [*extents, *(s for strides in walks for s in strides), rows_per_task, block, *chain.constants()]
    names = "+".join(step.function for step in steps)
    return Call(
        op="chain",
        kernel=names if len(names) <= 32 else names[:29] + "...",
        layer=layer,
        stages=((lambda: compile_chain(chain), tasks),),
        arguments=tuple(arguments_),
        shapes=str(Spec(shape)),
    )


def _kind(strides: Strides) -> str:
    return {0: "zero", 1: "one"}.get(strides[-1], "any")


def _index_strides(node: Node, shape: tuple[int, ...]) -> Strides:
    """The walk of an element's position: row-major over all axes, or over batch and channel alone."""
    if node.attrs.get("per_channel"):
        return dense_strides(shape[:2]) + (0,) * (len(shape) - 2)
    return dense_strides(shape)
