"""Transposed convolution: the adjoint of convolution, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, OperatorError

ONE: dict[str, Any] = {"stride": (1, 1), "padding": (0,) * 4, "dilation": (1, 1), "groups": 1, "output_padding": (0, 0)}


def shapes(x: tuple[int, ...], w: tuple[int, ...], **attrs: Any) -> tuple[int, ...]:
    rank = len(x) - 2
    plain = {"stride": (1,) * rank, "padding": (0,) * (2 * rank), "dilation": (1,) * rank, "groups": 1}
    (made,) = OPS[f"conv_transpose{rank}d"].infer([Spec(x), Spec(w)], {**plain, "output_padding": (0,) * rank, **attrs})
    return made.shape


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_it_is_the_adjoint_of_convolution(rank: int, groups: int) -> None:
    """``<conv(x, w), y> = <x, conv_transpose(y, w)>`` where both sizes fit each other."""
    rng = np.random.default_rng(rank)
    window = {
        "stride": (2, 1, 3)[:rank],
        "padding": (1, 0, 2, 2, 1, 0)[: 2 * rank],
        "dilation": (1, 2, 1)[:rank],
        "groups": groups,
    }
    x, w = rng.standard_normal((2, 4, *(9, 7, 8)[:rank])), rng.standard_normal((6, 4 // groups, *(3, 2, 2)[:rank]))
    (y,) = OPS[f"conv{rank}d"].reference([x, w], window)
    other = rng.standard_normal(y.shape)
    op = OPS[f"conv_transpose{rank}d"]
    small = op.infer([Spec(other.shape), Spec(w.shape)], {**window, "output_padding": (0,) * rank})[0].shape
    more = tuple(a - b for a, b in zip(x.shape[2:], small[2:], strict=True))
    assert all(0 <= m < s for m, s in zip(more, window["stride"], strict=True))
    (back,) = op.reference([other, w], {**window, "output_padding": more})
    assert back.shape == x.shape
    np.testing.assert_allclose((y * other).sum(), (x * back).sum(), rtol=1e-10)


def test_a_kernel_as_large_as_its_stride_puts_blocks_side_by_side() -> None:
    x, w = np.arange(4.0).reshape(1, 1, 2, 2), np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    (y,) = OPS["conv_transpose2d"].reference([x, w], {**ONE, "stride": (2, 2)})
    np.testing.assert_array_equal(y[0, 0], np.kron(x[0, 0], w[0, 0]))


def test_sizes() -> None:
    assert shapes((2, 3, 5, 6), (3, 4, 3, 2), stride=(2, 3)) == (2, 4, 11, 17)
    assert shapes((2, 3, 5), (3, 4, 3), dilation=(4,), padding=(2, 1), groups=3) == (2, 12, 10)
    assert shapes((2, 3, 2, 2, 2), (3, 1, 1, 2, 3), output_padding=(7, 0, 1)) == (2, 1, 9, 3, 5)


@pytest.mark.parametrize(
    ("x", "w", "attrs", "text"),
    [
        (
            (2, 3, 5),
            (3, 4, 3),
            {"output_padding": (1, 1)},
            r"output_padding must be 1 numbers from 0 to \d+, got \(1, 1\)",
        ),
        ((2, 3, 5), (3, 4, 3), {"output_padding": (-1,)}, r"output_padding must be 1 numbers from 0"),
        ((2, 3, 5), (4, 4, 3), {}, r"input has 3 channels, weight expects 4 \(weight shape \(4, 4, 3\)\)"),
        ((2, 3, 5), (3, 4, 3), {"groups": 2}, "groups must divide the input channels, got 2 groups for 3"),
        ((2, 3, 5), (3, 4, 3), {"padding": (4, 3)}, r"padding \(4, 3\) \(left, right\) leaves nothing of the result"),
        ((2, 3, 5), (3, 4, 3, 3), {}, r"weight must be \(C, O / groups, K\), got shape \(3, 4, 3, 3\)"),
        ((2, 3, 5), (3, 0, 3), {}, r"weight must have an element, got shape \(3, 0, 3\)"),
        ((2, 3, 5), (3, 4, 3), {"stride": (0,)}, r"stride must be positive, got \(0,\)"),
        ((1, 1, 2**20, 2**10), (1, 1, 2, 2), {"stride": (2, 2)}, "the output has 2097152 x 2048 pixels, more than"),
        ((1, 1, 1, 1, 1), (1, 1, 1025, 1, 1), {}, r"kernel \(1025, 1, 1\) has 1025 planes, at most 1024"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, w: Any, attrs: dict[str, Any], text: str) -> None:
    with pytest.raises(OperatorError, match=text):
        shapes(x, w, **attrs)


def test_a_bias_of_other_channels_is_refused() -> None:
    specs = [Spec((2, 3, 5, 5)), Spec((3, 4, 2, 2)), Spec((3,))]
    with pytest.raises(OperatorError, match=r"bias must have shape \(4,\), got \(3,\)"):
        OPS["conv_transpose2d"].infer(specs, ONE)
