"""The call of one kernel, argument by argument, and what becomes of it where it packs once or is a group's."""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Node
from ..kernels import REGISTRY, Kernel, Problem
from ..kernels.base import Launch
from .arguments import Argument, Memory, Pointer
from .call import KernelCall, Prefetches, Work
from .reductions import describe
from .small_calls import flops, is_small, kind


def problem_of(node: Node) -> Problem:
    inputs = REGISTRY.signatures[node.op].arranged([v.shape for v in node.inputs], node.attrs)
    return Problem(node.op, inputs, tuple(v.shape for v in node.outputs), node.attrs, dtype=node.outputs[0].dtype)


def kernel_call(
    kernel: Kernel,
    problem: Problem,
    launch: Launch,
    pointers: Mapping[str, Argument],
    scratch: Memory,
    layer: str,
    work: Work,
) -> KernelCall:
    """All the kernel's stages, on arguments by the names of their slots; ``work`` without its kind and operations."""
    signature = REGISTRY.signatures[problem.op]
    slots = [pointers[name] for name in signature.inputs + signature.outputs]
    workspace_slot = len(slots) + 1
    slots += [Pointer(scratch) if scratch.nbytes else None, None, launch.workspace]
    slots += [*signature.values(problem), *launch.numbers]
    operations, how = flops(problem), kernel.prefetch
    return KernelCall(
        op=problem.op,
        kernel=kernel.name,
        layer=layer,
        stages=tuple(zip(kernel.stages, launch.tasks, strict=False)),
        arguments=tuple(slots),
        work=work._replace(kind=kind(problem.op), flops=operations),
        workspace=launch.workspace,
        workspace_slot=workspace_slot,
        shapes=describe(problem),
        small=is_small(problem),
        writes=frozenset(a.memory for n in signature.outputs if isinstance(a := pointers[n], Pointer)),
        prefetches=how and Prefetches(how, launch.slot(signature, "prefetcher"), _vectors(operations, kernel)),
    )


def _vectors(operations: int, kernel: Kernel) -> float:
    """Multiply-adds of vectors that the kernel does."""
    assert kernel.prefetch is not None
    return kernel.prefetch.share * operations / (2 * kernel.width)


def packing_call(call: KernelCall, kernel: Kernel, small: bool) -> KernelCall:
    """The first stage of ``call``, which reads nothing but what the kernel packs."""
    signature = REGISTRY.signatures[call.op]
    slots: list[Argument] = list(call.arguments)
    for i, name in enumerate(signature.inputs + signature.outputs):
        if name not in kernel.packs:
            slots[i] = None
    work = call.work._replace(flops=0)
    return call._replace(stages=call.stages[:1], arguments=tuple(slots), work=work, small=small)


def in_group(call: KernelCall) -> KernelCall:
    """``call`` with its workspace, and what its stages share, in the memory of the thread that does the group."""
    if not call.workspace:
        return call
    slots = list(call.arguments)
    slots[call.workspace_slot] = Pointer(Memory("local", call.workspace))
    slots[call.workspace_slot + 1] = 0
    return call._replace(arguments=tuple(slots), workspace=0)
