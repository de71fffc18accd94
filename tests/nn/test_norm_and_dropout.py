"""Batch norm and dropout as users meet them, on compiled programs: the statistics, the noise, and their exact ends."""

import numpy as np
import pytest

import normengine as ne
from normengine import nn

RNG = np.random.default_rng(3)
NOISES = [
    lambda: nn.Dropout(0.4),
    lambda: nn.Dropout2d(0.4),
    lambda: nn.GaussianDropout(0.3),
    lambda: nn.UniformDropout(0.5),
]


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_running_statistics_keep_the_unbiased_variance(momentum):
    norm = nn.BatchNorm2d(3, momentum=momentum).train()
    mean, var = np.zeros(3), np.ones(3)
    for count in range(1, 5):
        x = images(5, 3, 4, 2) * 3 + 1
        y = norm(x)
        share = 1 / count if momentum is None else momentum
        mean = (1 - share) * mean + share * x.mean((0, 2, 3), dtype=np.float64)
        var = (1 - share) * var + share * x.var((0, 2, 3), dtype=np.float64, ddof=1)
        assert np.allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
        assert np.allclose(y.var((0, 2, 3)), 1, atol=1e-4)
    assert np.allclose(norm.running_mean, mean, rtol=1e-5, atol=1e-6)
    assert np.allclose(norm.running_var, var, rtol=1e-5)
    assert norm.num_batches_tracked == 4 and norm.num_batches_tracked.dtype == np.int64


@pytest.mark.parametrize("shape", [(32, 4, 9, 11), (64, 4), (16, 4, 1, 1)])
def test_statistics_far_from_zero_and_of_constant_channels(shape):
    x = (1e4 + RNG.standard_normal(shape)).astype(np.float32)
    x[:, 2] = 7
    norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(4, momentum=1.0).train()
    y = norm(x)
    axes = (0, *range(2, len(shape)))
    assert np.allclose(norm.running_var, x.var(axes, dtype=np.float64, ddof=1), rtol=1e-4, atol=1e-12)
    assert np.all(y[:, 2] == 0) and norm.running_var[2] == 0
    assert np.isfinite(y).all() and np.allclose(y[:, :2].var(axes), 1, rtol=1e-3)


def test_without_running_statistics_or_affine_parameters():
    x = images(6, 3, 5, 5) + 2
    plain = nn.BatchNorm2d(3, affine=False, track_running_stats=False).eval()
    assert not plain.state_dict()
    want = (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    assert np.allclose(plain(x), want, atol=1e-5)


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
def test_dropout_of_nothing_and_of_everything(layer):
    x = images(4, 3, 5, 5)
    assert np.array_equal(layer(p=0).train()(x), x)
    assert np.array_equal(layer(p=1).train()(x), np.zeros_like(x))


def test_noise_of_no_size_is_exact_and_endless_noise_is_refused():
    x = images(4, 3, 5, 5)
    assert np.array_equal(nn.GaussianDropout(0).train()(x), x)
    assert np.array_equal(nn.UniformDropout(0).train()(x), x)
    with pytest.raises(ValueError, match=r"GaussianDropout: p must be in \[0, 1\)"):
        nn.GaussianDropout(1)


@pytest.mark.parametrize("make", NOISES)
def test_inference_changes_nothing(make):
    x = images(4, 3, 5, 5)
    assert np.array_equal(make().eval()(x), x)


@pytest.mark.parametrize("make", NOISES)
def test_noise_is_a_function_of_seed_call_and_layer_not_of_threads(make):
    layers = nn.Sequential(make(), make()).train()
    x = np.ones((8, 40, 13, 11), np.float32)

    def draw(threads):
        ne.set_num_threads(threads)
        ne.manual_seed(11)
        return layers[0](x), layers[0](x), layers(x)

    one, two, three = (draw(threads) for threads in (1, 2, 3))
    for results in zip(one, two, three):
        assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    first, second, both = one
    assert not np.array_equal(first, second)
    assert not np.array_equal(both, first) and abs(both.mean() - 1) < 0.1


def test_dropout2d_drops_whole_channels():
    y = nn.Dropout2d(0.5).train()(np.ones((16, 32, 3, 3), np.float32))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert np.array_equal(y.min((2, 3)), y.max((2, 3)))
    assert abs((y[:, :, 0, 0] == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(16 * 32)


def test_the_moments_of_the_noise():
    x = np.ones((64, 64, 8, 8), np.float32)
    gauss, uniform = nn.GaussianDropout(0.2).train()(x), nn.UniformDropout(0.3).train()(x)
    count = x.size
    assert abs(gauss.mean() - 1) < 4 * 0.5 / np.sqrt(count) and abs(gauss.std() - 0.5) < 0.005
    assert uniform.min() >= 0.7 and uniform.max() <= 1.3 and abs(uniform.var() - 0.03) < 0.001
