"""Pooling over windows in one and three spatial dimensions, and those that two dimensions lack a kernel for.

Maximum and average are taken axis by axis, or two axes at a time, by the two-dimensional kernels: a signal is an image
of height 1, and a volume is first images ``(N, C * D, H, W)``, then images ``(N, C, D, H * W)``, none of which takes a
copy. Averages of windows with holes are convolutions with a weight of ones; the largest values of ``output_size``
nearly equal windows are found window by window along each axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, OperatorError, Shapes
from .builder import Builder
from .conv_nd import IMAGES, as_image, as_signal, part_of
from .pool import check_padding, divisors
from .rules import all_inputs, real, require_layout, require_positive
from .table import register
from .window import Extents, all_taps, along_last, check_pixels, check_window, covering, positions

MAX_WEIGHT = 2**22
"""The most elements that the ones may have that stand for windows with holes."""
MAX_PARTS = 1024
"""The most windows along an axis that are cut out one by one."""


def _infer_of(rank: int, specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    require_layout("input", x, IMAGES[rank])
    kernel = attrs["kernel_size"]
    check_window(attrs, kernel)
    if len(kernel) != rank:
        raise OperatorError(f"kernel size must be {rank} numbers for {IMAGES[rank]}, got {kernel}")
    check_padding(attrs["padding"], kernel, attrs.get("dilation", (1,) * rank))
    return (Spec((*x.shape[:2], *positions(x.shape[2:], attrs, kernel))),)


def _infer_1d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _infer_of(1, specs, attrs)


def _infer_3d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _infer_of(3, specs, attrs)


def _max_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = map(real, arrays)
    kernel, size = attrs["kernel_size"], positions(x.shape[2:], attrs, attrs["kernel_size"])
    best = np.full((*x.shape[:2], *size), -np.inf)
    for _, made, read in all_taps(attrs, kernel, x.shape[2:], size):
        best[made] = np.maximum(best[made], x[read])
    return (best,)


def _sum(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    kernel, size = attrs["kernel_size"], positions(x.shape[2:], attrs, attrs["kernel_size"])
    total = np.zeros((*x.shape[:2], *size))
    for _, made, read in all_taps(attrs, kernel, x.shape[2:], size):
        total[made] += x[read]
    return total


def _avg_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = map(real, arrays)
    return (_sum(x, attrs) / divisors(x.shape[2:], attrs),)


def _rows(attrs: Attrs) -> dict[str, object]:
    """The attributes of windows along the first axis, as those of images with that height."""
    rank, padding = len(attrs["kernel_size"]), attrs["padding"]
    windows = {name: (attrs[name][0], 1) for name in ("kernel_size", "stride", "dilation") if name in attrs}
    return {**windows, **_kept(attrs), "padding": (padding[0], 0, padding[rank], 0)}


def _planes(attrs: Attrs) -> dict[str, object]:
    """The attributes of windows along the last two axes, or along the only one, as those of images."""
    rank, padding = len(attrs["kernel_size"]), attrs["padding"]
    alone, none = (1,) * max(0, 2 - rank), (0,) * max(0, 2 - rank)
    names = ("kernel_size", "stride", "dilation")
    windows = {name: (*alone, *attrs[name][-2:]) for name in names if name in attrs}
    sides = (*none, *padding[:rank][-2:], *none, *padding[rank:][-2:])
    return {**windows, **_kept(attrs), "padding": sides}


def _kept(attrs: Attrs) -> dict[str, object]:
    return {name: attrs[name] for name in ("ceil_mode", "count_include_pad") if name in attrs}


def _along_axes(builder: Builder, node: Node, pool: str) -> Sequence[Value]:
    """Windows of planes, then windows of depths, by the two-dimensional operator ``pool``."""
    (x,), (y,), attrs = node.inputs, node.outputs, node.attrs
    if len(x.shape) == 3:
        return [as_signal(builder, builder.add(pool, as_image(builder, x), **_planes(attrs)))]
    channels, depth = x.shape[1:3]
    images = builder.add("reshape", x, shape=(0, channels * depth, *x.shape[3:]))
    pooled = builder.add(pool, images, **_planes(attrs))
    columns = builder.add("reshape", pooled, shape=(0, channels, depth, -1))
    return [builder.add("reshape", builder.add(pool, columns, **_rows(attrs)), shape=(0, *y.shape[1:]))]


def _max_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    return _along_axes(builder, node, "max_pool2d")


def _avg_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    return _along_axes(builder, node, "avg_pool2d")


def _dilated_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    if x.rank - 2 not in IMAGES:
        raise OperatorError(f"input must be one of {', '.join(IMAGES.values())}, got shape {x.shape}")
    made = _infer_of(x.rank - 2, specs, attrs)
    if x.shape[1] * prod(attrs["kernel_size"]) > MAX_WEIGHT:
        raise OperatorError(
            f"windows of {attrs['kernel_size']} with holes over {x.shape[1]} channels have more than the {MAX_WEIGHT} "
            "taps that are computed"
        )
    return made


def _counts(size: Extents, attrs: Attrs) -> np.ndarray:
    """Taps of each window inside the image, or inside image and padding."""
    rank = len(size)
    if not attrs["count_include_pad"]:
        return _sum(np.ones((1, 1, *size)), attrs)
    padding = attrs["padding"]
    whole = tuple(n + padding[axis] + padding[axis + rank] for axis, n in enumerate(size))
    beyond = tuple(a - b for a, b in zip(covering(size, attrs, attrs["kernel_size"]), padding, strict=True))
    return _sum(np.ones((1, 1, *whole)), {**attrs, "padding": beyond, "ceil_mode": False})


def _dilated_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = map(real, arrays)
    return (_sum(x, attrs) / _counts(x.shape[2:], attrs),)


def _dilated_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    (x,), attrs = node.inputs, node.attrs
    channels, size, kernel = x.shape[1], x.shape[2:], attrs["kernel_size"]
    ones = builder.constant(np.ones((channels, 1, *kernel), np.float32))
    total = builder.add(
        f"conv{len(size)}d",
        x,
        ones,
        stride=attrs["stride"],
        padding=covering(size, attrs, kernel),
        dilation=attrs["dilation"],
        groups=channels,
    )
    share = builder.constant((1.0 / _counts(size, attrs)).astype(np.float32))
    return [builder.add("mul", total, share)]


def _adaptive_of(rank: int, specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    size = attrs["output_size"]
    require_layout("input", x, IMAGES[rank])
    require_positive("output size", size)
    if len(size) != rank:
        raise OperatorError(f"output size must be {rank} numbers for {IMAGES[rank]}, got {size}")
    check_pixels("the input", x.shape[2:])
    check_pixels("the output", size)
    if min(x.shape[2:]) < 1:
        raise OperatorError(f"input must have a pixel, got shape {x.shape}")
    return (Spec((*x.shape[:2], *size)),)


def _adaptive_1d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _adaptive_of(1, specs, attrs)


def _adaptive_3d(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return _adaptive_of(3, specs, attrs)


def _adaptive_max_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (x,) = specs
    if x.rank - 2 not in IMAGES:
        raise OperatorError(f"input must be one of {', '.join(IMAGES.values())}, got shape {x.shape}")
    made = _adaptive_of(x.rank - 2, specs, attrs)
    if max(attrs["output_size"]) > MAX_PARTS:
        raise OperatorError(f"output size may be {MAX_PARTS} along an axis at most, got {attrs['output_size']}")
    return made


def _regions(size: Extents, count: Extents) -> Iterator[tuple[Extents, tuple[slice, ...]]]:
    """The window of each pixel of the output."""
    axes = [list(enumerate(_spans(n, c))) for n, c in zip(size, count, strict=True)]
    for each in product(*axes):
        yield tuple(i for i, _ in each), tuple(part for _, part in each)


def _spans(extent: int, count: int) -> list[slice]:
    """``floor(i * extent / count)`` up to ``ceil((i + 1) * extent / count)``."""
    return [slice(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]


def _adaptive_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = map(real, arrays)
    y = np.empty((*x.shape[:2], *attrs["output_size"]))
    for place, region in _regions(x.shape[2:], attrs["output_size"]):
        y[along_last(place)] = x[along_last(region)].mean(axis=tuple(range(2, x.ndim)))
    return (y,)


def _adaptive_max_reference(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = map(real, arrays)
    y = np.empty((*x.shape[:2], *attrs["output_size"]))
    for place, region in _regions(x.shape[2:], attrs["output_size"]):
        y[along_last(place)] = x[along_last(region)].max(axis=tuple(range(2, x.ndim)))
    return (y,)


def _adaptive_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    (x,), (y,), size = node.inputs, node.outputs, node.attrs["output_size"]
    if len(size) == 1:
        pooled = builder.add("adaptive_avg_pool2d", as_image(builder, x), output_size=(1, *size))
        return [as_signal(builder, pooled)]
    channels, depth = x.shape[1:3]
    images = builder.add("reshape", x, shape=(0, channels * depth, *x.shape[3:]))
    pooled = builder.add("adaptive_avg_pool2d", images, output_size=size[1:])
    columns = builder.add("reshape", pooled, shape=(0, channels, depth, -1))
    pooled = builder.add("adaptive_avg_pool2d", columns, output_size=(size[0], prod(size[1:])))
    return [builder.add("reshape", pooled, shape=(0, *y.shape[1:]))]


def _adaptive_max_decompose(builder: Builder, node: Node) -> Sequence[Value]:
    """One window that slides, where all are alike; else along each axis every window by itself."""
    (x,), size = node.inputs, node.attrs["output_size"]
    for axis, count in reversed(list(enumerate(size, 2))):
        shape, extent = x.shape, x.shape[axis]
        rows = builder.add("reshape", x, shape=(0, prod(shape[1:axis]), extent, prod(shape[axis + 1 :])))
        if extent % count == 0:
            made = _maximum(builder, rows, extent // count)
        else:
            parts = [part_of(builder, rows, 2, part) for part in _spans(extent, count)]
            made = builder.add("concat", *(_maximum(builder, part, part.shape[2]) for part in parts), axis=2)
        x = builder.add("reshape", made, shape=(0, *shape[1:axis], count, *shape[axis + 1 :]))
    return [x]


def _maximum(builder: Builder, x: Value, rows: int) -> Value:
    """Of so many rows at a time."""
    if rows == 1:
        return x
    window = {"kernel_size": (rows, 1), "stride": (rows, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    return builder.add("max_pool2d", x, **window, ceil_mode=False)


def _operations(inputs: Shapes, outputs: Shapes, attrs: Attrs) -> int:
    """One for each tap of a window, or for each pixel of the larger image where windows differ."""
    whole, pooled = sorted((prod(inputs[0]), prod(outputs[0])), reverse=True)
    return pooled * prod(attrs["kernel_size"]) if "kernel_size" in attrs else whole


def _pooling(
    name: str,
    infer: Callable[[Sequence[Spec], Attrs], tuple[Spec, ...]],
    reference: Callable[[Arrays, Attrs], tuple[np.ndarray, ...]],
    decompose: Callable[[Builder, Node], Sequence[Value]],
    cases: Callable[[], tuple[Case, ...]],
    tolerance: float = 1e-5,
) -> Op:
    return Op(
        name,
        infer,
        reference,
        decompose=decompose,
        cases=cases,
        tolerance=tolerance,
        kind="pooling",
        operations=_operations,
        samples=all_inputs,
    )


def _window(
    kernel: Extents, stride: Extents, padding: Extents, ceil_mode: bool = False, **more: object
) -> dict[str, object]:
    return {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, **more}


_WINDOWS: tuple[tuple[tuple[int, ...], dict[str, object]], ...] = (
    ((1, 1, 1), _window((1,), (1,), (0, 0))),
    ((2, 3, 9), _window((3,), (2,), (1, 1))),
    ((1, 17, 8), _window((3,), (3,), (0, 1), True)),
    ((1, 1, 1, 1, 1), _window((1, 1, 1), (1, 1, 1), (0,) * 6)),
    ((2, 3, 4, 6, 5), _window((2, 3, 2), (2, 1, 2), (0, 1, 0, 1, 1, 1))),
    ((1, 2, 5, 4, 7), _window((3, 2, 3), (2, 3, 2), (1, 0, 1, 1, 1, 1), True)),
)
_HOLES: tuple[tuple[tuple[int, ...], dict[str, object]], ...] = (
    ((2, 3, 9), _window((3,), (2,), (1, 2), dilation=(2,))),
    ((2, 3, 7, 6), _window((2, 3), (1, 2), (1, 1, 0, 2), True, dilation=(3, 1))),
    ((1, 2, 5, 6, 5), _window((2, 2, 2), (2, 1, 3), (1, 0, 1, 1, 2, 1), True, dilation=(1, 3, 2))),
)
_EQUAL = (((1, 2, 7), (3,)), ((2, 3, 8), (4,)), ((1, 17, 5), (1,)))
_VOLUMES = (((2, 3, 4, 3, 5), (2, 3, 1)), ((1, 2, 3, 5, 4), (2, 3, 3)), ((1, 1, 2, 1, 2), (3, 2, 1)))
_IMAGES = (((1, 1, 1, 1), (1, 1)), ((2, 3, 8, 6), (4, 3)), ((1, 17, 7, 5), (3, 4)), ((1, 2, 3, 2), (5, 7)))


def _windows(rank: int, dilation: int = 0, averages: bool = False) -> Callable[[], tuple[Case, ...]]:
    def cases() -> tuple[Case, ...]:
        made = [(shape, attrs) for shape, attrs in _WINDOWS if len(shape) == rank + 2]
        if averages:
            return tuple(Case((s,), {**a, "count_include_pad": counted}) for s, a in made for counted in (False, True))
        more = [(s, {**a, "dilation": (dilation,) * rank}) for s, a in made if s[2] > 1 and not a["ceil_mode"]]
        plain = [(s, {**a, "dilation": (1,) * rank}) for s, a in made]
        return tuple(Case((s,), a) for s, a in (*plain, *more))

    return cases


register(
    _pooling("max_pool1d", _infer_1d, _max_reference, _max_decompose, _windows(1, 2), tolerance=0.0),
    _pooling("max_pool3d", _infer_3d, _max_reference, _max_decompose, _windows(3, 2), tolerance=0.0),
    _pooling("avg_pool1d", _infer_1d, _avg_reference, _avg_decompose, _windows(1, averages=True)),
    _pooling("avg_pool3d", _infer_3d, _avg_reference, _avg_decompose, _windows(3, averages=True)),
    _pooling(
        "dilated_avg_pool",
        _dilated_infer,
        _dilated_reference,
        _dilated_decompose,
        lambda: tuple(Case((s,), {**a, "count_include_pad": c}) for s, a in _HOLES for c in (False, True)),
    ),
    _pooling(
        "adaptive_avg_pool1d",
        _adaptive_1d,
        _adaptive_reference,
        _adaptive_decompose,
        lambda: tuple(Case((shape,), {"output_size": size}) for shape, size in _EQUAL),
    ),
    _pooling(
        "adaptive_avg_pool3d",
        _adaptive_3d,
        _adaptive_reference,
        _adaptive_decompose,
        lambda: tuple(Case((shape,), {"output_size": size}) for shape, size in _VOLUMES),
    ),
    _pooling(
        "adaptive_max_pool",
        _adaptive_max_infer,
        _adaptive_max_reference,
        _adaptive_max_decompose,
        lambda: tuple(Case((s,), {"output_size": size}) for s, size in (*_EQUAL, *_IMAGES, *_VOLUMES)),
        tolerance=0.0,
    ),
)
