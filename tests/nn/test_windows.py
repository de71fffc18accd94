"""Layers and functions over windows where they are more than one call with the layer's settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import normengine as ne
import normengine.nn.functional as F
from normengine import nn, optim
from normengine.ops import OperatorError

RNG = np.random.default_rng(5)
SIGNALS, IMAGES = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 9), (2, 3, 7, 9)))


class Segmenter(nn.Module):
    """Down and up again, each value to where it came from."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        small, places = self.pool(y)
        return self.unpool(small, places, output_size=y.shape)


def test_indices_are_the_places_of_the_maxima() -> None:
    y, places = F.max_pool2d(IMAGES, 2, return_indices=True)
    assert places.dtype == np.int64 and places.shape == y.shape
    flat = IMAGES.reshape(2, 3, -1)
    np.testing.assert_array_equal(np.take_along_axis(flat, places.reshape(2, 3, -1), 2).reshape(y.shape), y)
    y, places = nn.MaxPool1d(3, 2, 1, return_indices=True)(SIGNALS)
    np.testing.assert_array_equal(np.take_along_axis(SIGNALS, np.asarray(places), 2), y)


def test_unpooling_puts_maxima_back() -> None:
    y, places = F.max_pool2d(IMAGES, 2, return_indices=True)
    assert F.max_unpool2d(y, places, 2).shape == (2, 3, 6, 8)
    whole = F.max_unpool2d(y, places, 2, output_size=(7, 9))
    np.testing.assert_array_equal(np.where(whole != 0, whole, IMAGES), IMAGES)
    assert np.count_nonzero(whole) == y.size
    y, places = F.max_pool1d(SIGNALS, 3, return_indices=True)
    whole = nn.MaxUnpool1d(3)(y, places)
    assert whole.shape == SIGNALS.shape and np.count_nonzero(whole) == y.size


def test_a_network_that_unpools_is_trained() -> None:
    ne.manual_seed(0)
    model, target = Segmenter(), RNG.standard_normal((2, 4, 7, 9)).astype(np.float32)
    y = model(IMAGES)
    assert y.shape == target.shape
    before = model.conv.bias.numpy().copy()
    step = ne.TrainStep(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1.0))
    loss = step(IMAGES, target)
    np.testing.assert_allclose(loss, np.mean((y.astype(np.float64) - target) ** 2), rtol=1e-5)
    kept = np.where(y != 0, 2 * (y.astype(np.float64) - target) / target.size, 0)
    np.testing.assert_allclose(before - model.conv.bias.numpy(), kept.sum((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_an_output_size_takes_the_place_of_output_padding() -> None:
    ne.manual_seed(0)
    layer = nn.ConvTranspose2d(3, 2, 3, 2, 1)
    assert layer(IMAGES).shape == (2, 2, 13, 17)
    found = layer(IMAGES, output_size=(14, 17))
    np.testing.assert_allclose(found[:, :, :13], layer(IMAGES), atol=1e-6)
    more = F.conv_transpose2d(IMAGES, layer.weight, layer.bias, 2, 1, (1, 0))
    np.testing.assert_allclose(found, more, atol=1e-6)
    assert layer(IMAGES, output_size=[2, 2, 14, 18]).shape == (2, 2, 14, 18)
    assert nn.ConvTranspose1d(3, 2, 2, 3)(SIGNALS, output_size=[28]).shape == (2, 2, 28)


@pytest.mark.parametrize("output_size", [(12, 17), (15, 17), (14,), (2, 14, 17)])
def test_output_sizes_that_no_padding_makes_are_refused(output_size: tuple[int, ...]) -> None:
    with pytest.raises(OperatorError, match=r"output_size .*(must be from \(13, 17\) to \(14, 18\)|must have 2 or 4)"):
        nn.ConvTranspose2d(3, 2, 3, 2, 1)(IMAGES, output_size=output_size)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: F.conv_transpose2d(IMAGES, np.ones((3, 2))), r"weight must be \(C, O / groups, kh, kw\), got shape"),
        (
            lambda: F.conv_transpose2d(IMAGES, np.ones((3, 2, 2, 2)), stride=2, output_padding=2),
            r"output_padding \(2, 2\) must be smaller than stride \(2, 2\) or dilation \(1, 1\)",
        ),
        (lambda: F.conv1d(IMAGES, np.ones((3, 3, 1))), r"input must be \(N, C, L\), got shape \(2, 3, 7, 9\)"),
        (lambda: F.conv3d(IMAGES, np.ones((3, 3, 1))), r"weight must be \(O, C / groups, kd, kh, kw\)"),
        (lambda: F.avg_pool1d(SIGNALS, 2, padding=2), r"padding \(2,\) must be at most half of kernel_size \(2,\)"),
        (lambda: F.avg_pool3d(SIGNALS, 2), r"input must be \(N, C, D, H, W\), got shape \(2, 3, 9\)"),
        (lambda: F.lp_pool2d(IMAGES, 1.5, 2), "norm_type must be an integer from 1 to 64, got 1.5"),
        (lambda: F.lp_pool2d(IMAGES, 0, 2), "norm_type must be a finite number of 1 or more, got 0"),
        (lambda: F.adaptive_max_pool2d(IMAGES, 0), r"output size must be positive, got \(0, 0\)"),
        (lambda: F.adaptive_max_pool1d(IMAGES, 2), r"input must be \(N, C, L\), got shape \(2, 3, 7, 9\)"),
        (lambda: F.max_unpool2d(IMAGES, IMAGES[:1], 2), "input and indices must be .* of one shape, got shapes"),
        (lambda: F.max_unpool2d(IMAGES, IMAGES, 2, output_size=(16, 18)), r"must be less than a stride \(2, 2\) from"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
