"""Batch norms that normalize, in eval mode, with the image's own statistics beside the running ones."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim

RNG = np.random.default_rng(11)


def images(*shape):
    return (RNG.standard_normal(shape) * 2 + 0.5).astype(np.float32)


def settled(norm, alpha):
    """The layer in eval mode, with statistics and affine parameters that training might have left."""
    channels = norm.num_features
    norm.running_mean[:], norm.running_var[:] = RNG.standard_normal(channels), RNG.uniform(0.5, 2, channels)
    for parameter in norm.parameters():
        parameter.data[:] = RNG.standard_normal(channels)
    norm.alpha = alpha
    return norm.eval()


def mixed(x, norm):
    """As the paper has it: mean and mean of squares are mixed, in float64."""
    axes, column = tuple(range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    x, a = x.astype(np.float64), norm.alpha
    running_mean, running_var = (
        np.asarray(v, np.float64).reshape(column) for v in (norm.running_mean, norm.running_var)
    )
    mean = a * x.mean(axes, keepdims=True) + (1 - a) * running_mean
    square = a * (x**2).mean(axes, keepdims=True) + (1 - a) * (running_var + running_mean**2)
    y = (x - mean) / np.sqrt(square - mean**2 + norm.eps)
    weight = np.ones(norm.num_features) if norm.weight is None else np.asarray(norm.weight.data)
    bias = np.zeros(norm.num_features) if norm.bias is None else np.asarray(norm.bias.data)
    return y * weight.reshape(column) + bias.reshape(column)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}, {"eps": 0.1}], ids=str)
def test_the_mixture_of_moments(alpha, options):
    norm, x = settled(nn.BatchNorm2d(3, **options), alpha), images(4, 3, 7, 5)
    assert np.allclose(norm(x), mixed(x, norm), rtol=1e-5, atol=1e-5)


def test_signals(backend):
    norm, x = settled(nn.BatchNorm1d(3), 0.25), images(5, 3, 11)
    assert np.allclose(norm(x), mixed(x, norm), rtol=1e-5, atol=1e-5)


def test_an_image_far_from_zero():
    """Squares of means would cancel every digit of the variance."""
    norm, x = settled(nn.BatchNorm2d(2, affine=False), 0.4), images(3, 2, 16, 16) + np.float32(1e4)
    norm.running_mean[:] = x.mean((0, 2, 3), dtype=np.float64)
    assert np.allclose(norm(x), mixed(x, norm), rtol=1e-2, atol=5e-3)


def test_an_image_of_one_value_has_no_statistics_of_its_own():
    for norm, x in ((nn.BatchNorm1d(3), images(6, 3)), (nn.BatchNorm2d(3), images(6, 3, 1, 1))):
        y = settled(norm, 0.5)(x)
        norm.alpha = 0
        assert np.array_equal(y, norm(x))


def test_training_and_layers_without_statistics_are_as_before():
    x = images(4, 3, 5, 5)
    for options in ({}, {"track_running_stats": False}):
        plain, mixing = nn.BatchNorm2d(3, **options), nn.BatchNorm2d(3, **options)
        mixing.alpha = 0.5
        assert np.array_equal(plain.train()(x), mixing.train()(x))
        assert all(np.array_equal(mixing.state_dict()[k], v) for k, v in plain.state_dict().items())
    assert np.array_equal(plain.eval()(x), mixing.eval()(x))


def test_each_image_is_treated_by_itself():
    norm, x = settled(nn.BatchNorm2d(3), 0.3), images(6, 3, 4, 4)
    assert np.allclose(norm(x)[2:4], norm(x[2:4]), rtol=1e-6, atol=1e-6)


def test_a_frozen_layer_in_training_passes_gradients_through_its_mixture():
    """The gradient of the first layer's weight, by central differences in float64."""
    norm, x = settled(nn.BatchNorm2d(2), 0.4), images(3, 1, 4, 3)
    conv = nn.Conv2d(1, 2, 1, bias=False)
    model, weight = nn.Sequential(conv, norm), np.asarray(conv.weight.data, np.float64).copy()
    target = images(3, 2, 4, 3)
    before = norm.running_mean.copy()
    optimizer = optim.SGD(conv.parameters(), lr=1.0)
    ne.TrainStep(model, nn.MSELoss(), optimizer)(x, target)

    def loss(w):
        return np.mean((mixed(np.einsum("oi,nihw->nohw", w[:, :, 0, 0], x.astype(np.float64)), norm) - target) ** 2)

    for index in np.ndindex(weight.shape):
        step = np.zeros_like(weight)
        step[index] = 1e-5
        slope = (loss(weight + step) - loss(weight - step)) / 2e-5
        assert np.isclose(weight[index] - conv.weight.data[index], slope, rtol=1e-3, atol=1e-5)
    assert np.array_equal(norm.running_mean, before)


def test_a_setting_that_copies_and_pickles_keep_and_repr_shows():
    norm = nn.BatchNorm2d(3)
    assert "alpha" not in repr(norm) and norm.alpha == 0 and "alpha" not in norm.state_dict()
    norm.alpha = 0.25
    assert repr(norm).endswith("track_running_stats=True, alpha=0.25)")
    assert copy.deepcopy(norm).alpha == pickle.loads(pickle.dumps(norm)).alpha == 0.25
    assert nn.BatchNorm2d(3).alpha == 0


def test_an_alpha_that_is_no_share():
    norm = nn.BatchNorm2d(3).eval()
    norm.alpha = 1.5
    with pytest.raises(ValueError, match=r"BatchNorm2d: alpha must be in \[0, 1\], got 1.5"):
        norm(images(2, 3, 4, 4))
