"""Operators that compute nothing: reshape, permute, slice, its adjoint ``unslice``, concat, detach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, OnnxMapping, Op, OperatorError, Part, Strides
from .builder import Builder
from .carries import CONCATENATED, RESHAPED, SLICED, along_axes, of_all, of_permuted
from .rules import (
    all_inputs,
    dense_strides,
    depends_on_batch,
    extents_depend_on_batch,
    first_input,
    only,
    place,
    real,
    require_axis,
)
from .table import register

Grads = Sequence["Value | None"]

TO_END = 2**63 - 1
"""A slice's ``stops`` entry that means "to the end of the axis", whatever its extent (ONNX's convention)."""


def _moved(array: np.ndarray) -> np.ndarray:
    return real(array) if array.dtype.kind == "f" else array


def reshaped(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """``target`` with 0 (copy the input's extent) and one -1 (what remains) replaced by extents."""
    if any(n < -1 for n in target) or target.count(-1) > 1:
        raise OperatorError(f"cannot reshape {shape} to {target}: one extent may be -1, the others are 0 or more")
    if any(n == 0 and axis >= len(shape) for axis, n in enumerate(target)):
        raise OperatorError(f"cannot reshape {shape} to {target}: 0 copies an input extent, but the input has no such")
    result = [shape[axis] if n == 0 else n for axis, n in enumerate(target)]
    size = math.prod(shape)
    if -1 in result:
        known = math.prod(n for n in result if n != -1)
        if known == 0 or size % known:
            raise OperatorError(f"cannot reshape {shape} to {target}: {size} elements are no multiple of {known}")
        result[result.index(-1)] = size // known
    if math.prod(result) != size:
        raise OperatorError(
            f"cannot reshape {shape} to {target}: {size} elements against {math.prod(result)}; use -1 for one extent"
        )
    return tuple(result)


def _reshape_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    return (Spec(reshaped(x.shape, attrs["shape"]), x.dtype),)


def _reshape_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    return (_moved(x).reshape(reshaped(x.shape, attrs["shape"])),)


def _reshape_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [builder.add("reshape", only(grads), shape=node.inputs[0].shape)]


def _reshape_view(node: Node, offset: int, strides: Strides) -> tuple[int, Strides] | None:
    shape = node.inputs[0].shape
    dense = all(n == 1 or s == d for n, s, d in zip(shape, strides, dense_strides(shape), strict=True))
    return (offset, dense_strides(node.outputs[0].shape)) if dense else None


def _reshape_at_every_batch(a: Node, b: Node) -> Attrs:
    source2, source3 = a.inputs[0].shape, b.inputs[0].shape
    target2, target3 = a.outputs[0].shape, b.outputs[0].shape
    if len(target2) != len(target3):
        raise extents_depend_on_batch(a, b, "shape")
    shape = []
    for axis, (n2, n3) in enumerate(zip(target2, target3, strict=True)):
        if n2 == n3:
            shape.append(n2)
        elif axis < len(source2) and (source2[axis], source3[axis]) == (n2, n3):
            shape.append(0)
        else:
            shape.append(-1)
    if shape.count(-1) > 1:
        raise extents_depend_on_batch(a, b, "shape")
    return {"shape": tuple(shape)}


def _permute_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    axes: tuple[int, ...] = attrs["axes"]
    if sorted(axes) != list(range(x.rank)):
        raise OperatorError(f"permute of shape {x.shape} needs each axis 0..{x.rank - 1} once, got {axes}")
    return (Spec(tuple(x.shape[axis] for axis in axes), x.dtype),)


def _permute_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.ascontiguousarray(_moved(arrays[0]).transpose(attrs["axes"])),)


def _permute_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    axes: tuple[int, ...] = node.attrs["axes"]
    inverse = tuple(axes.index(axis) for axis in range(len(axes)))
    return [builder.add("permute", only(grads), axes=inverse)]


def _permute_samples(node: Node) -> tuple[int, ...]:
    return (0,) if node.attrs["axes"][:1] == (0,) else ()


