"""Loop generation: a chain of elementwise nodes as one loop over memory, as the graph has it, or over blocks of
channels."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..graph import Node, Spec, Value
from ..kernels import Problem
from ..kernels.blocks import blocked_shape
from .access import Access, dense_strides
from .arguments import Memory
from .blocked import blocked_strides, fits_blocks, repeats, rows_of_images
from .emitter import Emitter
from .kernel_calls import in_group
from .loops import Loop, elementwise_call
from .lower_sum import lower_sum

NO_SUMS: Mapping[Value, Access] = {}


def lower_chain(emitter: Emitter, node: Node, stored: Container[Value]) -> None:
    """Append the loop of a chain and what adds up the sums that it takes. ``stored`` are new values of state."""
    placement, group = emitter.placement, emitter.group
    added = node.attrs.get("sums", ())
    summed = dict.fromkeys(n.inputs[0] for n in added)
    made = [v for v in node.outputs if not any(v in n.outputs for n in added)]
    shape = node.attrs["nodes"][0].outputs[0].shape
    stores = all(v in stored for v in node.outputs)
    on_blocks = not stores and _runs_on_blocks(emitter, node, shape)
    sums = NO_SUMS
    if on_blocks:
        loop = Loop(shape, placement.width, lane_flags(emitter, shape), group is not None)
        sources = {v: walked_in_blocks(emitter, v, shape, node.layer) for v in node.inputs}
        targets = {v: Access.whole(placement.hold(v)) for v in made}
        walked = [*sources.values(), *targets.values()]
        sums = {n.inputs[0]: partial_sums(emitter, n, shape, walked) for n in added}
    else:
        loop = Loop(shape, group=group is not None)
        sources = {v: emitter.access(v, node.layer).broadcast(shape) for v in node.inputs}
        targets = {v: Access.whole(v) for v in dict.fromkeys((*made, *summed))}
    over = {} if on_blocks else placement.over
    aliases = {new: old for new in node.outputs if (old := over.get(new)) in sources}
    tries = any(new.dtype == "float32" for new in node.outputs if new in over)
    where = sources, targets, aliases
    call = elementwise_call(node.attrs["nodes"], *where, placement.pointer, node.layer, loop, sums, tries)
    if group is not None:
        call = in_group(call)
    emitter.calls.append(call._replace(work=call.work._replace(kind="update")) if stores else call)
    assert on_blocks or not added or group is None, f"{node.layer}: a group's sums are taken over blocks"
    for reduction in added:
        if on_blocks:
            add_up(emitter, sums[reduction.inputs[0]], reduction)
        else:
            lower_sum(emitter, reduction)


def _runs_on_blocks(emitter: Emitter, node: Node, shape: tuple[int, ...]) -> bool:
    """Whether a chain goes over blocks of channels: if one of its inputs is held so, and all can be. In a group a chain
    that takes sums does; one that makes new state, which is not held so, does not."""
    placement = emitter.placement
    summing = emitter.group is not None and "sums" in node.attrs
    wanted = summing or any(v in placement.held and v.shape == shape for v in node.inputs)
    return wanted and placement.width > 0 and fits_blocks(node)


def lane_flags(emitter: Emitter, shape: tuple[int, ...]) -> Access | None:
    """For each lane of a block whether it holds a channel, if there are any that do not."""
    n, blocks, h, w, width = blocked_shape(shape, emitter.placement.width)
    if shape[1] % width == 0:
        return None
    times = repeats(shape, width)
    flags = np.arange(blocks * width).reshape(blocks, 1, width) < shape[1]
    array = np.ascontiguousarray(np.broadcast_to(flags, (blocks, times, width)))
    value = Value("lanes", Spec.of(array))
    emitter.placement.memory[value] = Memory("constant", array.nbytes, array=array)
    return Access(value, (n, blocks, h, w, width), 0, (0, times * width, 0, 0, 1), repeated=True)


def walked_in_blocks(emitter: Emitter, value: Value, shape: tuple[int, ...], layer: str) -> Access:
    """``value`` as a loop over an activation of ``shape`` in blocks walks it."""
    if value.shape == shape:
        return emitter.in_blocks(value, layer)
    placement = emitter.placement
    blocks = blocked_shape(shape, placement.width)
    lifted = (1,) * (4 - len(value.shape)) + value.shape
    plain = emitter.access(value, layer)
    n, c, h, w = plain.broadcast(shape).strides
    if c == 0:
        return Access(plain.base, blocks, plain.offset, blocked_strides((n, c, h, w), placement.width))
    if h == w == 0:
        times = repeats(shape, placement.width)
        repeated = _repeat(emitter, value, lifted[0], times, layer)
        row, block = repeated.strides[:2]
        return Access(repeated.base, blocks, 0, (row if n else 0, block, 0, 0, 1), repeated=True)
    dense = emitter.dense(value, layer)
    whole = placement.like(value, Value(value.name, replace(value.spec, shape=lifted)))
    placement.accesses[whole] = Access(dense.base, lifted, dense.offset, dense_strides(lifted))
    return emitter.in_blocks(whole, layer).broadcast(blocks)


def _repeat(emitter: Emitter, value: Value, rows: int, times: int, layer: str) -> Access:
    """Values of channels, of each image or of all, repeated for the pixels that a loop takes together."""
    placement, dense = emitter.placement, emitter.dense(value, layer)
    key = dense.base, dense.offset, rows, times
    if key not in placement.repeated:
        channels = value.spec.size // rows
        given = placement.like(value, Value(value.name, replace(value.spec, shape=(rows, channels))))
        placement.accesses[given] = Access(dense.base, given.shape, dense.offset, dense_strides(given.shape))
        shape = (rows, -(-channels // placement.width), times, placement.width)
        made = placement.like(value, Value(value.name, replace(value.spec, shape=shape)))
        problem = Problem("repeat_channels", (given.shape,), (shape,), {}, dtype=given.dtype)
        emitter.kernel(problem, [given], [made], layer)
        placement.repeated[key] = Access.whole(made)
    return placement.repeated[key]


def partial_sums(emitter: Emitter, reduction: Node, shape: tuple[int, ...], walked: Sequence[Access]) -> Access:
    """Memory for what a loop over an activation of ``shape`` sums up in each of its rows: that of the result, where it
    is a sum of each image and the images are not cut into rows."""
    placement, group = emitter.placement, emitter.group
    whole = blocked_shape(shape, placement.width)
    n, blocks, *_, width = whole
    rows = rows_of_images(whole, [a.strides for a in walked])
    (result,), each_image = reduction.outputs, 0 not in reduction.attrs["axes"]
    value = Value("sums", Spec((n, blocks, rows, width)))
    if each_image:
        value = placement.hold(result) if rows == 1 else placement.like(result, value)
    elif group is not None:
        group.sums[value] = group.whole(value)
        placement.bind(value, placement.home(group.sums[value]))
    return Access(value, whole, 0, (blocks * rows * width, rows * width, width if rows > 1 else 0, 0, 1))


def add_up(emitter: Emitter, partial: Access, reduction: Node) -> None:
    """Sums of rows to the sum of each channel, or of each image and channel; those of all groups, after a segment."""
    group = emitter.group
    if 0 not in reduction.attrs["axes"]:
        _add_up_images(emitter, partial.base, reduction)
        return
    if group is not None:
        whole = Access.whole(group.sums[partial.base])
        group.after.append(lambda: add_up(emitter.outside, whole, reduction))
        return
    (result,), (_, blocks, _, width) = reduction.outputs, partial.base.shape
    made = Value(result.name, Spec((blocks, width)))
    attrs = {"axes": (0, 2), "keepdims": False}
    problem = Problem(reduction.op, (partial.base.shape,), (made.shape,), attrs, dtype=made.dtype)
    emitter.kernel(problem, [partial.base], [made], reduction.layer)
    emitter.placement.accesses[result] = Access(made, result.shape, 0, dense_strides(result.shape))


def _add_up_images(emitter: Emitter, partial: Value, reduction: Node) -> None:
    """Sums of the rows of each image to one, where there are several."""
    (result,) = reduction.outputs
    if result in emitter.placement.held:
        return
    n, blocks, rows, width = partial.shape
    attrs = {"axes": (0, 2), "keepdims": False}
    problem = Problem(reduction.op, ((1, n * blocks, rows, width),), ((n * blocks, width),), attrs, dtype=result.dtype)
    emitter.kernel(problem, [partial], [emitter.placement.hold(result)], reduction.layer)
