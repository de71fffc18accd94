"""Random numbers of a shape: the same for any number of threads, drawn anew in each step, made again where they are
read again.

They are a function of ``(seed, step, layer, index)`` alone, the words of :mod:`.dropout`, ``index`` the position of the
element in row-major order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Spec, Value
from .base import Arrays, Attrs, Case, Op, Scalar
from .builder import Builder
from .dropout import box_muller, require_counter, scalars, unit, words
from .rules import require_float32
from .table import register


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    require_counter(specs)
    return (Spec(tuple(attrs["shape"])),)


def _bernoulli_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    p, *counter = specs
    require_float32("p", p)
    require_counter(counter)
    return (p,)


def _uniform(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    first, _ = words(attrs["shape"], int(arrays[0]), int(arrays[1]), attrs["layer"], False)
    return (unit(first),)


def _normal(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (box_muller(*words(attrs["shape"], int(arrays[0]), int(arrays[1]), attrs["layer"], False)),)


def _bernoulli(arrays: Arrays, attrs: Attrs) -> tuple[np.ndarray, ...]:
    p, seed, step = arrays
    first, _ = words(p.shape, int(seed), int(step), attrs["layer"], False)
    return ((unit(first) < np.asarray(p, np.float32)).astype(np.float64),)


def _gradient(builder: Builder, node: Node, grads: Sequence[Value | None]) -> Sequence[Value | None]:
    return [None] * len(node.inputs)


def _draw(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return scalars(*rng.integers(0, 2**32, 2))


def _draw_shares(rng: np.random.Generator) -> Sequence[np.ndarray]:
    return [rng.random((3, 5, 4, 6)).astype(np.float32), *_draw(rng)]


def _case(shape: tuple[int, ...], layer: int) -> Case:
    return Case(attrs={"shape": shape, "layer": layer}, draw=_draw, differentiable=False)


_CASES = (_case((3, 5, 4, 6), 0), _case((1027,), 70000), _case((), 3), _case((2, 1), 1))

register(
    Op(
        "random_uniform",
        _infer,
        _uniform,
        _gradient,
        Scalar("random_uniform", ("layer",), indexed=True, operations=33),
        cases=lambda: _CASES,
    ),
    Op(
        "random_normal",
        _infer,
        _normal,
        _gradient,
        Scalar("random_normal", ("layer",), indexed=True, operations=117),
        cases=lambda: _CASES,
    ),
    Op(
        "bernoulli",
        _bernoulli_infer,
        _bernoulli,
        _gradient,
        Scalar("bernoulli", ("layer",), indexed=True, operations=35),
        cases=lambda: (Case(attrs={"layer": 5}, draw=_draw_shares, differentiable=False),),
    ),
)
