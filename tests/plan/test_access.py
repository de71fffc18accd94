"""Views and collapsed loops walk exactly the elements that NumPy would."""

import itertools

import numpy as np
import pytest

from normengine.graph import Node, Spec, Value
from normengine.plan.access import Access, collapse, dense_strides, view_of
from normengine.plan.reductions import as_alternating


def walk(access):
    """The flat positions of an access's elements, in row-major order."""
    return np.array([access.offset + sum(i * s for i, s in zip(index, access.strides))
                     for index in itertools.product(*map(range, access.shape))]).reshape(access.shape)  # fmt: skip


def value(*shape):
    return Value("v", Spec(shape))


def positions(*shape):
    return np.arange(int(np.prod(shape))).reshape(shape)


def test_whole_permuted_sliced_and_broadcast():
    whole = Access.whole(value(2, 3, 4))
    assert np.array_equal(walk(whole), positions(2, 3, 4))
    turned = view_of(Node("permute", (whole.base,), (value(4, 2, 3),), {"axes": (2, 0, 1)}), whole)
    assert np.array_equal(walk(turned), positions(2, 3, 4).transpose(2, 0, 1))
    assert not turned.dense
    node = Node(
        "slice", (turned.base,), (value(2, 1, 3),), {"starts": (1, 1, 0), "stops": (4, 2, 3), "steps": (2, 1, 1)}
    )
    cut = view_of(node, turned)
    assert np.array_equal(walk(cut), positions(2, 3, 4).transpose(2, 0, 1)[1:4:2, 1:2, 0:3:1])
    wide = Access.whole(value(3, 1)).broadcast((2, 3, 4))
    assert np.array_equal(walk(wide), np.broadcast_to(positions(3, 1), (2, 3, 4)))


def test_reshape_views_only_dense_memory():
    whole = Access.whole(value(2, 6))
    flat = view_of(Node("reshape", (whole.base,), (value(12),), {}), whole)
    assert flat.dense and np.array_equal(walk(flat), np.arange(12))
    turned = view_of(Node("permute", (whole.base,), (value(6, 2),), {"axes": (1, 0)}), whole)
    assert view_of(Node("reshape", (whole.base,), (value(12),), {}), turned) is None


@pytest.mark.parametrize("shape, expected", [((2, 3, 4), (24,)), ((1, 5, 1), (5,)), ((), (1,)), ((1, 1), (1,))])
def test_dense_operands_collapse_to_one_loop(shape, expected):
    extents, strides = collapse(shape, [dense_strides(shape), dense_strides(shape)])
    assert extents == expected
    assert len(strides) == 2 and strides[0] == strides[1]


def test_a_channel_vector_keeps_its_own_dimension():
    shape = (2, 3, 4, 5)
    channel = Access.whole(value(1, 3, 1, 1)).broadcast(shape)
    extents, (full, vector) = collapse(shape, [dense_strides(shape), channel.strides])
    assert extents == (2, 3, 20)
    assert full == (60, 20, 1) and vector == (0, 1, 0)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 3, 1, 2, 3), (4,), (1, 1), (3, 2, 2, 3, 2)])
def test_every_set_of_axes_is_a_row_of_alternating_sums(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    for count in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            y = x
            for given, kept in as_alternating(shape, axes):
                y = y.reshape(given).sum((0, 2))
                assert y.shape == kept
            assert np.allclose(y.ravel(), x.sum(axes).ravel())


def test_the_step_of_one_element_does_not_matter() -> None:
    whole = Access.whole(Value("x", Spec((4, 5))))
    assert whole.sliced((1, 2), (1, 2**63 - 1), (3, 1)).strides == (5, 1)
