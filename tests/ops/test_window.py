"""Windows of any numbers: what is refused, and what the references make of those that reach far beyond an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normengine.graph import Spec
from normengine.ops import OPS, OperatorError
from normengine.ops.window import MAX_PIXELS, MAX_WINDOW

X = Spec((1, 2, 5, 4))
FAR = MAX_WINDOW - 1


def window(**given: Any) -> dict[str, Any]:
    plain = {"kernel_size": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    return {**plain, "ceil_mode": False, "count_include_pad": True, "groups": 1, **given}


BEYOND = [
    window(kernel_size=(2**62, 1)),
    window(kernel_size=(2**33, 2**33), padding=(2**32,) * 4),
    window(kernel_size=(1, MAX_WINDOW + 1), padding=(0, FAR, 0, FAR)),
    window(stride=(2**63 - 1, 1)),
    window(stride=(1, MAX_WINDOW + 1)),
    window(kernel_size=(3, 3), dilation=(2**62 + 10**4, 1)),
    window(kernel_size=(3, 3), dilation=(1, MAX_WINDOW // 2 + 1), padding=(0, FAR, 0, FAR)),
    window(kernel_size=(3, 3), padding=(0, 0, 0, MAX_WINDOW + 1)),
    window(kernel_size=(3, 3), padding=(2**63 - 1,) * 4),
]


@pytest.mark.parametrize("attrs", BEYOND, ids=str)
@pytest.mark.parametrize("op", ["conv2d", "max_pool2d", "avg_pool2d"])
def test_windows_beyond_the_limit_are_refused(op: str, attrs: dict[str, Any]) -> None:
    specs = [X, Spec((3, 2, *attrs["kernel_size"]))] if op == "conv2d" else [X]
    with pytest.raises(OperatorError, match=rf"of a window are at most {MAX_WINDOW}, got kernel"):
        OPS[op].infer(specs, attrs)


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_images_of_more_pixels_than_kernels_count_are_refused(op: str) -> None:
    attrs = window()
    large = Spec((1, 1, 2**16, 2**15 - 1))
    assert OPS[op].infer([large], attrs) == (large,)
    with pytest.raises(OperatorError, match=f"the input has 65536 x 32768 pixels, more than the {MAX_PIXELS}"):
        OPS[op].infer([Spec((1, 1, 2**16, 2**15))], attrs)


def test_convolutions_that_make_too_many_pixels_are_refused() -> None:
    with pytest.raises(OperatorError, match=f"the output has 131077 x 131076 pixels, more than the {MAX_PIXELS}"):
        OPS["conv2d"].infer([X, Spec((3, 2, 1, 1))], window(padding=(2**16,) * 4))


@pytest.mark.parametrize("size", [(2**16, 2**15), (2**62, 2**62)])
def test_adaptive_windows_that_make_too_many_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(OperatorError, match="the output has .* pixels, more than"):
        OPS["adaptive_avg_pool2d"].infer([X], {"output_size": size})


def test_weights_without_an_element_are_refused() -> None:
    with pytest.raises(OperatorError, match=r"weight must have an element, got shape \(3, 0, 1, 1\)"):
        OPS["conv2d"].infer([Spec((1, 0, 5, 4)), Spec((3, 0, 1, 1))], window())


def test_references_of_the_largest_windows() -> None:
    """Of SAME windows over everything: each sees the whole image."""
    x = np.random.default_rng(0).standard_normal(X.shape)
    attrs = window(kernel_size=(FAR, FAR), padding=(FAR // 2,) * 4)
    (largest,) = OPS["max_pool2d"].reference([x], attrs)
    np.testing.assert_array_equal(largest, np.broadcast_to(x.max((2, 3), keepdims=True), x.shape))
    (mean,) = OPS["avg_pool2d"].reference([x], {**attrs, "count_include_pad": False})
    np.testing.assert_allclose(mean, np.broadcast_to(x.mean((2, 3), keepdims=True), x.shape))
    (share,) = OPS["avg_pool2d_grad"].reference([x], {**attrs, "input_size": X.shape[2:]})
    np.testing.assert_allclose(share, np.broadcast_to(x.sum((2, 3), keepdims=True) / FAR**2, x.shape))


def test_references_of_taps_that_lie_far_apart() -> None:
    """Three taps an axis, of which the outer ones read nothing but padding."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(X.shape), rng.standard_normal((3, 2, 3, 3))
    attrs = window(dilation=(FAR // 2, FAR // 2), padding=(FAR // 2,) * 4, kernel_size=(3, 3))
    (y,) = OPS["conv2d"].reference([x, w], attrs)
    np.testing.assert_allclose(y, np.einsum("oc,nchw->nohw", w[:, :, 1, 1], x))
    (dx,) = OPS["conv2d_input_grad"].reference([y, w], {**attrs, "input_size": X.shape[2:]})
    np.testing.assert_allclose(dx, np.einsum("oc,nohw->nchw", w[:, :, 1, 1], y))
    (dw,) = OPS["conv2d_weight_grad"].reference([y, x], attrs)
    np.testing.assert_allclose(dw[:, :, 1, 1], np.einsum("nohw,nchw->oc", y, x))
    assert np.count_nonzero(dw) == 6


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_windows_that_would_take_minutes_are_refused(op: str) -> None:
    attrs = window(kernel_size=(1, 2**20), padding=(0, 2**19, 0, 2**19))
    with pytest.raises(OperatorError, match="taps, more than the 137438953472 that are computed; pool in several"):
        OPS[op].infer([Spec((1, 1, 1, 2**20))], attrs)
    whole = window(kernel_size=(2**12, 2**12))
    assert OPS[op].infer([Spec((1, 1, 2**12, 2**12))], whole) == (Spec((1, 1, 1, 1)),)
