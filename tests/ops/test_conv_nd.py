"""Convolution of signals and volumes against sums written out, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, OperatorError


def direct(x: np.ndarray, w: np.ndarray, attrs: dict[str, Any]) -> np.ndarray:
    """Of padded x, window by window."""
    rank, groups = x.ndim - 2, attrs["groups"]
    padding, per = attrs["padding"], w.shape[0] // groups
    x = np.pad(x, [(0, 0), (0, 0), *zip(padding[:rank], padding[rank:], strict=True)])
    rows = zip(x.shape[2:], w.shape[2:], attrs["stride"], attrs["dilation"], strict=True)
    size = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in rows]
    y = np.zeros((x.shape[0], w.shape[0], *size))
    for at in itertools.product(*map(range, size)):
        for o in range(w.shape[0]):
            total = np.zeros(x.shape[0])
            for tap in itertools.product(*map(range, w.shape[2:])):
                place = tuple(
                    p * s + i * d for p, s, i, d in zip(at, attrs["stride"], tap, attrs["dilation"], strict=True)
                )
                first = (o // per) * w.shape[1]
                values = x[(slice(None), slice(first, first + w.shape[1]), *place)]
                total += values @ w[(o, slice(None), *tap)]
            y[(slice(None), o, *at)] = total
    return y


@pytest.mark.parametrize(
    ("x", "w", "attrs"),
    [
        ((2, 4, 9), (6, 2, 3), {"stride": (2,), "padding": (1, 2), "dilation": (2,), "groups": 2}),
        ((2, 3, 5), (2, 3, 5), {"stride": (1,), "padding": (0, 0), "dilation": (1,), "groups": 1}),
        (
            (2, 4, 5, 4, 3),
            (4, 2, 3, 2, 2),
            {"stride": (2, 1, 2), "padding": (1, 0, 1, 0, 1, 2), "dilation": (1, 2, 1), "groups": 2},
        ),
    ],
)
def test_windows_one_by_one(x: Any, w: Any, attrs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal(x), rng.standard_normal(w)
    (found,) = OPS[f"conv{len(x) - 2}d"].reference(arrays, attrs)
    np.testing.assert_allclose(found, direct(*arrays, attrs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "w", "attrs", "text"),
    [
        ((2, 3, 5, 5), (3, 3, 3), {}, r"input must be \(N, C, L\), got shape \(2, 3, 5, 5\)"),
        ((2, 3, 5), (3, 3, 3, 3), {}, r"weight must be \(O, C / groups, K\), got shape"),
        ((2, 3, 5), (3, 2, 3), {}, r"input has 3 channels, weight expects 2 \(weight shape \(3, 2, 3\)\)"),
        (
            (2, 3, 5),
            (3, 3, 6),
            {},
            r"covers 6 columns, the input has 5 \(L = \(5,\)\) and padding \(0, 0\) \(left, right\)",
        ),
        ((2, 3, 5), (3, 3, 3), {"padding": (1,)}, r"padding must be two numbers \(left, right\) >= 0, got \(1,\)"),
        ((2, 3, 5), (3, 3, 3), {"stride": (1, 1)}, r"stride and dilation must have 1 numbers, got \(1, 1\) and \(1,\)"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, w: Any, attrs: dict[str, Any], text: str) -> None:
    plain = {"stride": (1,), "padding": (0, 0), "dilation": (1,), "groups": 1}
    with pytest.raises(OperatorError, match=text):
        OPS["conv1d"].infer([Spec(x), Spec(w)], {**plain, **attrs})


def test_kernels_of_many_planes_are_refused() -> None:
    attrs = {"stride": (1,) * 3, "padding": (0,) * 6, "dilation": (1,) * 3, "groups": 1}
    with pytest.raises(OperatorError, match="has 1025 planes, at most 1024"):
        OPS["conv3d"].infer([Spec((1, 1, 2000, 1, 1)), Spec((1, 1, 1025, 1, 1))], attrs)
