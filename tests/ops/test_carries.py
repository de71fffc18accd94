"""Affine maps of channels go through each operator that says so, in both directions, by its reference in float64."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Node, Spec, Value
from normengine.ops import OPS
from normengine.ops.carries import Affine, NotCarried

CARRYING = [op for op in OPS.values() if op.carries is not None]
RNG = np.random.default_rng(3)


def mapped(array, affine):
    column = (-1, *[1] * (array.ndim - affine.axis - 1))
    return array * affine.scale.reshape(column) + affine.shift.reshape(column)


def draw(shape, axis, kind):
    scale = RNG.uniform(0.5, 2.0, shape[axis]) * (RNG.choice([-1, 1], shape[axis]) if kind == "any" else 1)
    return Affine(axis, scale, np.zeros(shape[axis]) if kind == "unshifted" else RNG.standard_normal(shape[axis]))


def cases(op):
    for case in op.cases():
        arrays = case.arrays(np.random.default_rng(5))
        if all(a.dtype == np.float32 for a in arrays):
            yield [a.astype(np.float64) for a in arrays], case.attrs


def node_of(op, arrays, attrs):
    specs = op.infer([Spec(a.shape) for a in arrays], attrs)
    return Node(op.name, tuple(Value("x", Spec(a.shape)) for a in arrays), tuple(Value("y", s) for s in specs), attrs)


def agree(op, attrs, arrays, wanted):
    (found,) = op.reference(arrays, attrs)
    assert np.abs(found - wanted).max(initial=0) <= 1e-12 * max(1.0, np.abs(wanted).max(initial=0))


def test_operators_that_carry_are_these():
    layers = {"adaptive_avg_pool2d", "avg_pool2d", "max_pool2d", "reduce_mean", "reduce_max"}
    assert {op.name for op in CARRYING} >= {*layers, "reshape", "permute", "slice", "concat", "detach", "add", "mul"}
    assert not any(op.normalizes or op.folds_norms for op in CARRYING)


@pytest.mark.parametrize("op", CARRYING, ids=lambda op: op.name)
def test_back(op):
    carried = 0
    for arrays, attrs in cases(op):
        node = node_of(op, arrays, attrs)
        shape = node.outputs[0].shape
        for axis in range(1, len(shape)):
            for kind in ("any", "positive", "unshifted"):
                affine = draw(shape, axis, kind)
                constants = [i == 1 and kind != "any" for i in range(len(arrays))]
                try:
                    maps = op.carries.back(node, affine, constants)
                except NotCarried:
                    continue
                (made,) = op.reference(arrays, attrs)
                changed = [a if m is None else mapped(a, m) for a, m in zip(arrays, maps, strict=True)]
                agree(op, attrs, changed, mapped(made, affine))
                carried += 1
    assert carried


@pytest.mark.parametrize("op", [op for op in CARRYING if op.name not in ("add", "mul")], ids=lambda op: op.name)
def test_forth(op):
    carried = 0
    for arrays, attrs in cases(op):
        node = node_of(op, arrays, attrs)
        for position, given in enumerate(arrays):
            for axis in range(1, given.ndim):
                for kind in ("any", "positive", "unshifted"):
                    affine = draw(given.shape, axis, kind)
                    try:
                        behind = op.carries.forth(node, position, affine)
                    except NotCarried:
                        continue
                    (made,) = op.reference(arrays, attrs)
                    assert behind.axis > 0
                    changed = [mapped(a, affine) if i == position else a for i, a in enumerate(arrays)]
                    agree(op, attrs, changed, mapped(made, behind))
                    carried += 1
    assert carried


def one(name, shapes, attrs, affine, forth=False):
    op = OPS[name]
    node = node_of(op, [np.zeros(s) for s in shapes], attrs)
    if forth:
        return op.carries.forth(node, 0, affine)
    return op.carries.back(node, affine, [False] * len(shapes))[0]


def channels(*scale):
    return Affine(1, np.array(scale), np.zeros(len(scale)))


def test_a_flattened_image_repeats_a_channel():
    affine = one("reshape", [(2, 3, 2, 2)], {"shape": (0, -1)}, channels(1.0, 2.0, 3.0), forth=True)
    assert affine.axis == 1
    assert affine.scale.tolist() == [1.0] * 4 + [2.0] * 4 + [3.0] * 4


def test_what_repeats_in_a_vector_is_a_channel():
    affine = one("reshape", [(2, 2, 1, 3)], {"shape": (0, -1)}, channels(1.0, 1.0, 1.0, 2.0, 2.0, 2.0))
    assert (affine.axis, affine.scale.tolist()) == (1, [1.0, 2.0])


@pytest.mark.parametrize(
    ("name", "shapes", "attrs", "affine", "reason"),
    [
        ("reshape", [(2, 2, 2)], {"shape": (0, -1)}, channels(1.0, 2.0, 3.0, 3.0), "joins channels of different scale"),
        ("reshape", [(2, 4)], {"shape": (0, 4, 1)}, channels(2.0)._replace(axis=2), "does not keep the channels apart"),
        ("permute", [(3, 5)], {"axes": (1, 0)}, channels(1.0, 2.0, 3.0), "does not keep the channels apart"),
        ("reduce_mean", [(2, 3, 4)], {"axes": (1,), "keepdims": True}, channels(2.0), "does not keep the channels"),
        ("reduce_max", [(2, 2, 4)], {"axes": (2,), "keepdims": False}, channels(1.0, -2.0), "a scale is negative"),
        ("add", [(2, 2, 4), (2, 1, 4)], {}, channels(1.0, 2.0), "repeats what it reads along the channels"),
    ],
)  # fmt: skip
def test_what_is_not_carried(name, shapes, attrs, affine, reason):
    with pytest.raises(NotCarried, match=reason):
        one(name, shapes, attrs, affine)


def test_zeros_that_are_counted_cannot_be_shifted():
    window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (1, 1, 1, 1), "ceil_mode": False}
    shifted = Affine(1, np.ones(3), np.ones(3))
    with pytest.raises(NotCarried, match="counts the zeros that it pads with"):
        one("avg_pool2d", [(1, 3, 4, 4)], {**window, "count_include_pad": True}, shifted)
    assert one("avg_pool2d", [(1, 3, 4, 4)], {**window, "count_include_pad": False}, shifted) is not None
    unpadded = {**window, "padding": (0, 0, 0, 0), "count_include_pad": True}
    assert one("avg_pool2d", [(1, 3, 4, 4)], unpadded, shifted) is not None


ELEMENTWISE = [op for op in OPS.values() if op.affine_with is not None]


def test_elementwise_operators_that_may_be_affine_are_these():
    assert {op.name for op in ELEMENTWISE} == {"add", "sub", "mul", "div"}
    assert all(op.scalar is not None for op in ELEMENTWISE)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
@pytest.mark.parametrize("position", [0, 1])
def test_an_operator_with_a_constant_is_an_affine_map(op, position):
    x, constant = RNG.standard_normal((2, 3, 4)), RNG.uniform(0.5, 2.0, 3)
    found = op.affine_with(position, constant)
    if (op.name, position) == ("div", 0):
        assert found is None
        return
    operands = [x, constant[:, None]] if position else [constant[:, None], x]
    (wanted,) = op.reference(operands, {})
    np.testing.assert_allclose(x * found[0][:, None] + found[1][:, None], wanted, rtol=1e-12)
