"""Running statistics against those of the population, which NumPy computes here by Algorithm 2 in float64."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
from normengine import analysis, nn
from normengine.analysis.bn_statistics import _paulson
from normengine.nn import random


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def two_norms():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 9, 4), nn.BatchNorm1d(4)
    )


def algorithm_2(model, batches):
    """Mean and variance of the population for both batch norms of ``two_norms``, batches weighted by their values."""
    found = []
    conv, norm, linear, bias = (
        np.asarray(model[i]._parameters[key], np.float64)
        for i, key in ((0, "weight"), (0, "bias"), (4, "weight"), (4, "bias"))
    )
    for x in batches:
        windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
        y = np.einsum("nchwij,ocij->nohw", windows, conv) + norm[:, None, None]
        mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3))
        hidden = np.maximum((y - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None], 0)
        z = hidden.reshape(len(x), -1) @ linear.T + bias
        found.append([(y.size // 3, mean, var), (len(z), z.mean(0), z.var(0))])
    for layer in zip(*found):
        m = np.array([[m] for m, _, _ in layer], np.float64)
        means, variances = (np.array([row[i] for row in layer]) for i in (1, 2))
        yield (m * means).sum(0) / m.sum(), (m * variances).sum(0) / (m - 1).sum()


def test_the_population_is_that_of_algorithm_2():
    model, x = two_norms(), normal(70, 2, 5, 5)
    cut = [x[:16], x[16:32], x[32:48], x[48:64], x[64:]]
    found = analysis.bn_statistics(model, x, batch_size=16)
    for statistics, (mean, variance) in zip(found, algorithm_2(model, cut), strict=True):
        assert np.allclose(statistics.mean, mean, rtol=1e-5, atol=1e-6)
        assert np.allclose(statistics.variance, variance, rtol=1e-5)
    assert [s.name for s in found] == ["1", "5"]
    assert [s.values for s in found] == [16 * 9, 16]


def test_what_is_remembered_is_compared():
    model = nn.BatchNorm1d(3)
    x = normal(400, 3)
    mean, variance = x.astype(np.float64).mean(0), x.astype(np.float64).var(0, ddof=1)
    model.running_mean[...] = mean + np.sqrt(variance) * [0.1, -0.3, 0.2]
    model.running_var[...] = variance * [1.5, 0.5, 1.0]
    (found,) = analysis.bn_statistics(model, x, batch_size=400)
    assert found.name == "BatchNorm1d"
    assert found.mean_shift == pytest.approx(0.3, rel=1e-4)
    assert found.variance_ratio == pytest.approx(0.5, rel=1e-4)
    assert (found.drift, found.warnings) == (None, ())


def test_the_mode_of_the_model_does_not_matter_but_that_of_dropout_does():
    ne.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    x = normal(2000, 3)
    calls = random._calls
    trained = analysis.bn_statistics(model, x)
    model.eval()
    model[1].train()
    evaluated = analysis.bn_statistics(model, x)
    assert all(np.array_equal(a.variance, b.variance) for a, b in zip(trained, evaluated, strict=True))
    noisy = analysis.bn_statistics(model, x, dropout=True)
    assert noisy["1"].variance.mean() == pytest.approx(2 * trained["1"].variance.mean(), rel=0.05)
    assert [module.training for module in model] == [False, True, False, False] and not model.training
    assert random._calls == calls
    assert np.array_equal(model[1].running_mean, np.zeros(3)) and model[1].num_batches_tracked == 0


def test_small_batches():
    (found,) = analysis.bn_statistics(nn.BatchNorm2d(2), normal(64, 2, 2, 2), batch_size=4)
    assert found.warnings == (
        "a batch has 16 values a channel, fewer than 32, so that its statistics are noise; take larger batches, or "
        "nn.GroupNorm",
    )
    assert not analysis.bn_statistics(nn.BatchNorm2d(2), normal(64, 2, 2, 2), batch_size=8).warnings
    assert not analysis.bn_statistics(nn.BatchNorm2d(2), normal(64, 2, 2, 2), batch_size=4, few_values=16).warnings


def test_batches_that_drift():
    """Images of ten kinds, each with a mean of its own: in order of their kinds, and shuffled."""
    kinds = np.repeat(np.arange(10), 32)
    x = normal(320, 3, 4, 4) + 0.5 * normal(10, 3, 1, 1, seed=1)[kinds]
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    first, second = analysis.bn_statistics(model, x)
    assert first.drift > 10 and first.drift_sigma > 4
    assert first.warnings[0].endswith("times as much as those of shuffled data would; shuffle the data")
    assert second.drift < 1e-3 and not second.warnings  # the first one took the drift away
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(320)
        assert not analysis.bn_statistics(model[0], x[order]).warnings
    assert not analysis.bn_statistics(model[0], x, batch_size=320)[0].drift
    means = x.astype(np.float64).mean((2, 3)).reshape(10, 32, 3)
    exact = 32 * means.mean(1).var(0, ddof=1) / means.var(1, ddof=1).mean(0)
    assert first.drift == pytest.approx(exact.mean(), rel=1e-6)


def test_the_normal_approximation_of_f():
    """Upper points of F that are tabulated (1 %: 2.326 standard deviations; 0.1 %: 3.090)."""
    for f, between, within, sigma in (
        (4.94, 3, 20, 2.326),
        (2.80, 10, 40, 2.390),
        (8.10, 3, 20, 3.090),
        (1.0, 9, 9, 0.0),
    ):
        assert _paulson(f, between, within) == pytest.approx(sigma, abs=0.09)


def test_dead_channels_and_small_scales():
    x = normal(100, 7)
    x[:, [2, 4]] = 3
    model = nn.BatchNorm1d(7)
    model.weight.numpy()[[0, 1, 2, 3, 5, 6]] = 1e-4
    (found,) = analysis.bn_statistics(model, x)
    assert found.warnings == (
        "2 of 7 channels (2, 4) are dead, with a variance of no more than eps",
        "6 of 7 channels (0, 1, 2, 3, 5, ...) are switched off by a scale (weight) of less than 0.001",
    )
    assert found.mean_shift < 1 and 0.5 < found.variance_ratio < 2  # dead channels are left out
    x[:] = 1
    (found,) = analysis.bn_statistics(nn.BatchNorm1d(7), x)
    assert (found.mean_shift, found.variance_ratio, found.drift) == (None, None, None)


def test_batch_norms_that_remember_nothing():
    model = nn.Sequential(nn.BatchNorm1d(3, affine=False, track_running_stats=False), nn.BatchNorm1d(3, momentum=None))
    first, second = analysis.bn_statistics(model, normal(64, 3))
    assert (first.running_mean, first.mean_shift, first.variance_ratio) == (None, None, None)
    assert second.running_variance is not None and second.variance_ratio is not None
    assert " - " in str(analysis.bn_statistics(model, normal(64, 3)))


def test_table_and_picture(tmp_path):
    found = analysis.bn_statistics(two_norms(), normal(64, 2, 5, 5), batch_size=16)
    lines = str(found).splitlines()
    assert lines[0].split("  ")[0] == "batch norm" and len(lines) == 6
    assert lines[2].split()[:3] == ["1", "3", "144"]
    assert lines[-1] == found.warnings[0] and lines[-1].startswith("5: a batch has 16 values a channel")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed to draw with")
    figure = found.plot(tmp_path / "statistics.png")
    assert (tmp_path / "statistics.png").stat().st_size > 5000
    first = found["1"]
    drawn = figure.axes[1].lines[0].get_ydata()
    assert np.allclose(drawn, first.running_variance / first.variance)


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="bn_statistics: the model has no batch norm at work"):
        analysis.bn_statistics(nn.Linear(3, 3), normal(4, 3))
    with pytest.raises(ValueError, match="bn_statistics: the data gave no batches"):
        analysis.bn_statistics(nn.BatchNorm1d(3), iter(()))
    with pytest.raises(ValueError, match="expected more than 1 value per channel"):
        analysis.bn_statistics(nn.BatchNorm1d(3).eval(), [normal(4, 3), normal(1, 3)])
    with pytest.raises(ValueError, match="few_values must be an integer of 0 or more, got -1"):
        analysis.bn_statistics(nn.BatchNorm1d(3), normal(4, 3), few_values=-1)


def test_parts_of_ghost_batch_norm_are_batches():
    model = nn.Sequential(nn.GhostBatchNorm2d(3, 4))
    x = np.random.default_rng(3).standard_normal((10, 3, 5, 5)).astype(np.float32)
    (found,) = ne.analysis.bn_statistics(model, x, batch_size=10)
    ne.recalibrate(model, x, batch_size=10)
    assert found.values == 4 * 25
    assert np.allclose(found.variance, model[0].running_var, rtol=1e-6)
    assert np.allclose(found.mean, model[0].running_mean, atol=1e-7)
