"""Elementwise nodes as one call: the loop, how each operand is walked, and the chain that a kernel is made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..graph import Node, Spec, Value
from ..kernels.blocks import blocked_shape
from ..kernels.chains import Chain, Operand, Ref, Step, chain_launch, compile_chain, lane_launch
from ..ops import OPS
from .access import Access, Strides, collapse, dense_strides
from .arguments import Argument, Memory, PerGroup, Pointer
from .blocked import blocked_strides, collapse_lanes, repeats
from .call import KernelCall, Work

_NOTHING: Mapping[Value, Access] = MappingProxyType({})


class Loop(NamedTuple):
    """What a chain runs over: every element of a value of this shape, in blocks of ``width`` channels unless that is
    0; ``lanes`` is then the flag of each lane, where the last block has lanes that hold no channel. ``group`` says that
    the value is of one group of a batch's images."""

    shape: tuple[int, ...]
    width: int = 0
    lanes: Access | None = None
    group: bool = False


def elementwise_call(
    nodes: Sequence[Node],
    sources: Mapping[Value, Access],
    targets: Mapping[Value, Access],
    aliases: Mapping[Value, Value],
    pointer: Callable[[Access], Pointer],
    layer: str,
    loop: Loop,
    sums: Mapping[Value, Access] = _NOTHING,
    tries: bool = False,
) -> KernelCall:
    """The call that runs ``nodes``, all of one shape, in one loop.

    ``sources`` and ``targets`` say where the values read from outside and written are, each as the loop walks it;
    ``aliases`` maps a target that overwrites a source, element by element, to that source; ``sums`` says where the
    sums of values over the pixels of each row of the loop go, lane by lane. ``tries`` makes a call that can be tried.
    Integer attributes become operands, so that layers that differ in nothing else share one compiled chain.
    """
    reads = [(pointer(a), v.dtype, a.strides) for v, a in sources.items()]
    place: dict[Value, Ref] = {v: ("input", k) for k, v in enumerate(sources)}
    indices: list[Strides] = []
    steps: list[Step] = []
    for node in nodes:
        scalar = OPS[node.op].scalar
        assert scalar is not None, f"{node.op} is not elementwise"
        arguments = [place[v] for v in node.inputs]
        if scalar.indexed:
            strides = _index_strides(node, loop)
            if strides not in indices:
                indices.append(strides)
            arguments.append(("index", indices.index(strides)))
        for name in scalar.attrs:
            number = node.attrs[name]
            if isinstance(number, int):
                arguments.append(("input", len(reads)))
                memory = Memory("constant", 4, name, array=np.asarray(number, np.uint32))
                reads.append((Pointer(memory), "uint32", (0,) * (5 if loop.width else len(loop.shape))))
            else:
                arguments.append(("constant", float(number)))
        place[node.outputs[0]] = ("step", len(steps))
        steps.append(Step(scalar.function, tuple(arguments), node.outputs[0].dtype))

    results = [int(place[v][1]) for v in (*targets, *sums)]
    if loop.lanes is not None:
        flag: Ref = ("input", len(reads))
        reads.append((pointer(loop.lanes), "bool", loop.lanes.strides))
        for k, result in enumerate(results):
            steps.append(Step("select", (flag, ("step", result), ("constant", 0.0)), steps[result].dtype))
            results[k] = len(steps) - 1

    writes = [(pointer(a), v.dtype, a.strides) for v, a in (*targets.items(), *sums.items())]
    walked = [strides for _, _, strides in (*reads, *writes)] + indices
    shape = blocked_shape(loop.shape, loop.width) if loop.width else loop.shape
    extents, walks, lanes = _iteration(shape, walked, loop.width)
    repeated = [k for k, a in enumerate(sources.values()) if a.repeated]
    repeated += [len(reads) - 1] if loop.lanes is not None else []
    kinds = [_kind(s, lanes, k in repeated or extents[-2:][0] == 1) for k, s in enumerate(walks)]
    kinds[len(reads) + len(targets) : len(reads) + len(writes)] = ["sum"] * len(sums)
    order = list(targets)
    sources_order = list(sources)
    chain = Chain(
        rank=len(extents),
        inputs=tuple(Operand(d, kind) for (_, d, _), kind in zip(reads, kinds, strict=False)),
        outputs=tuple(Operand(d, kind) for (_, d, _), kind in zip(writes, kinds[len(reads) :], strict=False)),
        results=tuple(results),
        indices=len(indices),
        aliases=tuple((order.index(new), sources_order.index(old)) for new, old in aliases.items()),
        steps=tuple(steps),
        lanes=lanes,
        tries=tries,
    )
    if lanes:
        block = repeats(loop.shape, lanes) * lanes
        tasks, rows_per_task, block = lane_launch(extents, block)
    else:
        tasks, rows_per_task, block = chain_launch(extents)
    arguments_: list[Argument] = [p for p, _, _ in (*reads, *writes)]
    arguments_ += [*extents, *(s for strides in walks for s in strides), rows_per_task, block]
    arguments_ += [PerGroup(0, strides[0] * loop.shape[0]) if loop.group else 0 for strides in indices]
    arguments_ += chain.constants()
    workspace_slot = len(arguments_)
    arguments_ += [None, chain.workspace] if sums else []
    arguments_ += [None] if tries else []
    names = "+".join(step.function for step in steps)
    return KernelCall(
        op="chain",
        kernel=names if len(names) <= 32 else names[:29] + "...",
        layer=layer,
        stages=((lambda: compile_chain(chain), tasks),),
        arguments=tuple(arguments_),
        workspace=chain.workspace,
        workspace_slot=workspace_slot,
        shapes=str(Spec(loop.shape)),
        work=Work(
            why=_why,
            kind="elementwise",
            flops=len(steps) * prod(loop.shape),
            nbytes=sum(_touched(a) for a in (*sources.values(), *targets.values(), *sums.values())),
        ),
        writes=frozenset(pointer(a).memory for a in (*targets.values(), *sums.values())),
        trial_slot=len(arguments_) - 1 if tries else -1,
    )


def _why() -> str:
    return "elementwise nodes in one loop, compiled by Numba"


def _touched(access: Access) -> int:
    """Bytes of the elements that a walk comes to, each counted once."""
    extents = (n for n, stride in zip(access.shape, access.strides, strict=True) if stride)
    return prod(extents) * np.dtype(access.base.dtype).itemsize


def _iteration(
    shape: tuple[int, ...], walked: Sequence[Strides], width: int
) -> tuple[tuple[int, ...], list[Strides], int]:
    """The extents and walks of the fewest dimensions, and the lanes of the last one, or 0 where it is as any other."""
    dense = dense_strides(shape)
    if width and any(any(s) and s != dense for s in walked):
        return (*collapse_lanes(shape, walked), width)
    return (*collapse(shape, walked), 0)


def _kind(strides: Strides, lanes: int, repeated: bool) -> str:
    """How an operand is walked; one that ``repeated`` says so of has the lanes for every pixel in memory."""
    if lanes:
        same = "repeated" if repeated else "any"
        return {(lanes, 1): "one", (0, 1): same, (0, 0): "zero"}.get((strides[-2], strides[-1]), "any")
    return {0: "zero", 1: "one"}.get(strides[-1], "any")


def _index_strides(node: Node, loop: Loop) -> Strides:
    """The walk of an element's position: row-major over all axes, or over batch and channel alone."""
    if node.attrs.get("per_channel"):
        strides = dense_strides(loop.shape[:2]) + (0,) * (len(loop.shape) - 2)
    else:
        strides = dense_strides(loop.shape)
    return blocked_strides(strides, loop.width) if loop.width else strides
