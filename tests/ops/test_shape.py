"""Reshape's 0 and -1, slices and their adjoint."""

from __future__ import annotations

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, Builder
from normengine.ops.shape import TO_END


@pytest.mark.parametrize(
    ("shape", "target", "expected"),
    [
        ((2, 3, 4), (0, -1), (2, 12)),
        ((2, 3, 4), (0, 0, 2, 2), (2, 3, 2, 2)),
        ((2, 3, 4), (-1, 0), (8, 3)),
        ((1,), (), ()),
        ((), (1, -1), (1, 1)),
    ],
)
def test_reshape(shape: tuple[int, ...], target: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert OPS["reshape"].infer([Spec(shape, "int64")], {"shape": target}) == (Spec(expected, "int64"),)


def test_slices_are_numpys() -> None:
    x = np.arange(60.0).reshape(3, 4, 5)
    attrs = {"starts": (1, 0, 1), "stops": (TO_END, 4, 5), "steps": (1, 3, 2)}
    (y,) = OPS["slice"].reference([x], attrs)
    np.testing.assert_array_equal(y, x[1:, 0:4:3, 1:5:2])
    assert OPS["slice"].infer([Spec(x.shape)], attrs) == (Spec(y.shape),)


def test_unslice_puts_back_and_fills_with_zeros() -> None:
    (dx,) = OPS["unslice"].reference([np.array([1.0, 2.0])], {"starts": (1,), "steps": (3,), "shape": (6,)})
    np.testing.assert_array_equal(dx, [0, 1, 0, 0, 2, 0])


def test_integers_stay_integers() -> None:
    labels = np.arange(6).reshape(2, 3)
    for op, attrs in (("reshape", {"shape": (6,)}), ("permute", {"axes": (1, 0)})):
        assert OPS[op].reference([labels], attrs)[0].dtype == np.int64


def test_detach_hands_its_input_on_and_no_gradient_back() -> None:
    builder = Builder()
    x, g = builder.input("x", Spec((2, 3))), builder.input("g", Spec((2, 3)))
    builder.add("detach", x)
    gradient, decompose = OPS["detach"].gradient, OPS["detach"].decompose
    assert gradient is not None and decompose is not None
    assert list(gradient(builder, builder.nodes[0], [g])) == [None]
    assert list(decompose(builder, builder.nodes[0])) == [x]