def _permute_view(node: Node, offset: int, strides: Strides) -> tuple[int, Strides]:
    return offset, tuple(strides[axis] for axis in node.attrs["axes"])


def _slice_extent(axis: int, extent: int, start: int, stop: int, step: int) -> int:
    if step < 1:
        raise OperatorError(f"slice of axis {axis} has step {step}; steps must be positive")
    length = max(0, -((start - min(stop, extent)) // step))
    if start < 0 or stop < 0 or length == 0:
        raise OperatorError(f"slice {start}:{stop}:{step} of axis {axis} with extent {extent} selects nothing")
    return length


def _slice_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    ranges = (attrs["starts"], attrs["stops"], attrs["steps"])
    if any(len(r) != x.rank for r in ranges):
        raise OperatorError(f"slice of shape {x.shape} needs {x.rank} starts, stops and steps, got {ranges}")
    shape = tuple(_slice_extent(*row) for row in zip(range(x.rank), x.shape, *ranges, strict=True))
    return (Spec(shape, x.dtype),)


def _slice_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    index = tuple(map(slice, attrs["starts"], attrs["stops"], attrs["steps"]))
    return (np.ascontiguousarray(_moved(arrays[0])[index]),)


def _slice_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    attrs = node.attrs
    shape = node.inputs[0].shape
    return [builder.add("unslice", only(grads), starts=attrs["starts"], steps=attrs["steps"], shape=shape)]


def _whole_samples(node: Node) -> tuple[int, ...]:
    """Where every sample is cut, or put back, alike."""
    return (0,) if node.attrs["starts"][:1] == (0,) and node.attrs["steps"][0] == 1 else ()


def _slice_taken(node: Node) -> Part:
    return Part(node.attrs["starts"], node.attrs["steps"])


def _slice_view(node: Node, offset: int, strides: Strides) -> tuple[int, Strides]:
    starts, steps = _slice_taken(node)
    # The step of an axis with one element says nothing, and may be any number.
    rows = zip(strides, steps, node.outputs[0].shape, strict=True)
    return offset + sum(map(mul, starts, strides)), tuple(s * k if n > 1 else s for s, k, n in rows)


def _slice_at_every_batch(a: Node, b: Node) -> Attrs:
    _only(a, b, "stops")
    rows = zip(a.attrs["stops"], b.attrs["stops"], a.inputs[0].shape, b.inputs[0].shape, strict=True)
    stops = []
    for stop2, stop3, extent2, extent3 in rows:
        if stop2 != stop3 and (stop2 < extent2 or stop3 < extent3):
            raise extents_depend_on_batch(a, b, "stops")
        stops.append(stop2 if stop2 == stop3 else TO_END)
    return {**a.attrs, "stops": tuple(stops)}


def _unsliced(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """``target`` with -1 (the input's extent) replaced."""
    return tuple(old if new == -1 else new for old, new in zip(shape, target, strict=True))


def _unslice_stops(shape: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    rows = zip(attrs["starts"], shape, attrs["steps"], strict=True)
    return tuple(start + (extent - 1) * step + 1 for start, extent, step in rows)


def _unslice_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (dy,) = specs
    target: tuple[int, ...] = attrs["shape"]
    if not len(attrs["starts"]) == len(attrs["steps"]) == len(target) == dy.rank:
        raise OperatorError(f"unslice of shape {dy.shape} needs {dy.rank} starts, steps and extents, got {dict(attrs)}")
    if any(step < 1 for step in attrs["steps"]):
        raise OperatorError(f"unslice of shape {dy.shape} has steps {attrs['steps']}; steps must be positive")
    stops, shape = _unslice_stops(dy.shape, attrs), _unsliced(dy.shape, target)
    if any(start < 0 for start in attrs["starts"]) or any(s > e for s, e in zip(stops, shape, strict=True)):
        raise OperatorError(f"unslice of shape {dy.shape} from {attrs['starts']} does not fit shape {shape}")
    return (Spec(shape, dy.dtype),)


def _unslice_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy = _moved(arrays[0])
    dx = np.zeros(_unsliced(dy.shape, attrs["shape"]), dy.dtype)
    dx[tuple(map(slice, attrs["starts"], _unslice_stops(dy.shape, attrs), attrs["steps"]))] = dy
    return (dx,)


def _unslice_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    attrs = node.attrs
    stops = _unslice_stops(node.inputs[0].shape, attrs)
    return [builder.add("slice", only(grads), starts=attrs["starts"], stops=stops, steps=attrs["steps"])]


def _unslice_placed(node: Node) -> tuple[Part, ...]:
    return (Part(node.attrs["starts"], node.attrs["steps"]),)


def _unslice_at_every_batch(a: Node, b: Node) -> Attrs:
    _only(a, b, "shape")
    shape = []
    for axis, (n2, n3) in enumerate(zip(a.attrs["shape"], b.attrs["shape"], strict=True)):
        if n2 != n3 and (n2, n3) != (a.inputs[0].shape[axis], b.inputs[0].shape[axis]):
            raise OperatorError(f"{place(a)} depends on the batch size: axis {axis}, which holds it, is padded")
        shape.append(n2 if n2 == n3 else -1)
    return {**a.attrs, "shape": tuple(shape)}


def _only(a: Node, b: Node, name: str) -> None:
    """Raise where two nodes differ in more than one attribute."""
    differing = [key for key in a.attrs if a.attrs[key] != b.attrs[key]]
    if differing != [name]:
        raise depends_on_batch(a, b, *differing)


def _concat_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    if not specs:
        raise OperatorError("concatenation needs at least one input")
    first, axis = specs[0], attrs["axis"]
    require_axis("concatenation axis", axis, first)
    for number, spec in enumerate(specs):
        if spec.dtype != first.dtype:
            raise OperatorError(f"input {number} is {spec.dtype}, input 0 is {first.dtype}; convert one of them")
        others = spec.shape[:axis] + spec.shape[axis + 1 :]
        if spec.rank != first.rank or others != first.shape[:axis] + first.shape[axis + 1 :]:
            raise OperatorError(
                f"inputs must agree except along axis {axis}: input {number} has shape {spec.shape}, "
                f"input 0 has shape {first.shape}"
            )
    total = sum(spec.shape[axis] for spec in specs)
    return (Spec((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype),)


def _concat_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.concatenate([_moved(a) for a in arrays], axis=attrs["axis"]),)


def _concat_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    g, axis = only(grads), node.attrs["axis"]
    steps = (1,) * len(g.shape)
    parts: list[Value | None] = []
    start = 0
    for x in node.inputs:
        stop = start + x.shape[axis]
        starts = tuple(start if a == axis else 0 for a in range(len(g.shape)))
        stops = tuple(stop if a == axis else extent for a, extent in enumerate(g.shape))
        parts.append(builder.add("slice", g, starts=starts, stops=stops, steps=steps))
        start = stop
    return parts


def _concat_samples(node: Node) -> tuple[int, ...]:
    return all_inputs(node) if node.attrs["axis"] else ()


def _concat_placed(node: Node) -> tuple[Part, ...]:
    axis, rank, start = node.attrs["axis"], len(node.outputs[0].shape), 0
    parts = []
    for value in node.inputs:
        parts.append(Part(tuple(start if a == axis else 0 for a in range(rank)), (1,) * rank))
        start += value.shape[axis]
    return tuple(parts)


def _detach_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    return (x,)


def _detach_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (_moved(arrays[0]),)


def _detach_gradient(builder: Builder, node: Node, grads: Grads) -> Grads:
    return [None]


def _detach_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    return node.inputs


def _draw_labels(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.integers(0, 10, (4, 6))]


def _sliced(shape: tuple[int, ...], starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]) -> Case:
    return Case((shape,), {"starts": starts, "stops": stops, "steps": steps})


register(
    Op(
        "reshape",
        _reshape_infer,
        _reshape_reference,
        _reshape_gradient,
        cases=lambda: (
            Case(((2, 3, 4),), {"shape": (0, -1)}),
            Case(((2, 3, 4),), {"shape": (4, 6)}),
            Case(((2, 3, 4),), {"shape": (-1,)}),
            Case(((1,),), {"shape": ()}),
            Case(((),), {"shape": (1, 1)}),
            Case(((2, 12),), {"shape": (0, 3, 2, -1)}),
            Case(draw=_draw_labels, attrs={"shape": (24,)}, differentiable=False),
        ),
        tolerance=0.0,
        samples=first_input,
        at_every_batch=_reshape_at_every_batch,
        view=_reshape_view,
        carries=RESHAPED,
        integers="any",
    ),
    Op(
        "permute",
        _permute_infer,
        _permute_reference,
        _permute_gradient,
        onnx=OnnxMapping("Transpose", {"axes": "perm"}),
        cases=lambda: (
            Case(((3, 5),), {"axes": (1, 0)}),
            Case(((2, 3, 4, 5),), {"axes": (0, 2, 3, 1)}),
            Case(((2, 3, 4, 5),), {"axes": (3, 1, 0, 2)}),
            Case(((4,),), {"axes": (0,)}),
            Case(draw=_draw_labels, attrs={"axes": (1, 0)}, differentiable=False),
        ),
        tolerance=0.0,
        samples=_permute_samples,
        view=_permute_view,
        carries=along_axes(of_permuted),
        integers="any",
    ),
    Op(
        "slice",
        _slice_infer,
        _slice_reference,
        _slice_gradient,
        cases=lambda: (
            _sliced((7,), (2,), (5,), (1,)),
            _sliced((7,), (1,), (7,), (3,)),
            _sliced((2, 6, 5, 5), (0, 2, 0, 0), (2, 4, 5, 5), (1, 1, 1, 1)),
            _sliced((2, 6, 5, 5), (0, 0, 1, 0), (2, 6, 5, 5), (1, 1, 2, 2)),
            _sliced((3, 4), (0, 1), (TO_END, TO_END), (1, 2)),
            Case(draw=_draw_labels, attrs={"starts": (1, 0), "stops": (3, 6), "steps": (1, 2)}, differentiable=False),
        ),
        tolerance=0.0,
        samples=_whole_samples,
        at_every_batch=_slice_at_every_batch,
        view=_slice_view,
        taken=_slice_taken,
        carries=SLICED,
        integers="any",
    ),
    Op(
        "unslice",
        _unslice_infer,
        _unslice_reference,
        _unslice_gradient,
        cases=lambda: (
            Case(((3,),), {"starts": (2,), "steps": (1,), "shape": (7,)}),
            Case(((2,),), {"starts": (1,), "steps": (3,), "shape": (7,)}),
            Case(((2, 2, 2, 3),), {"starts": (0, 2, 1, 0), "steps": (1, 1, 2, 2), "shape": (2, 6, 5, 6)}),
            Case(((2, 3, 4),), {"starts": (0, 1, 0), "steps": (1, 1, 1), "shape": (-1, 5, -1)}),
        ),
        tolerance=0.0,
        samples=_whole_samples,
        at_every_batch=_unslice_at_every_batch,
        placed=_unslice_placed,
    ),
    Op(
        "concat",
        _concat_infer,
        _concat_reference,
        _concat_gradient,
        onnx=OnnxMapping("Concat", {"axis": "axis"}),
        cases=lambda: (
            Case(((2, 3, 4, 4), (2, 5, 4, 4)), {"axis": 1}),
            Case(((2, 3), (1, 3), (4, 3)), {"axis": 0}),
            Case(((2, 3, 1), (2, 3, 5)), {"axis": 2}),
            Case(((6,),), {"axis": 0}),
        ),
        tolerance=0.0,
        samples=_concat_samples,
        placed=_concat_placed,
        carries=CONCATENATED,
        integers="any",
    ),
    Op(
        "detach",
        _detach_infer,
        _detach_reference,
        _detach_gradient,
        decompose=_detach_decompose,
        cases=lambda: (Case(((3, 5),), differentiable=False),),
        tolerance=0.0,
        samples=first_input,
        passes_on=True,
        carries=along_axes(of_all),
    ),
)
